"""The server of the benchmarks, in a process of its own, so that it does not share the interpreter with its clients."""

from __future__ import annotations

import argparse
import ssl
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import certifi

from pinned_requests.testing import Authority, TLSServer, generate_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pinned_requests.testing.pki.certificate_builder import KeyKind

KEYS: dict[str, KeyKind] = {"ecdsa": "ecdsa-p256", "rsa": "rsa-2048"}
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class Target(NamedTuple):
    """A running server: its URL, the CA bundle that vouches for it, and its leaf certificate in PEM, and in a file."""

    url: str
    bundle: str
    leaf: bytes
    leaf_file: str


@contextmanager
def running(folder: Path, key: str = "ecdsa", tls: str = "1.3") -> Iterator[Target]:
    """Run the server in another process; `folder` holds its files: certifi's bundle with the lab's CA, and the leaf."""
    command = [sys.executable, "-m", "benchmarks.server", str(folder), key, tls]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603  our own
    try:
        assert process.stdout is not None  # noqa: S101  it is a pipe
        url = process.stdout.readline().strip()
        leaf = folder / "leaf.pem"
        yield Target(url, str(folder / "bundle.pem"), leaf.read_bytes(), str(leaf))
    finally:
        process.communicate()  # the end of its input is the end of it


def serve(folder: Path, key: str, tls: str) -> None:
    """Serve until the end of standard input."""
    kind = KEYS[key]
    root = Authority.create(key=generate_key(kind))
    leaf = root.intermediate(key=generate_key(kind)).issue("localhost", key=generate_key(kind))
    (folder / "bundle.pem").write_bytes(Path(certifi.where()).read_bytes() + b"\n" + root.certificate_pem)
    (folder / "leaf.pem").write_bytes(leaf.certificate_pem)
    context = leaf.server_context(minimum_version=VERSIONS[tls], maximum_version=VERSIONS[tls])
    with TLSServer(leaf, context=context) as server:
        print(server.url(), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("key", choices=KEYS)
    parser.add_argument("tls", choices=VERSIONS)
    serve(**vars(parser.parse_args()))
