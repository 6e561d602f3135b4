"""The SSLContext of a handshake: ours, shared by the process, or a caller's; and whether it vouches for the chain.

requests builds a context and parses the CA bundle for every connection, which costs ten times the handshake. Here a
context is built once for each combination of settings, and shared. It never changes afterwards: what urllib3 writes
into a context (`verify_mode`, `check_hostname`) is part of the key, so that urllib3 writes the value that it has.

Rules for the next maintainer:

- Everything that shapes a context is in the key, with the identity of every file: a replaced file is a new context.
- Keys do not contain passwords. Contexts of callers are not kept.
- A failure to build is not kept. A slow build (a file system that hangs) delays only those who wait for the same key.
- OpenSSL copies `verify_mode` at the start of a handshake and does not tell it afterwards: see `Loan`.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING

from urllib3.exceptions import SSLError
from urllib3.util import ssl_ as urllib3_ssl

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Required, TypedDict

    class TLSSettings(TypedDict, total=False):
        """What shapes a context, in urllib3's words. What is missing, or None, is left to urllib3 and OpenSSL.

        A dictionary, since to make a class of records takes 0.3 ms of each import.
        """

        cert_reqs: Required[ssl.VerifyMode]
        ca_certs: str | None  # path of a CA bundle
        ca_cert_dir: str | None  # hashed as OpenSSL wants it
        ca_cert_data: str | bytes | None  # PEM text or DER bytes
        cert_file: str | None
        key_file: str | None  # where the key is in another file
        key_password: str | bytes | Callable[[], str | bytes] | None
        ssl_version: int | str | None  # deprecated form of the next two
        minimum_version: int | None
        maximum_version: int | None
        check_hostname: bool  # by `ssl`, which is the default; otherwise urllib3 does it, if at all


MAX_CONTEXTS = 64  # contexts: some 0.5 MB each with a CA bundle; a process with more client certificates rebuilds them


class Loan:
    """The context that one handshake is made with.

    Args:
        context: of the handshake, which comes after this call.
        cert_reqs: what the connection asks for.
        is_shared: whether the context is ours (`shared_context()`), with `cert_reqs` in its key.

    A context that came from elsewhere (a caller, an adapter) may be written to by other threads at any time, as urllib3
    does for each connection. It vouches for a chain only if its `verify_mode` is `CERT_REQUIRED` before and after the
    handshake, the connection asks for that, and no connection of this library was ever about to use it otherwise. The
    last is recorded before urllib3 writes to the context: so a handshake that used the other mode finds the record.
    """

    __slots__ = ("_was_required", "cert_reqs", "context", "is_shared")

    def __init__(self, context: ssl.SSLContext, cert_reqs: ssl.VerifyMode, *, is_shared: bool) -> None:
        self.context = context
        self.cert_reqs = cert_reqs
        self.is_shared = is_shared
        is_asked_for = cert_reqs == ssl.CERT_REQUIRED
        self._was_required = is_asked_for and (is_shared or context.verify_mode == ssl.CERT_REQUIRED)
        if not is_shared and not is_asked_for:
            _record(context, cert_reqs)

    def vouches(self) -> bool:
        """Say, after the handshake, whether OpenSSL was certainly asked to verify the chain in it."""
        if self.is_shared or not self._was_required:
            return self._was_required
        return self.context.verify_mode == ssl.CERT_REQUIRED and self.context not in _used_unverified


def _record(context: ssl.SSLContext, cert_reqs: ssl.VerifyMode) -> None:
    """Note that a context is used unverified, unless it refuses that, as one that checks host names does."""
    with _recording:
        is_known = context in _used_unverified
        _used_unverified.add(context)
        try:
            context.verify_mode = cert_reqs  # what urllib3 is about to do, and to report if it fails
        except ValueError:
            if not is_known:
                _used_unverified.discard(context)


_recording = threading.Lock()
# Contexts of callers that a connection was about to use without verification, for the life of the context.
_used_unverified: weakref.WeakSet[ssl.SSLContext] = weakref.WeakSet()


class _Slot:
    """The place of one context: its lock is held while it is built."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.context: ssl.SSLContext | None = None


_slots: OrderedDict[object, _Slot] = OrderedDict()
_slots_lock = threading.Lock()


