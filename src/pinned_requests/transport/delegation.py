"""Adapter classes of others: do they send through requests' `HTTPAdapter`, and what was asked of them?

It is imported when the first of them sends a request.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from requests.adapters import BaseAdapter, HTTPAdapter

from pinned_requests.transport.origin import origins_of
from pinned_requests.transport.outermost import is_outermost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from requests import PreparedRequest

    from pinned_requests.transport.origin import Origin

_NO_STEPS = ("CACHE", "PUSH_NULL", "NOP", "EXTENDED_ARG", "COPY_FREE_VARS")  # instructions without effect here


def sends_through_requests(adapter: HTTPAdapter) -> bool:
    """Say whether each `send()` from the adapter up to `HTTPAdapter` calls the inherited one."""
    if "send" in vars(adapter):  # assigned to the object: it may call anything
        return False
    return all(_hands_on(cls, vars(cls)["send"]) for cls in type(adapter).__mro__ if "send" in vars(cls))


@lru_cache(maxsize=64)  # functions: a handful, unless a program creates them as it runs
def _hands_on(cls: type, send: object) -> bool:
    """Say whether `send`, which `cls` defines, calls the inherited one: `super().send(…)`.

    This is read in its bytecode: only running it would tell otherwise, and then the request is gone.
    (`tests/attacks/test_adapters.py` fails without it.) It tells the careless from the careful, and not the malicious:
    code in this process needs no adapter to read a request.
    """
    if cls in (HTTPAdapter, BaseAdapter):
        return True
    inherited = [vars(base)["send"] for base in cls.__mro__[1:] if "send" in vars(base)]
    function = _written(send, inherited)
    return function in inherited or _calls_inherited(cls, function)  # the former is judged by the class that defines it


def _written(send: Any, inherited: list[Any]) -> Any:
    """Return the function that a decorator, or `Outermost`, has wrapped.

    A decorator calls what it wraps. An override that looks like the inherited one, by `functools.wraps()`, need not.
    """
    if is_outermost(send) and hasattr(send, "__wrapped__"):
        send = send.__wrapped__
    while hasattr(send, "__wrapped__") and send.__wrapped__ not in inherited:
        send = send.__wrapped__
    return send


def _calls_inherited(cls: type, function: Any) -> bool:
    import dis  # noqa: PLC0415  only for classes of others

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


class _Sending:
    """A request on its way through the `send()` methods of an adapter."""

    __slots__ = ("adapter", "asked", "methods")

    def __init__(self, adapter: HTTPAdapter, methods: tuple[object, ...], asked: tuple[Origin, ...]) -> None:
        self.adapter = adapter
        self.methods = methods  # that are running
        self.asked = asked  # what its URL named when it came to the adapter


_ASKED = "_pinned_origins"  # on a request: the same, for a `send()` that goes on in another thread
# A ContextVar, since a `send()` may pass on a copy of the request, which lacks the mark.
# (`tests/attacks/test_outer_ways.py` fails without it.)
_SENDING: ContextVar[_Sending | None] = ContextVar("_SENDING", default=None)


@contextmanager
def sending(adapter: HTTPAdapter, send: object, request: PreparedRequest) -> Iterator[None]:
    """Remember, while `send` runs, what the request is for: a class may put another URL in its place."""
    is_first = _ASKED not in vars(request)  # of nested calls
    if is_first:
        vars(request)[_ASKED] = origins_of(request.url)
    token = _SENDING.set(_begin(adapter, send, request))
    try:
        yield
    finally:
        _SENDING.reset(token)
        if is_first:
            del vars(request)[_ASKED]


def _begin(adapter: HTTPAdapter, send: object, request: PreparedRequest) -> _Sending:
    """Return what the adapter is sending: the same request as before, unless `send` has begun once more."""
    method, before = getattr(send, "__func__", send), _SENDING.get()
    if before is None or before.adapter is not adapter:  # it may have come to another adapter, or in another thread
        return _Sending(adapter, (method,), vars(request)[_ASKED])
    if method in before.methods:
        return _Sending(adapter, (method,), origins_of(request.url))
    return _Sending(adapter, (*before.methods, method), before.asked)


def asked_for(adapter: HTTPAdapter, request: object) -> tuple[Origin, ...]:
    """Return the origins of the URL with which a request came to an adapter class of others, or none."""
    before = _SENDING.get()
    return before.asked if before and before.adapter is adapter else getattr(request, _ASKED, ())
