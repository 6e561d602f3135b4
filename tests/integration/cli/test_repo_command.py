"""`pinned-requests repo` as a process of its own: what it makes, what it refuses, and how it ends."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pinned_requests import PinPolicy, PinSet, PolicyStore
from pinned_requests.cli import main
from pinned_requests.publishing import state as state_module
from pinned_requests.publishing.keys import KeyFolder, KeyRing
from pinned_requests.publishing.repository import Repository
from pinned_requests.testing import Response, TLSServer

if TYPE_CHECKING:
    from pathlib import Path

    from pinned_requests.testing import Request

pytestmark = pytest.mark.slow

SECRET, WRONG = "correct horse", "battery staple"
POLICY = PinPolicy({"api.example.com": PinSet.exempt()})


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Desk:
    """Where a publisher works: a repository, keys and a policy."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.folder, self.keys, self.more_keys = base / "repository", base / "alice", base / "bob"
        self.policy = base / "policy.json"
        self.policy.write_text(POLICY.to_json())

    def run(self, *arguments: object, passphrase: str | None = None) -> Done:
        """Run the command."""
        environment = {**os.environ, **({} if passphrase is None else {"PINNED_REQUESTS_PASSPHRASE": passphrase})}
        done = subprocess.run(
            [sys.executable, "-m", "pinned_requests", "repo", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        assert "Traceback" not in done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    def init(self, *arguments: object, **options: Any) -> Done:
        """Make the repository, with key files that are encrypted if there is a passphrase."""
        plain = () if "passphrase" in options else ("--plain",)
        return self.run("init", self.folder, "--keys", self.keys, *plain, *arguments, **options)

    def publish(self, *arguments: object, **options: Any) -> Done:
        """Publish the policy."""
        return self.run("publish", self.folder, self.policy, "--keys", self.keys, *arguments, **options)

    def files(self) -> dict[Path, bytes]:
        """Return what is published."""
        return {path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}

    def fetched(self) -> PinPolicy:
        """Return what a new client makes of it."""

        def answer(request: Request) -> Response:
            path = self.folder / request.path.lstrip("/")
            return Response(body=path.read_bytes()) if path.is_file() else Response(404)

        with TLSServer(None, handler=answer) as server:
            cache = self.base / f"cache-{len(list(self.base.iterdir()))}"
            root = self.folder / "metadata" / "1.root.json"
            url = server.url("", host="127.0.0.1")
            return PolicyStore.from_tuf(f"{url}/metadata", f"{url}/targets", root=root, cache_dir=cache).current


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Make room."""
    return Desk(tmp_path)


def test_from_the_ceremony_to_the_client(desk: Desk) -> None:
    """Each command does what it says, and a client takes what comes out at every step."""
    assert desk.init().code == 0
    assert desk.publish().code == 0
    assert desk.fetched() == POLICY
    for role in ("root", "targets", "snapshot", "timestamp"):
        done = desk.run("rotate-key", desk.folder, role, "--plain", "--keys", desk.keys)
        assert (done.code, done.err) == (0, "")
        assert desk.fetched() == POLICY
    done = desk.run("refresh", desk.folder, "--keys", desk.keys, "--also", "targets", "--also", "root")
    assert (done.code, done.err) == (0, "")
    assert desk.fetched() == POLICY


def test_keys_are_private_and_apart(desk: Desk) -> None:
    """Key files have mode 0600, and nothing of them is in what is published."""
    desk.init()
    files = [path for path in desk.keys.iterdir() if path.suffix == ".pem"]
    assert len(files) == 4
    assert {path.stat().st_mode & 0o777 for path in desk.keys.iterdir()} == {0o600}
    assert desk.keys.stat().st_mode & 0o777 == 0o700
    published = b"".join(desk.files().values())
    assert b"PRIVATE" not in published
    assert all(path.read_bytes() not in published for path in files)


def test_what_is_published_can_be_read_by_a_web_server(desk: Desk) -> None:
    """Files are of mode 0644, whatever the temporary ones were."""
    desk.init()
    assert {path.stat().st_mode & 0o777 for path in (desk.folder / "metadata").iterdir()} == {0o644}


def test_a_repository_is_not_made_twice(desk: Desk) -> None:
    """Neither it nor a key is overwritten."""
    desk.init()
    before, keys = desk.files(), {path: path.read_bytes() for path in desk.keys.glob("*.pem")}
    assert desk.init().code == 2
    assert desk.files() == before
    assert {path: path.read_bytes() for path in keys} == keys


def test_two_holders(desk: Desk) -> None:
    """Keys are dealt to the folders in turn; fewer than the threshold sign nothing."""
    third = ("--keys", desk.base / "carol")
    assert desk.init("--keys", desk.more_keys, *third, "--role", "root=2/3", "--role", "targets=2/2").code == 0
    before = desk.files()
    assert desk.publish().code == 1
    assert desk.files() == before
    assert desk.publish("--keys", desk.more_keys).code == 0
    assert desk.fetched() == POLICY
    assert (
        desk.run("rotate-key", desk.folder, "root", "--plain", "--keys", desk.keys, "--keys", desk.more_keys).code == 2
    )  # which of the three?
    (first, *_) = sorted(path.name.partition("-")[2].removesuffix(".pem") for path in desk.keys.glob("root-*"))
    both = ("--keys", desk.keys, "--keys", desk.more_keys)
    assert desk.run("rotate-key", desk.folder, "root", "--plain", *both, "--old", first).code == 0
    assert desk.fetched() == POLICY


def test_encrypted_keys(desk: Desk) -> None:
    """The passphrase comes from the environment where there is no terminal; without it, or a wrong one, nothing."""
    without = desk.init(passphrase=None)
    assert (without.code, "or give --plain" in without.err, desk.keys.exists()) == (1, True, False)
    assert desk.init(passphrase="").code == 2
    assert desk.init(passphrase=SECRET).code == 0
    assert all(b"ENCRYPTED" in path.read_bytes() for path in desk.keys.glob("*.pem"))
    assert desk.publish().code == 1
    wrong = desk.publish(passphrase=WRONG)
    assert wrong.code == 1
    assert WRONG not in wrong.err
    assert desk.publish(passphrase=SECRET).code == 0
    assert desk.fetched() == POLICY


def test_a_key_that_is_kept_elsewhere(desk: Desk) -> None:
    """Any signer URI of securesystemslib may stand for a key: here that of a file that is somewhere else."""
    private, public = desk.base / "private.pem", desk.base / "public.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True, capture_output=True)
    assert desk.init("--signer", f"targets={public}=file2:{private}").code == 0
    assert len(list(desk.keys.glob("*.pem"))) == 3
    assert desk.publish().code == 0
    assert desk.fetched() == POLICY
    unknown = desk.run(
        "rotate-key", desk.folder, "targets", "--keys", desk.keys, "--signer", f"{public}=nosuchkms:projects/1"
    )
    assert unknown.code == 1


@pytest.mark.parametrize(
    "text", ['{"host": {}}', '{"hosts": {"*": {"pins": []}}}', "{", '{"hosts": {"a.example": {"pinz": []}}}']
)
def test_a_wrong_policy_is_not_published(desk: Desk, text: str) -> None:
    """It is read as any policy is, before anything is signed."""
    desk.init()
    before = desk.files()
    desk.policy.write_text(text)
    assert desk.publish().code == 2
    assert desk.files() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("init",),
        ("init", "FOLDER", "--keys", "KEYS", "--role", "boss=1/1"),
        ("init", "FOLDER", "--keys", "KEYS", "--role", "root=3/2"),
        ("init", "FOLDER", "--keys", "KEYS", "--role", "root=0/0"),
        ("init", "FOLDER", "--keys", "KEYS", "--role", "root"),
        ("init", "FOLDER", "--keys", "KEYS", "--role", "root=1/1", "--role", "root=1/1"),
        ("init", "FOLDER", "--keys", "KEYS", "--expires", "root=-1"),
        ("init", "FOLDER", "--keys", "KEYS", "--expires", "root=soon"),
        ("init", "FOLDER", "--keys", "KEYS", "--signer", "root=nothing"),
        ("init", "FOLDER", "--keys", "KEYS", "--keys", "OTHER", "--role", "root=2/3"),
        ("init", "FOLDER", "--keys", "FOLDER"),
        ("init", "FOLDER", "--keys", "OTHER", "--keys", "INSIDE"),
        ("init", "FOLDER", "--keys", "KEYS", "--signer", "targets=a.pem=x:1", "--signer", "targets=b.pem=x:2"),
        ("init", "FOLDER", "--keys", "KEYS", "--signer", "targets=POLICY=x:1"),
        ("init", "FOLDER", "--keys", "KEYS", "--holder", "POLICY"),
        ("init", "FOLDER", "--keys", "KEYS", "--proposal", "KEYS"),
        ("init", "FOLDER", "--keys", "KEYS", "--holder", "POLICY", "--proposal", "POLICY"),
        ("init", "FOLDER", "--keys", "KEYS", "--keys", "OTHER"),
        ("init", "FOLDER", "--keys", "KEYS", "--online", "INSIDE"),
        ("keys", "KEYS", "--role", "boss"),
        ("keys", "KEYS", "--signer", "root=nothing"),
        ("propose", "FOLDER", "KEYS"),
        ("propose", "FOLDER", "POLICY", "--renew", "root"),
        ("propose", "FOLDER", "KEYS", "--renew", "timestamp"),
        ("propose", "FOLDER", "KEYS", "--policy", "POLICY", "--target", "../x.json"),
        ("propose", "ftp://pins.example.com@x/", "KEYS", "--renew", "root"),
        ("sign", "FOLDER", "POLICY", "--keys", "KEYS"),
        ("merge", "FOLDER", "POLICY", "--keys", "KEYS"),
        ("sync", "FOLDER"),
        ("sync", "FOLDER", "KEYS"),
        ("publish", "FOLDER", "POLICY", "--keys", "KEYS"),
        ("publish", "FOLDER", "POLICY", "--keys", "KEYS", "--target", "../x.json"),
        ("refresh", "FOLDER", "--keys", "KEYS"),
        ("refresh", "FOLDER", "--keys", "KEYS", "--also", "boss"),
        ("rotate-key", "FOLDER", "boss", "--keys", "KEYS"),
    ],
)
def test_a_wrong_command_line(desk: Desk, arguments: tuple[str, ...]) -> None:
    """It ends with 2, and makes nothing."""
    names: dict[str, object] = {
        "FOLDER": desk.folder,
        "KEYS": desk.keys,
        "POLICY": desk.policy,
        "OTHER": desk.more_keys,
    }
    names["INSIDE"] = desk.folder / ".." / desk.folder.name / "keys"
    names["targets=POLICY=x:1"] = f"targets={desk.policy}=x:1"
    code, error = invoke(*(names.get(each, each) for each in arguments))
    assert (code, bool(error)) == (2, True)
    assert not desk.folder.exists()
    assert not desk.keys.exists()
    assert not desk.more_keys.exists()


def invoke(*arguments: object) -> tuple[int, str]:
    """Run the command in this process."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as error:
        code = main(["repo", *map(str, arguments)])
    return code, error.getvalue()


def test_what_fails_leaves_no_keys_behind(desk: Desk) -> None:
    """No private key is made for a repository that cannot be made, nor for a rotation that cannot be signed."""
    blocked = desk.policy / "repository"
    assert invoke("init", blocked, "--keys", desk.keys, "--plain")[0] == 2
    public = desk.base / "public.pem"
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    public.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert (
        invoke("init", desk.folder, "--keys", desk.keys, "--plain", "--signer", f"timestamp={public}=nosuchkms:1")[0]
        == 1
    )
    assert not desk.keys.exists()
    assert invoke("init", desk.folder, "--keys", desk.keys, "--plain")[0] == 0
    assert invoke("init", desk.folder, "--keys", desk.more_keys, "--plain")[0] == 2
    assert not desk.more_keys.exists()
    desk.more_keys.mkdir()
    for role in ("timestamp", "root"):
        assert invoke("rotate-key", desk.folder, role, "--plain", "--keys", desk.more_keys)[0] == 1
        assert list(desk.more_keys.iterdir()) == []


def test_a_new_key_is_not_put_into_what_is_published(desk: Desk) -> None:
    """`rotate-key` refuses a key folder within the repository, as `init` does."""
    assert invoke("init", desk.folder, "--keys", desk.keys, "--plain")[0] == 0
    inside = desk.folder / "keys"
    inside.mkdir()
    assert invoke("rotate-key", desk.folder, "timestamp", "--keys", inside, "--keys", desk.keys)[0] == 2
    assert list(inside.iterdir()) == []


def test_paths_that_are_not_there(desk: Desk) -> None:
    """A policy or a key folder that is mistyped is named, and not made."""
    assert invoke("init", desk.folder, "--keys", desk.keys, "--plain")[0] == 0
    missing = desk.base / "nosuch.toml"
    code, error = invoke("publish", desk.folder, missing, "--keys", desk.keys)
    assert (code, error) == (2, f"pinned-requests: {missing}: No such file or directory\n")
    for command in (("publish", desk.folder, desk.policy), ("refresh", desk.folder)):
        code, error = invoke(*command, "--keys", desk.keys, "--keys", desk.more_keys)
        assert (code, str(desk.more_keys) in error) == (2, True)
    code, error = invoke("rotate-key", desk.folder, "timestamp", "--keys", desk.more_keys, "--keys", desk.keys)
    assert (code, str(desk.more_keys) in error, desk.more_keys.exists()) == (2, True, False)


def test_refresh_says_when_a_role_is_about_to_expire(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does its work, and ends with 1, so that cron sends a mail; 0 again when that role has been signed."""
    desk.init()
    with monkeypatch.context() as patch:
        patch.setattr(state_module, "days_of", lambda signed: 1 if signed.type == "targets" else 30)
        Repository(desk.folder, KeyRing([KeyFolder(desk.keys)], lambda _: "")).publish("pins.json", POLICY, {})
    done = desk.run("refresh", desk.folder, "--keys", desk.keys)
    assert (done.code, "targets" in done.err, "timestamp" in done.out) == (1, True, True)
    assert desk.fetched() == POLICY
    assert desk.run("refresh", desk.folder, "--keys", desk.keys, "--also", "targets").code == 0


def test_how_long_it_is_valid(desk: Desk) -> None:
    """What `init` was told holds for every later version, until a later command says otherwise."""
    desk.init("--expires", "targets=1", "--expires", "timestamp=3")
    desk.publish()
    assert desk.run("refresh", desk.folder, "--keys", desk.keys).code == 0
    version = json.loads((desk.folder / "metadata" / "timestamp.json").read_bytes())["signed"]["version"]
    path = desk.folder / "metadata" / "timestamp.json"
    assert version == 3
    expires = json.loads(path.read_bytes())["signed"]["expires"]
    done = desk.run("refresh", desk.folder, "--keys", desk.keys, "--expires", "timestamp=5")
    assert done.code == 0
    assert json.loads(path.read_bytes())["signed"]["expires"] > expires


def test_a_repository_that_was_tampered_with_is_not_signed_again(desk: Desk) -> None:
    """What does not verify gets no new signature: refresh would launder it."""
    desk.init()
    desk.publish()
    (targets,) = (desk.folder / "metadata").glob("2.targets.json")
    targets.write_bytes(targets.read_bytes().replace(b'"length":', b'"length": '))
    before = desk.files()
    done = desk.run("refresh", desk.folder, "--keys", desk.keys)
    assert done.code == 1
    assert desk.files() == before


def test_signers_that_cannot_be_read(desk: Desk) -> None:
    """A damaged list of keys is said to be one."""
    desk.init()
    (desk.keys / "signers.json").write_text("[]")
    assert desk.publish().code == 1


def test_a_proposal_that_is_no_proposal(desk: Desk) -> None:
    """The file is named, and nothing is signed."""
    assert invoke("init", desk.folder, "--keys", desk.keys, "--plain")[0] == 0
    code, error = invoke("sign", desk.folder, desk.policy, "--keys", desk.keys)
    assert code == 2
    assert error.startswith(f"pinned-requests: '{desk.policy}': not a proposal")
    assert invoke("merge", desk.folder, desk.policy, "--keys", desk.keys)[0] == 2


def test_a_holder_is_exchanged(desk: Desk) -> None:
    """Dave hands in his key, and those who are there sign that he takes a place; the file is not overwritten."""
    assert invoke("init", desk.folder, "--keys", desk.keys, "--plain")[0] == 0
    assert invoke("publish", desk.folder, desk.policy, "--keys", desk.keys)[0] == 0
    dave, change = desk.base / "dave", desk.base / "change.json"
    assert invoke("keys", dave, "--role", "targets", "--plain")[0] == 0
    (old,) = (path.name.partition("-")[2].removesuffix(".pem") for path in desk.keys.glob("targets-*"))
    exchange = ("propose", desk.folder, change, "--exchange")
    assert invoke(*exchange, f"{old}={desk.keys / 'public.json'}")[0] == 2  # no new key in it
    assert invoke(*exchange, f"fffffffffffffffff={dave / 'public.json'}")[0] == 2
    assert invoke(*exchange, dave / "public.json")[0] == 2
    assert invoke(*exchange, f"{old}={dave / 'public.json'}") == (0, "")
    assert invoke(*exchange, f"{old}={dave / 'public.json'}")[0] == 2
    assert invoke("sign", desk.folder, change, "--keys", desk.keys)[0] == 0
    assert invoke("merge", desk.folder, change, "--keys", desk.keys)[0] == 1  # Dave has not signed
    assert invoke("sign", desk.folder, change, "--keys", dave)[0] == 0
    assert invoke("merge", desk.folder, change, "--keys", desk.keys) == (0, "")
    assert desk.fetched() == POLICY
    assert invoke("publish", desk.folder, desk.policy, "--keys", desk.keys)[0] == 1
    assert invoke("publish", desk.folder, desk.policy, "--keys", desk.keys, "--keys", dave) == (0, "")
    assert desk.fetched() == POLICY
