"""Methods and attributes of a pinned class stay the outermost ones."""

from __future__ import annotations

from functools import partialmethod
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from pinned_requests.core.errors import PolicyError
from pinned_requests.transport.outermost import Outermost, become, examine, outermost, surround_own

if TYPE_CHECKING:
    from collections.abc import Callable


def _marked(_thing: object, find: Callable[..., object], *args: object) -> object:
    return "seen", find(*args)


class Base:
    """A class of others."""

    def __init__(self) -> None:
        self.value: object = "value"

    def find(self, what: str) -> object:
        """Return it."""
        return what


class Pinned(Outermost, Base):
    """A class of ours."""

    _methods: ClassVar = {"find": _marked}
    _attributes: ClassVar = {"value": lambda _thing, value: ("seen", value)}

    @outermost
    def find(self, what: str) -> object:
        """Return it, seen."""
        return _marked(self, super().find, what)


class Overriding(Pinned):
    """Overrides without `super()`."""

    value = property(lambda _self: "own")

    def find(self, what: str) -> object:
        """Return it."""
        return f"own {what}"


class InFront(Base):
    """A mixin that overrides, and calls `super()`."""

    def find(self, what: str) -> object:
        """Return it."""
        return "front", super().find(what)


class Mixed(InFront, Pinned):
    """Stands in front of ours."""


class Odd(Pinned):
    """Overrides by what is not a function."""

    find = partialmethod(lambda _self, prefix, what: prefix + what, "odd ")
    value: object = "of the class"


def test_a_subclass() -> None:
    """What it overrides is surrounded, however it is written; a call of `super()` may be nested."""
    assert Pinned().find("it") == ("seen", "it")
    assert Overriding.find(Pinned(), "it")  # type: ignore[arg-type]  # works, as in any class == ("seen", "own it")
    assert Mixed().find("it") == ("seen", ("front", ("seen", "it")))
    assert Odd().find("it") == ("seen", "odd it")
    assert type("Below", (Mixed,), {})().find("it") == ("seen", ("front", ("seen", "it")))


def test_a_class_between() -> None:
    """What a mixin inherits is the next of the object's own bases, not that of the class that was examined first."""

    class Later(InFront):
        def find(self, what: str) -> object:
            return "later", super().find(what)

    assert type("Both", (Mixed, Later), {})().find("it") == ("seen", ("later", ("front", ("seen", "it"))))


def test_a_base_that_is_patched(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts from then on, and no longer."""
    monkeypatch.setattr(InFront, "find", lambda _self, what: f"patched {what}")
    assert Mixed().find("it") == ("seen", "patched it")
    monkeypatch.undo()
    assert Mixed().find("it") == ("seen", ("front", ("seen", "it")))


def test_an_object() -> None:
    """A method that it is given is surrounded; its own, when that is put back, is not surrounded twice."""
    thing: Any = Pinned()
    own = thing.find
    thing.find = lambda what: f"given {what}"
    assert thing.find("it") == ("seen", "given it")
    thing.find = own
    assert thing.find("it") == ("seen", "it")
    assert "find" not in vars(thing)
    thing.find = Pinned().find
    assert thing.find("it") == ("seen", ("seen", "it"))
    del thing.find
    assert thing.find("it") == ("seen", "it")


def test_its_dictionary() -> None:
    """What is put there is surrounded once."""
    thing = Pinned()
    vars(thing)["find"] = lambda what: f"given {what}"
    for _ in range(2):
        surround_own(thing)
        assert thing.find("it") == ("seen", "given it")


def test_an_object_that_becomes_pinned() -> None:
    """What it had is surrounded."""
    thing: Any = Base()
    thing.find = lambda what: f"given {what}"
    become(thing, Pinned)
    assert thing.find("it") == ("seen", "given it")
    assert thing.value == ("seen", "value")


def test_a_class_that_is_assigned_to() -> None:
    """It is examined again."""
    kind: Any = type("Kind", (Pinned,), {})
    kind.find = lambda _self, what: f"given {what}"
    assert kind().find("it") == "given it"
    examine(kind)
    assert kind().find("it") == ("seen", "given it")


def test_attributes() -> None:
    """They are given out seen, and can be set, and are missing as any attribute is."""
    thing: Any = Pinned()
    assert thing.value == ("seen", "value")
    thing.value = "other"
    assert thing.value == ("seen", "other")
    del vars(thing)["value"]
    with pytest.raises(AttributeError, match="value"):
        _ = thing.value
    assert object.__new__(Overriding).value == ("seen", "own")
    assert object.__new__(Odd).value == ("seen", "of the class")
    with pytest.raises(AttributeError):
        object.__new__(Overriding).value = "other"  # its property has no setter
    settable = property(lambda self: self.kept, lambda self, value: setattr(self, "kept", f"kept {value}"))
    assert type("Settable", (Pinned,), {"value": settable})().value == ("seen", "kept value")


def test_a_look_up_of_its_own() -> None:
    """It could return anything."""
    with pytest.raises(PolicyError, match="__getattr__"):
        type("Own", (Pinned,), {"__getattribute__": object.__getattribute__})