def shared_context(settings: TLSSettings) -> ssl.SSLContext:
    """Return the context for `settings`, built at the first call and after a change of one of its files.

    With `urllib3.contrib.pyopenssl` injected, it is built for each call.

    Raises:
        urllib3.exceptions.SSLError: a CA bundle, certificate or key cannot be loaded.
        OSError: a client certificate or key is not there.
    """
    if urllib3_ssl.IS_PYOPENSSL:
        return _build(settings)  # pyOpenSSL's contexts cannot be changed once in use, and urllib3 changes them
    key = _key(settings)
    with _slots_lock:
        slot = _slots.setdefault(key, _Slot())
        _slots.move_to_end(key)
        while len(_slots) > MAX_CONTEXTS:
            _slots.popitem(last=False)
    if slot.context is None:
        with slot.lock:
            if slot.context is None:
                slot.context = _build(settings)
    return slot.context


def _build(settings: TLSSettings) -> ssl.SSLContext:
    """Build a context as urllib3 would for one connection, and forbid renegotiation."""
    context = urllib3_ssl.create_urllib3_context(
        ssl_version=urllib3_ssl.resolve_ssl_version(settings.get("ssl_version")),
        ssl_minimum_version=settings.get("minimum_version"),
        ssl_maximum_version=settings.get("maximum_version"),
        cert_reqs=settings["cert_reqs"],
    )
    if not settings.get("check_hostname", True):
        context.check_hostname = False
    context.verify_mode = settings["cert_reqs"]
    # A TLS 1.2 server could present another certificate in a renegotiation after the check.
    context.options |= getattr(ssl, "OP_NO_RENEGOTIATION", 0)  # not in every build of Python

    authorities = settings.get("ca_certs"), settings.get("ca_cert_dir"), settings.get("ca_cert_data")
    if any(authorities):
        try:
            context.load_verify_locations(*authorities)
        except OSError as e:
            raise SSLError(e) from e
    elif hasattr(context, "load_default_certs"):  # not in pyOpenSSL's
        context.load_default_certs()

    if cert_file := settings.get("cert_file"):
        key_file, password = settings.get("key_file"), settings.get("key_password")
        if key_file and password is None and _is_encrypted(key_file):
            raise SSLError("Client private key is encrypted, password is required")
        context.load_cert_chain(cert_file, key_file, password)
    return context


def _is_encrypted(key_file: str) -> bool:
    """Say whether OpenSSL would ask for a password on the terminal."""
    with open(key_file, "rb") as file:  # noqa: PTH123  a path as the caller gave it
        return any(b"ENCRYPTED" in line for line in file)


def _key(settings: TLSSettings) -> object:
    password, data = settings.get("key_password"), settings.get("ca_cert_data")
    public: TLSSettings = {**settings, "key_password": None, "ca_cert_data": None}
    return (
        frozenset(public.items()),
        password if password is None or callable(password) else _digest(password),  # OpenSSL calls it
        data and _digest(data),
        urllib3_ssl.SSLContext,  # another class after truststore or pyOpenSSL have been injected
        _default_authorities(settings),
        _identity(settings.get("ca_certs")),
        _identity(settings.get("ca_cert_dir")),
        _identity(settings.get("cert_file")),
        _identity(settings.get("key_file")),
    )


def _default_authorities(settings: TLSSettings) -> object:
    """Return what changes when OpenSSL's default CA certificates do; they count where no others are given."""
    if settings.get("ca_certs") or settings.get("ca_cert_dir") or settings.get("ca_cert_data"):
        return None
    paths = ssl.get_default_verify_paths()
    return paths.cafile, paths.capath, _identity(paths.cafile), _identity(paths.capath)


_SALT = os.urandom(16)  # so that a digest of a password that leaks from this process cannot be looked up


def _digest(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else bytes(value)
    return hashlib.blake2b(data, key=_SALT).digest()


def _identity(path: str | None) -> tuple[int, ...] | None:
    """Return what changes when a file is replaced or written: device, inode, size, and modification time in ns."""
    if not path:
        return None
    try:
        status = os.stat(path)  # noqa: PTH116  once a connection: a Path costs more than the call
    except OSError:
        return None  # the build raises the error
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _forget_locks() -> None:
    """Reset in a forked child: a thread of the parent may have held a lock."""
    global _slots_lock, _recording
    _slots_lock, _recording = threading.Lock(), threading.Lock()
    _slots.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)
