"""What the classes with a `__getattribute__` of ours have in common.

That method is called for each attribute, some 50 times a request. So it asks `object` directly, without `super()`.
"""

from __future__ import annotations

from pinned_requests.core.errors import PolicyError
from pinned_requests.core.text import show

look_up = object.__getattribute__


def demand_no_other(cls: type, ours: type) -> None:
    """Check that a subclass has no other `__getattribute__` among its bases, before or behind ours.

    Raises:
        PolicyError: it has one. It would go around the pins, or not be called.
    """
    for base in cls.__mro__:
        if "__getattribute__" in vars(base) and base not in (ours, object):
            raise PolicyError(
                f"{show(base.__name__)} has a __getattribute__ of its own, which cannot be combined with pins; use "
                "__getattr__"
            )
