"""`PinnedAdapter`: requests' `HTTPAdapter` on pinned pools. The one place that turns a `Refusal` into the public error.

Rules for the next maintainer:

- Pools are pinned where they come out of the adapter, not where managers are made: `init_poolmanager()` and
  `proxy_manager_for()` are what others override. Three methods see every pool, so that one of them may be overridden.
- A `PinningError` is an `OSError`, by way of requests: it is raised outside of every `try` of urllib3's and requests'.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from requests.adapters import BaseAdapter, HTTPAdapter

from pinned_requests.core.chain import Chain
from pinned_requests.core.errors import PolicyError
from pinned_requests.core.text import show
from pinned_requests.exceptions import UnpinnableAdapterError
from pinned_requests.transport.connection import pin_pool
from pinned_requests.transport.guard import Checked, CheckingGuard, Guard, Refusal, guard_in_force, origin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from requests import PreparedRequest, Response

    from pinned_requests.core.pinset import PinsLike
    from pinned_requests.core.policy import PinPolicy
    from pinned_requests.core.report import ViolationReport
    from pinned_requests.core.verdict import Verdict
    from pinned_requests.policy_store import PolicyStore


class PinnedAdapter(HTTPAdapter):
    """A transport adapter that lets requests go only to servers whose key is pinned.

    Mounted on any `requests.Session`, it pins whatever that sends through it. What goes through other adapters of that
    session it does not see: mount it for `https://` and for `http://`, or use `PinnedSession`. It may be one base class
    among several, in front of other adapters: `class A(PinnedAdapter, CacheControlAdapter)`.

    Args:
        policy: a `PinPolicy`, a `PolicyStore`, or a mapping of host patterns to pins.
        args: what `HTTPAdapter`, or the next class, takes.
        on_violation: called with a `ViolationReport` for each violation, in the thread of the request; what it raises
            is logged and changes nothing.
        kwargs: what `HTTPAdapter`, or the next class, takes.

    Raises:
        PolicyError: `policy` is wrong.
    """

    __attrs__ = [*HTTPAdapter.__attrs__, "guard", "follows_session"]  # noqa: RUF012  as in requests: what is pickled
    guard: Guard
    follows_session = False  # whether it came by its policy through a session, and follows that of the one that sends

    def __init__(
        self,
        policy: PolicyStore | PinPolicy | Mapping[str, PinsLike],
        *args: Any,
        on_violation: Callable[[ViolationReport], object] | None = None,
        **kwargs: Any,
    ) -> None:
        self.guard = Guard.of(policy, on_violation=on_violation)
        super().__init__(*args, **kwargs)

    @property
    def policy(self) -> PinPolicy:
        """The policy in force."""
        return self.guard.store.current

    def send(  # noqa: PLR0913, PLR0917  requests' signature
        self,
        request: PreparedRequest,
        stream: bool = False,  # noqa: FBT001, FBT002  requests' signature
        timeout: Any = None,
        verify: bool | str = True,  # noqa: FBT001, FBT002  requests' signature
        cert: Any = None,
        proxies: dict[str, str] | None = None,
    ) -> Response:
        """Send a request as `HTTPAdapter.send` does, over connections that satisfy the policy.

        Raises:
            PinningError: the request was refused; nothing of it was sent.
            PolicyError: `verify` or `cert` would change the caller's own `ssl_context`.
            requests.exceptions.RequestException: as `HTTPAdapter.send`.
        """
        sender, url, guard = guard_of_sender.get() or (None, None, self.guard)
        guard_of_sender.set(None)
        if sender is not self or url != request.url:
            guard = self.guard
        verify = _verification(guard, verify, cert)
        token = guard_in_force.set(guard)
        try:
            if not (request.url or "").startswith("https://"):  # of https:// URLs the connection asks, as its first act
                guard.admit_url(request.url or "")
            return super().send(request, stream=stream, timeout=timeout, verify=verify, cert=cert, proxies=proxies)
        except Refusal as refusal:
            raise refusal.as_error(request) from None
        finally:
            guard_in_force.reset(token)

    def handshake(self, guard: Guard, request: PreparedRequest, **settings: Any) -> Verdict:
        """Make a new connection as for `request`, send nothing over it, and return the verdict on it.

        Args:
            guard: whose policy holds; it is told of nothing.
            request: of which the URL counts.
            settings: those of `send()`.

        Raises:
            PolicyError: as `send()`.
            requests.exceptions.RequestException: no connection was made, or the certificate is not valid.
        """
        settings["verify"] = _verification(guard, settings.get("verify", True), settings.get("cert"))
        token = guard_in_force.set(CheckingGuard(guard.store, None, guard.ssl_context))
        try:
            # Not `self.send()`: one of a subclass may answer from a cache.
            HTTPAdapter.send(self, request, **settings)
        except Refusal as refusal:
            return refusal.report.verdict
        except Checked as checked:
            return checked.verdict
        finally:
            guard_in_force.reset(token)
        _scheme, host, port = origin_of(request.url or "") or ("", "", None)
        return guard.judge(host, port, Chain.missing("an answer came without a handshake"))

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return the pool for a request, pinned."""
        pool = super().get_connection_with_tls_context(*args, **kwargs)
        pin_pool(pool, self.guard)
        return pool

    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Return the pool for a URL, pinned; what adapters written before requests 2.32 go through."""
        pool = super().get_connection(*args, **kwargs)
        pin_pool(pool, self.guard)
        return pool

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Set verification on a pool, and pin it, should it have come another way."""
        super().cert_verify(conn, url, verify, cert)
        pin_pool(conn, self.guard)


