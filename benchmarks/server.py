"""The server of the benchmarks, in a process of its own, so that it does not share the interpreter with its clients."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import certifi

from pinned_requests.testing import Authority, TLSServer

if TYPE_CHECKING:
    from collections.abc import Iterator


class Target(NamedTuple):
    """A running server: its URL, the CA bundle that vouches for it, and its leaf certificate in PEM."""

    url: str
    bundle: str
    leaf: bytes


@contextmanager
def running(folder: Path) -> Iterator[Target]:
    """Run the server in another process; `folder` holds its files: certifi's bundle with the lab's CA, and the leaf."""
    process = subprocess.Popen(  # noqa: S603  this very interpreter
        [sys.executable, "-m", "benchmarks.server", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None  # noqa: S101  it is a pipe
        url = process.stdout.readline().strip()
        yield Target(url, str(folder / "bundle.pem"), (folder / "leaf.pem").read_bytes())
    finally:
        process.communicate()  # the end of its input is the end of it


def serve(folder: Path) -> None:
    """Serve until the end of standard input."""
    root = Authority.create()
    leaf = root.intermediate().issue("localhost")
    (folder / "bundle.pem").write_bytes(Path(certifi.where()).read_bytes() + b"\n" + root.certificate_pem)
    (folder / "leaf.pem").write_bytes(leaf.certificate_pem)
    with TLSServer(leaf) as server:
        print(server.url(), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
