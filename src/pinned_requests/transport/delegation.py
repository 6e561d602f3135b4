"""Does an adapter send through requests' `HTTPAdapter`, or does it open sockets of its own?"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from requests.adapters import BaseAdapter, HTTPAdapter

from pinned_requests.transport.outermost import is_outermost

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
