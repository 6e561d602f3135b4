"""Errors and warnings.

::

    requests.exceptions.SSLError
     └── PinningError                 a request was refused: nothing of it was sent
          ├── PinMismatchError        the chain holds none of the host's pins
          ├── BlockedKeyError         the chain holds a key that is blocked
          ├── PinsExpiredError        the pins have expired, and nothing is there to fall back to
          ├── ChainUnavailableError   there is no chain to look at
          ├── UnpinnedHostError       the host has no pins, and the policy blocks such hosts
          ├── InsecureURLError        http:// to a host that must be pinned
          └── UnpinnableAdapterError  the mounted adapter cannot be pinned (also a PolicyError)
    ValueError
     └── PolicyError                  the configuration is wrong
          ├── PinFormatError          a pin, certificate or key cannot be read
          ├── HostError               a host has no canonical form
          ├── RemotePolicyError       a signed policy was not taken; in `pinned_requests.sources.tuf`
          └── UnpinnableAdapterError
    UserWarning
     └── MissingBackupPinWarning      a pin set has no second pin

A refusal by `PinnedSSLContext` is, in addition, an `ssl.SSLCertVerificationError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from requests.exceptions import SSLError

from pinned_requests.core.errors import MissingBackupPinWarning, PinFormatError, PolicyError

if TYPE_CHECKING:
    from pinned_requests.core.chain import SeenCertificate
    from pinned_requests.core.pin import Pin

__all__ = [
    "BlockedKeyError",
    "ChainUnavailableError",
    "InsecureURLError",
    "MissingBackupPinWarning",
    "PinFormatError",
    "PinMismatchError",
    "PinningError",
    "PinsExpiredError",
    "PolicyError",
    "UnpinnableAdapterError",
    "UnpinnedHostError",
]


class PinningError(SSLError):
    """A request was refused. No byte of it was sent; the socket is closed; the session is still usable.

    Attributes:
        host: the host in its canonical form, or None.
        port: the port, or None.
        chain: what was seen, leaf first: `subject`, `spki_pin` and `certificate_pin` of each certificate.
        expected: the pins that would have been accepted.
        request: the `PreparedRequest`, or None (at the urllib3 level, and where it did not survive pickling).
        response: always None.
    """

    def __init__(
        self,
        *args: object,
        host: str | None = None,
        port: int | None = None,
        chain: tuple[SeenCertificate, ...] = (),
        expected: tuple[Pin, ...] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.host = host
        self.port = port
        self.chain = chain
        self.expected = expected

    def __reduce__(self) -> tuple[Any, ...]:
        state = dict(self.__dict__)
        import pickle  # noqa: PLC0415  the caller is pickle

        try:
            pickle.dumps(state.get("request"))
        except Exception:  # noqa: BLE001  a body or a hook may raise anything
            state["request"] = None
        return type(self), self.args, state


class PinMismatchError(PinningError):
    """The peer presented a chain that holds none of the host's pins."""


class BlockedKeyError(PinningError):
    """The peer presented a chain with a key that the policy blocks."""


class PinsExpiredError(PinningError):
    """The host's pins have expired, and the policy blocks it then, or there is no CA validation to fall back to.

    Also where the whole policy could not be refreshed for longer than the `max_age` of its store.
    """


class ChainUnavailableError(PinningError):
    """The host is pinned, and its certificate chain cannot be had: a forwarding proxy, or an unknown TLS library."""


class UnpinnedHostError(PinningError):
    """The host has no pins, or no canonical name to look them up by, and the policy blocks such hosts."""


class InsecureURLError(PinningError):
    """The URL is `http://`, and its host must be pinned."""


class UnpinnableAdapterError(PinningError, PolicyError):
    """The adapter mounted for the URL cannot be pinned, and the host must be."""
