"""A repository for signed policies that is served over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pinned_requests import PolicyStore
from pinned_requests.publishing.keys import KeyFolder, KeyRing, RoleKeys
from pinned_requests.publishing.repository import Repository
from pinned_requests.publishing.state import ROLES
from pinned_requests.testing import Request, Response, TLSServer

if TYPE_CHECKING:
    from pathlib import Path

    from pinned_requests import PinPolicy


class Publisher:
    """A repository of signed policies, made by our own code with real keys, and served over HTTP on loopback.

    Attributes:
        folder: what is served; assign another one to serve that.
        forged: path on the server → what an attacker answers there.
    """

    def __init__(self, base: Path, keys_of_role: dict[str, tuple[int, int]]) -> None:
        self.base = base
        self.folder = base / "repository"
        self.key_folders = [KeyFolder(base / "alice"), KeyFolder(base / "bob")]
        self.ring = KeyRing(self.key_folders, lambda _: "")
        roles = {}
        for role in ROLES:
            threshold, number = keys_of_role.get(role, (1, 1))
            keys = tuple(self.key_folders[at].generate(role, None) for at in range(number))
            roles[role] = RoleKeys(keys, threshold)
        self.repository = Repository(self.folder, self.ring)
        self.root = self.repository.create(roles, {}).read_bytes()
        self.forged: dict[str, Response | bytes] = {}
        self.server = TLSServer(None, handler=self._answer)

    def publish(self, policy: PinPolicy) -> None:
        """Publish a policy as `pins.json`."""
        self.repository.publish("pins.json", policy, {})

    def rotate(self, role: str) -> None:
        """Give a role, which has one key, another."""
        self.repository.rotate_key(role, lambda: self.key_folders[0].generate(role, None), None, {})

    def newest(self, name: str) -> Path:
        """Return the newest file of `metadata/` or `targets/` whose name ends so."""
        found = [*self.folder.glob(f"metadata/*{name}"), *self.folder.glob(f"targets/*{name}")]
        return max(found, key=lambda path: path.stat().st_mtime_ns)

    def forge(self, path: Path, answer: Response | bytes) -> None:
        """Answer something else in the place of a file."""
        self.forged[f"/{path.relative_to(self.folder).as_posix()}"] = answer

    def store(self, **options: Any) -> PolicyStore:
        """Make a store of a client that ships the first root, and has its cache beside the repository."""
        arguments = {"root": self.root, "cache_dir": self.base / "cache", **options}
        url = self.server.url("", host="127.0.0.1")
        return PolicyStore.from_tuf(f"{url}/metadata/", f"{url}/targets", **arguments)

    def _answer(self, request: Request) -> Response:
        forged = self.forged.get(request.path)
        if forged is not None:
            return forged if isinstance(forged, Response) else Response(body=forged)
        path = self.folder / request.path.lstrip("/")
        return Response(body=path.read_bytes()) if path.is_file() else Response(404)
