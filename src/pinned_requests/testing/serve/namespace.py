"""A Linux network namespace where a host's name leads to loopback, and the lab's CA is one of the system's.

An unchanged client runs in it, with its real URL and without a proxy. See namespaces(7).
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
import tempfile
from pathlib import Path

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000  # <sched.h>
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000  # <sys/mount.h>
_SIOCSIFFLAGS = 0x8914  # <linux/sockios.h>
_IFF_UP, _IFF_RUNNING = 0x1, 0x40  # <linux/if.h>
_HOSTS = "/etc/hosts"
_BUNDLES = (  # of the system's CAs: Debian, Alpine and Arch; Fedora; SUSE
    *("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"),
    "/var/lib/ca-certificates/ca-bundle.pem",
)


class NamespaceError(Exception):
    """This machine does not let this user make the namespace."""


def enter(host: str, folder: Path) -> None:
    """Move this process, which must have one thread only, into a namespace of its own, for good.

    Args:
        host: the name that leads to loopback.
        folder: for a file in the place of ``/etc/hosts``; it must exist as long as the process.

    Raises:
        NamespaceError: it is not Linux, or not permitted.
    """
    if not sys.platform.startswith("linux"):
        raise NamespaceError("there are network namespaces on Linux alone")
    user, group, is_root = os.getuid(), os.getgid(), os.geteuid() == 0
    flags = _CLONE_NEWNS | _CLONE_NEWNET | (0 if is_root else _CLONE_NEWUSER)
    try:
        _check(_libc().unshare(flags))
        if not is_root:
            Path("/proc/self/setgroups").write_text("deny", "ascii")
            Path("/proc/self/uid_map").write_text(f"0 {user} 1", "ascii")
            Path("/proc/self/gid_map").write_text(f"0 {group} 1", "ascii")
        _check(_libc().mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None))
        import fcntl  # noqa: PLC0415 - not on Windows

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", _IFF_UP | _IFF_RUNNING, b""))
        hosts = folder / "hosts"
        hosts.write_text(f"127.0.0.1 localhost {host} {host}.\n", "ascii")
        _lay_over(hosts, _HOSTS)
    except OSError as error:
        raise NamespaceError(f"a network namespace is not permitted here ({error.strerror})") from None


def trust(ca_pem: str) -> None:
    """Add a CA to those of the system, within the namespace.

    Raises:
        NamespaceError: it is not permitted.
    """
    try:
        for bundle in filter(os.path.exists, _BUNDLES):
            with tempfile.NamedTemporaryFile(prefix="mitm-lab-", suffix=".pem") as file:
                file.write(Path(bundle).read_bytes() + b"\n" + ca_pem.encode("ascii"))
                file.flush()
                Path(file.name).chmod(0o644)
                _lay_over(Path(file.name), os.path.realpath(bundle))  # it stays when its name is gone
    except OSError as error:
        raise NamespaceError(f"the system's CAs cannot be replaced here ({error.strerror})") from None


def _lay_over(file: Path, target: str) -> None:
    _check(_libc().mount(os.fsencode(file), os.fsencode(target), None, _MS_BIND, None))


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
    return libc


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