# Which adapter is about to send to which URL for which session: said by the session that looked it up, in the thread
# that sends, and good for that once.
guard_of_sender: ContextVar[tuple[PinnedAdapter, str, Guard] | None] = ContextVar("guard_of_sender", default=None)


def _verification(guard: Guard, verify: Any, cert: Any) -> Any:
    """Return `verify` as `HTTPAdapter` should get it.

    requests takes any falsy value for False in one place, and False alone in another: the pool of an unverified
    connection would be that of verified ones.

    Raises:
        PolicyError: it, or `cert`, would change a context of the caller's.
    """
    if guard.ssl_context is not None and (verify is not True or cert):
        raise PolicyError(
            "'verify' and 'cert' would change the ssl_context that was given; set verification and the client "
            "certificate on the context itself"
        )
    return verify or False


def session_adapter(guard: Guard, **settings: Any) -> PinnedAdapter:
    """Return an adapter that a session makes for itself, with `settings` for `HTTPAdapter`."""
    adapter = PinnedAdapter(guard.store, **settings)
    adapter.guard, adapter.follows_session = guard, True
    return adapter


def pin_adapter(adapter: BaseAdapter, guard: Guard) -> PinnedAdapter | None:
    """Pin an adapter in place and return it, the same object with the same settings, or None where that cannot be done.

    It can for `HTTPAdapter` and its subclasses that send through what they inherit. One whose `send()` does not call
    the inherited one opens sockets of its own.
    """
    if isinstance(adapter, PinnedAdapter):
        return adapter
    # Methods replaced on the object: what they call, if anything, is not what is put into the class here.
    replaced = vars(adapter).keys() if hasattr(adapter, "__dict__") else set()
    if "send" in replaced or {"cert_verify", "get_connection_with_tls_context"} <= replaced:
        return None
    changed, adapter_class = cast("Any", adapter), cast("Any", type(adapter))
    pinned = _pinned_class(adapter_class)
    if pinned is None:
        return None
    changed.guard, changed.follows_session = guard, True
    try:
        changed.__class__ = pinned
    except TypeError:  # __slots__, or a class of C
        return None
    return adapter if isinstance(adapter, PinnedAdapter) else None


@lru_cache(maxsize=64)  # classes: a handful, unless a program makes them as it goes
def _pinned_class(base: type) -> type[PinnedAdapter] | None:
    if not issubclass(base, HTTPAdapter) or not all(map(_hands_on, base.__mro__)):
        return None
    if base is HTTPAdapter:
        return PinnedAdapter
    attributes = {
        "__attrs__": [*base.__attrs__, "guard", "follows_session"],
        "__reduce_ex__": lambda self, _protocol: (_revive, (base,), self.__getstate__()),
    }
    return type(base.__name__, (PinnedAdapter, base), attributes)


def _revive(base: type) -> PinnedAdapter:
    """Return a new object of the pinned class of `base`, for pickle and copy to fill."""
    pinned = _pinned_class(base)
    if pinned is None:
        raise PolicyError(f"{show(base)} cannot be pinned any more; make the adapter anew")
    return pinned.__new__(pinned)


_NO_STEPS = ("CACHE", "PUSH_NULL", "NOP", "EXTENDED_ARG")  # instructions that stand between others and do nothing here


def _hands_on(cls: type) -> bool:
    """Say whether the `send()` that a class defines, if it defines one, calls the inherited one: `super().send(…)`.

    That is read off its code. What it does besides cannot be, so this tells the careless from the careful, and not the
    malicious: code that runs in this process needs no adapter to get at a request.
    """
    if cls in (HTTPAdapter, BaseAdapter, object) or "send" not in vars(cls):
        return True
    import dis  # noqa: PLC0415  for classes of others only
    import inspect  # noqa: PLC0415

    function = inspect.unwrap(vars(cls)["send"])
    if not hasattr(function, "__code__"):
        return False
    steps = [step for step in dis.get_instructions(function) if step.opname not in _NO_STEPS]
    for at, load in enumerate(steps):
        if load.opname.startswith("LOAD_SUPER_") and load.argval == "send":  # since Python 3.12
            return True
        if load.opname == "LOAD_GLOBAL" and load.argval == "super":
            # super().send, or super(Class, self).send
            attribute = next((step for step in steps[at:] if step.opname in ("LOAD_METHOD", "LOAD_ATTR")), None)
            if attribute is not None and attribute.argval == "send":
                return True
        if load.argval == "send" and at and steps[at - 1].argval in {base.__name__ for base in cls.__mro__[1:]}:
            return True  # HTTPAdapter.send(self, …), and not HTTPAdapter().send(…)
    return False


def is_mock(adapter: object) -> bool:
    """Say whether an adapter is requests-mock's, which answers by itself and never connects to anybody."""
    module = sys.modules.get("requests_mock.adapter")
    return module is not None and isinstance(adapter, module.Adapter)


class RefusingAdapter(BaseAdapter):
    """Stands in for an adapter that must not carry a request, and says why when it is asked to."""

    def __init__(self, refusal: Refusal | str) -> None:
        super().__init__()
        self._refusal = refusal

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:  # noqa: ARG002  none is used
        """Refuse.

        Raises:
            PinningError: always.
        """
        if isinstance(self._refusal, Refusal):
            raise self._refusal.as_error(request)
        raise UnpinnableAdapterError(self._refusal, request=request)

    def close(self) -> None:
        """Do nothing: it holds nothing."""
