"""The keys that sign a policy repository: key files, and everything that securesystemslib signs with.

A key folder belongs to one person or machine, whose name it has, and is never published. `signers.json` maps key ids to
signer URIs of securesystemslib (`file2:PATH`, `gcpkms:…`, `hsm:…`, …). Its holder may hand out `public.json`.

`Ceremony`: which keys a new repository has, and in which key folder each is made, decided before the first is made.

Rules for the next maintainer:

- A private key is created with mode 0600 and never overwritten, and no error shows its content.
- The root metadata alone says which key may sign what. A key folder only says how to reach a key.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey
from tuf.api.exceptions import UnsignedMetadataError

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.text import escape, show
from pinned_requests.publishing.state import ROLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tuf.api.metadata import Metadata

_FILE = "file2"  # securesystemslib's scheme for PEM files
_SIGNERS, PUBLIC = "signers.json", "public.json"
_HOLDER = "x-pinned-requests-holder"  # a field of a key in the root metadata, signed: the name of its key folder
_OF_MACHINES = frozenset({"snapshot", "timestamp"})


class SigningError(Exception):
    """A key is missing, cannot be read, or does not sign."""


def holder_of(key: Key) -> str | None:
    """Return the name of the key folder that a key was made in, escaped, or None if it is not known."""
    name = key.unrecognized_fields.get(_HOLDER)
    return escape(name) if isinstance(name, str) and name else None


def has_own_id(key: Key) -> bool:
    """Return whether the id of a key is its hash (TUF §4.2). Otherwise it could pass for another, or for two."""
    text = encode_canonical({"keytype": key.keytype, "scheme": key.scheme, "keyval": key.keyval})
    return text is not None and hashlib.sha256(text.encode()).hexdigest() == key.keyid


def label_of(role: str, key: Key) -> str:
    """Return the name of a key in messages, such as `targets-0123456789ab (alice)`."""
    holder = holder_of(key)
    return f"{role}-{key.keyid[:12]}" + (f" ({holder})" if holder else "")


class KeyFolder:
    """A folder with keys, `signers.json` and `public.json`. It is created with the first key."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def generate(self, role: str, passphrase: str | None) -> Key:
        """Make an Ed25519 key in a new file, not encrypted if there is no passphrase, and return its public half."""
        private = Ed25519PrivateKey.generate()
        key = SSlibKey.from_crypto(private.public_key())
        pem = private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption(),
        )
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{role}-{key.keyid[:12]}.pem"
        descriptor = os.open(self.path / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123  a descriptor, not a path
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        return self.add(role, key, f"{_FILE}:{name}")

    def add(self, role: str, key: Key, uri: str) -> Key:
        """Add a key that is kept elsewhere, such as in a KMS, and return its public half."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        key.unrecognized_fields[_HOLDER] = self.path.resolve().name
        uris = {**self._uris(), key.keyid: uri}
        keys = read_public(self.path / PUBLIC) if (self.path / PUBLIC).exists() else {}
        keys[role] = (*keys.get(role, ()), key)
        public = {each: {held.keyid: held.to_dict() for held in keys[each]} for each in keys}
        for name, document in ((_SIGNERS, uris), (PUBLIC, public)):
            with NamedTemporaryFile("w", dir=self.path, delete=False) as file:
                json.dump(document, file, indent=2)
            Path(file.name).replace(self.path / name)
        return key

    def signer(self, key: Key, ask: Callable[[str], str]) -> Signer | None:
        """Return the signer of a key, or None if this folder does not know the key."""
        uri = self._uris().get(key.keyid)
        return None if uri is None else self.signer_at(uri, key, ask)

    def signer_at(self, uri: str, key: Key, ask: Callable[[str], str]) -> Signer:
        """Return the signer of a key at a signer URI, known to this folder or not."""
        scheme, _, rest = uri.partition(":")
        try:
            if scheme != _FILE:
                return Signer.from_priv_key_uri(uri, key, ask)
            if isinstance(key, SSlibKey):
                return CryptoSigner(self._private(self.path / rest, ask), key)
        except SigningError:
            raise
        except Exception as e:  # securesystemslib: "Signer-specific errors"
            raise SigningError(f"the key {key.keyid[:12]} at {show(uri)} cannot be used: {e}") from e
        raise SigningError(f"the key {key.keyid[:12]} is of a type that key files do not have")

    def _private(self, path: Path, ask: Callable[[str], str]) -> Any:
        pem = path.read_bytes()
        try:
            return serialization.load_pem_private_key(pem, None)
        except TypeError:  # it is encrypted
            passphrase = ask(f"passphrase of {path.name}")
        try:
            return serialization.load_pem_private_key(pem, passphrase.encode())
        except ValueError:
            raise SigningError(f"the passphrase of {show(path.name)} is wrong") from None

    def _uris(self) -> dict[str, str]:
        path = self.path / _SIGNERS
        uris = _json_of(path) if path.exists() else {}
        if not isinstance(uris, dict) or not all(isinstance(uri, str) for uri in uris.values()):
            raise SigningError(f"{show(str(path))} is damaged: not a JSON object of key ids and signer URIs")
        return uris


def read_public(path: Path) -> dict[str, tuple[Key, ...]]:
    """Return the keys in the `public.json` of a key folder, by role."""
    try:
        found = {
            role: tuple(Key.from_dict(keyid, dict(key)) for keyid, key in keys.items())
            for role, keys in _json_of(path).items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise SigningError(f"{show(str(path))} is damaged: not the public.json of a key folder") from e
    for role, keys in found.items():
        for key in keys:
            if not has_own_id(key):
                raise SigningError(f"{show(str(path))}: the id of {label_of(role, key)} is not that of the key")
    return found


def _json_of(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        return None


class KeyRing:
    """All keys that are at hand. `ask` gets a passphrase or PIN; its argument says what for."""

    def __init__(self, folders: Sequence[KeyFolder], ask: Callable[[str], str]) -> None:
        self._folders = folders
        self._ask = ask
        self._signers: dict[str, Signer | None] = {}  # a passphrase is asked for once

    def try_out(self, folder: KeyFolder, public_key: Path, uri: str) -> tuple[Key, str]:
        """Check that a key that is kept elsewhere can be reached, and return its public half and its URI.

        Args:
            folder: the one that will list it.
            public_key: a PEM file.
            uri: how securesystemslib reaches the private half.
        """
        try:
            key = SSlibKey.from_crypto(serialization.load_pem_public_key(public_key.read_bytes()))
        except (ValueError, UnsupportedAlgorithm):
            raise PolicyError(f"{show(str(public_key))} is not a public key in PEM that TUF can use") from None
        self._signers[key.keyid] = folder.signer_at(uri, key, self._ask)
        return key, uri

    def signer(self, key: Key) -> Signer | None:
        """Return the signer of a key, or None if no folder knows the key; raise `SigningError` if it is not usable."""
        if key.keyid not in self._signers:
            found = (folder.signer(key, self._ask) for folder in self._folders)
            self._signers[key.keyid] = next((signer for signer in found if signer is not None), None)
        return self._signers[key.keyid]

    def sign(self, role: str, metadata: Metadata[Any], keys: Iterable[Key]) -> tuple[list[str], list[str]]:
        """Sign metadata with those of the keys that are at hand; return their labels, and those of the others."""
        signed, missing = [], []
        for key in keys:
            label, signer = label_of(role, key), self.signer(key)
            if signer is None:
                missing.append(label)
                continue
            try:
                metadata.sign(signer, append=True)
            except UnsignedMetadataError as e:
                raise SigningError(f"the key {label} does not sign: {e}") from e
            signed.append(label)
        return signed, missing


class RoleKeys(NamedTuple):
    """The public keys of a role, and how many of them must sign."""

    keys: tuple[Key, ...]
    threshold: int


@dataclass(frozen=True)
class Keys:
    """Where the keys of a new repository come from."""

    folders: Sequence[KeyFolder]  # of one holder each; the keys that are made here go to them in turn
    online: KeyFolder | None  # of the machine that signs snapshot and timestamp; None: one of `folders`
    handed_in: Sequence[Mapping[str, tuple[Key, ...]]]  # the `public.json` of each holder elsewhere
    kept_elsewhere: Mapping[str, Sequence[tuple[Path, str]]]  # role → public half and signer URI of keys in KMS or HSM


@dataclass(frozen=True)
class _RolePlan:
    threshold: int
    handed_in: tuple[Key, ...]
    folders: tuple[KeyFolder, ...]  # where each other key is made or listed
    kept_elsewhere: tuple[tuple[Path, str], ...]  # the first keys in `folders`, instead of key files


class Ceremony:
    """Plans the keys of a new repository: for each role, how many must sign, of how many keys (default: 1 of 1).

    Raises:
        PolicyError: numbers do not fit; a holder could sign alone for a role that several must sign; or a key folder
            would get no key.
    """

    def __init__(self, keys: Keys, counts: Mapping[str, tuple[int, int]]) -> None:
        self._plans = {role: _plan(role, keys, counts.get(role)) for role in ROLES}
        used = {folder.path for plan in self._plans.values() for folder in plan.folders}
        if unused := [str(folder.path) for folder in keys.folders if folder.path not in used]:
            raise PolicyError(
                f"{', '.join(unused)} would get no key, and the other key folders could sign alone: every role has "
                f"fewer keys than there are key folders; give --role root=M/{len(keys.folders)}, or fewer --keys"
            )

    def try_out(self, ring: KeyRing) -> None:
        """Check that the keys that are kept elsewhere can be reached, before others are made."""
        self._elsewhere = {
            role: [
                ring.try_out(folder, *each)
                for folder, each in zip(plan.folders, plan.kept_elsewhere, strict=False)  # they are the first ones
            ]
            for role, plan in self._plans.items()
        }

    def make(self, passphrase: str | None) -> dict[str, RoleKeys]:
        """Make the keys, after `try_out()`. Without a passphrase, new key files are not encrypted."""
        made = {}
        for role, plan in self._plans.items():
            elsewhere = self._elsewhere[role]
            added = (folder.add(role, *each) for folder, each in zip(plan.folders, elsewhere, strict=False))
            generated = (folder.generate(role, passphrase) for folder in plan.folders[len(elsewhere) :])
            made[role] = RoleKeys((*plan.handed_in, *added, *generated), plan.threshold)
        return made


def _plan(role: str, keys: Keys, count: tuple[int, int] | None) -> _RolePlan:
    handed_in = [holder[role] for holder in keys.handed_in if role in holder]
    total = sum(map(len, handed_in))
    elsewhere = tuple(keys.kept_elsewhere.get(role, ()))
    if count is None and total > 1:
        raise PolicyError(f"{role} has {total} keys; say how many must sign with --role {role}=M/{total}")
    threshold, number = count or (1, 1)
    if total and number != total + len(elsewhere):
        raise PolicyError(f"{role} has {total + len(elsewhere)} keys but N is {number}; give --role {role}=M/{total}")
    if len(elsewhere) > number:
        raise PolicyError(
            f"{role} has {len(elsewhere)} signers but N is {number}; give --role {role}=M/{len(elsewhere)}"
        )
    holders = [keys.online] if keys.online is not None and role in _OF_MACHINES else keys.folders
    if number > total and not holders:
        raise PolicyError(f"{role} has no key; give --holder with one, or --keys for a new one")
    folders = tuple(holders[at % len(holders)] for at in range(number - total))
    most = max([*map(len, handed_in), *(folders.count(folder) for folder in folders)])
    if len(holders) + len(handed_in) > 1 and 1 < threshold <= most:
        raise PolicyError(
            f"--role {role}={threshold}/{number}: one of {len(holders) + len(handed_in)} key folders would get {most} "
            "keys, and could sign alone; give more --keys, or fewer keys"
        )
    return _RolePlan(threshold, tuple(key for each in handed_in for key in each), folders, elsewhere)
