"""The keys that sign a policy repository: key files of our own, and whatever else securesystemslib signs with.

A key folder holds `signers.json`, which maps key ids to signer URIs as securesystemslib has them (`file2:PATH`,
`gcpkms:…`, `hsm:…`, …), and the key files, relative to it. It never is a part of what is published.

Rules for the next maintainer:

- A private key is created with mode 0600 and never overwritten, and no error shows what is in one.
- Which key may sign what is said by the root metadata alone. A key folder only says how to reach a key.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.text import show

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_FILE = "file2"  # securesystemslib's scheme for PEM files
_SIGNERS = "signers.json"


class SigningError(Exception):
    """A key is not at hand, cannot be read, or does not sign."""


class KeyFolder:
    """A folder with keys and `signers.json`. It need not exist before the first key is added.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def generate(self, role: str, passphrase: str | None) -> Key:
        """Make a new Ed25519 key in a file, and return its public half.

        Args:
            role: for the file's name.
            passphrase: encrypts the file; None: it is not encrypted.

        Raises:
            OSError: the file exists, or cannot be written.
            SigningError: `signers.json` is damaged.
        """
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
        with open(descriptor, "wb") as file:  # noqa: PTH123  a descriptor is no path
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        self._add(key, f"{_FILE}:{name}")
        return key

    def add(self, key: Key, uri: str) -> Key:
        """Take in a key that is kept elsewhere, such as in a KMS, and return its public half.

        Args:
            key: the public half.
            uri: how securesystemslib reaches the private half.

        Raises:
            OSError: `signers.json` cannot be written.
            SigningError: `signers.json` is damaged.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._add(key, uri)
        return key

    def signer(self, key: Key, ask: Callable[[str], str]) -> Signer | None:
        """Return what signs with a key, or None where this folder does not know it.

        Args:
            key: the public half.
            ask: gets a passphrase or PIN: takes what it is for.

        Raises:
            SigningError: the key cannot be reached, or is another one.
        """
        uri = self._uris().get(key.keyid)
        return None if uri is None else self.signer_at(uri, key, ask)

    def signer_at(self, uri: str, key: Key, ask: Callable[[str], str]) -> Signer:
        """Return what signs with a key at a signer URI, be it known to this folder or not; see `signer()`."""
        scheme, _, rest = uri.partition(":")
        try:
            if scheme != _FILE:
                return Signer.from_priv_key_uri(uri, key, ask)
            return CryptoSigner(self._private(self.path / rest, ask), _sslib(key))
        except SigningError:
            raise
        except Exception as e:  # securesystemslib: "Signer-specific errors"
            raise SigningError(f"the key {key.keyid[:12]} at {show(uri)} cannot be used: {e}") from e

    def _private(self, path: Path, ask: Callable[[str], str]) -> Any:
        pem = path.read_bytes()
        try:
            return serialization.load_pem_private_key(pem, None)
        except TypeError:  # it is encrypted
            passphrase = ask(f"passphrase of {path.name}")
        try:
            return serialization.load_pem_private_key(pem, passphrase.encode())
        except ValueError:
            raise SigningError(f"the passphrase of {show(path.name)} is not the right one") from None

    def _uris(self) -> dict[str, str]:
        path = self.path / _SIGNERS
        try:
            uris = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError:
            uris = None
        if not isinstance(uris, dict) or not all(isinstance(uri, str) for uri in uris.values()):
            raise SigningError(f"{show(str(path))} is no JSON object of key ids and signer URIs")
        return uris

    def _add(self, key: Key, uri: str) -> None:
        uris = {**self._uris(), key.keyid: uri}
        with NamedTemporaryFile("w", dir=self.path, delete=False) as file:
            json.dump(uris, file, indent=2)
        Path(file.name).replace(self.path / _SIGNERS)


class KeyRing:
    """All keys that are at hand: several folders, for the keys of several people.

    Args:
        folders: at least one.
        ask: gets a passphrase or PIN: takes what it is for.
    """

    def __init__(self, folders: Sequence[KeyFolder], ask: Callable[[str], str]) -> None:
        self._folders = folders
        self._ask = ask
        self._signers: dict[str, Signer | None] = {}  # a passphrase is asked for once

    def folder(self, at: int) -> KeyFolder:
        """Return the folder that gets the key of a role that is the `at`-th from 0: they are dealt in turn."""
        return self._folders[at % len(self._folders)]

    def try_out(self, at: int, public_key: Path, uri: str) -> tuple[Key, str]:
        """Make sure that a key that is kept elsewhere can be reached, and return its public half and its URI.

        Args:
            at: for which folder it is, see `folder()`.
            public_key: a PEM file.
            uri: how securesystemslib reaches the private half.

        Raises:
            OSError: the file cannot be read.
            PolicyError: it is no public key.
            SigningError: the key cannot be reached, or is another one.
        """
        try:
            key = SSlibKey.from_crypto(serialization.load_pem_public_key(public_key.read_bytes()))
        except (ValueError, UnsupportedAlgorithm):
            raise PolicyError(f"{show(str(public_key))} is no public key in PEM that TUF can use") from None
        self._signers[key.keyid] = self.folder(at).signer_at(uri, key, self._ask)
        return key, uri

    def signer(self, key: Key) -> Signer | None:
        """Return what signs with a key, or None where no folder knows it.

        Raises:
            SigningError: the key cannot be reached, or is another one.
        """
        if key.keyid not in self._signers:
            found = (folder.signer(key, self._ask) for folder in self._folders)
            self._signers[key.keyid] = next((signer for signer in found if signer is not None), None)
        return self._signers[key.keyid]


def _sslib(key: Key) -> SSlibKey:
    if not isinstance(key, SSlibKey):
        raise SigningError(f"the key {key.keyid[:12]} is of a type that no key file holds")
    return key
