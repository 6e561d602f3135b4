"""The public names are those of ``__all__``, and the exception tree is the one drawn in `exceptions`."""

from __future__ import annotations
import __future__

import re
from types import ModuleType

import pinned_requests
from pinned_requests import exceptions

# "├── PinMismatchError", "│   └── BlockedKeyError"; the column of the name is its depth.
BRANCH = re.compile(r"^([\s│]*[├└]─+ )(\w+)(.*)$")

EXCEPTION_NAME = re.compile(r"\b(?:[A-Z]\w*)?(?:Error|Exception|Warning)\b")


def test_every_name_in_all_exists() -> None:
    """``__all__`` holds no name twice and none that is not there."""
    names = pinned_requests.__all__
    assert len(set(names)) == len(names)
    assert [name for name in names if not hasattr(pinned_requests, name)] == []


def test_every_public_name_is_in_all() -> None:
    """What can be imported without an underscore is meant to be."""
    public = {
        name
        for name, value in vars(pinned_requests).items()
        if not name.startswith("_") and not isinstance(value, (ModuleType, __future__._Feature))
    }
    assert public - set(pinned_requests.__all__) == set()


def test_every_exception_is_drawn() -> None:
    """The docstring of `exceptions` shows every public exception."""
    assert set(public_exceptions()) - set(drawn_tree(exceptions.__doc__ or "")) == set()


def test_the_drawn_tree_is_the_real_one() -> None:
    """Whatever is drawn below a class is derived from it, and no base of ours is left out."""
    ours = public_exceptions()
    drawn = {name: bases for name, bases in drawn_tree(exceptions.__doc__ or "").items() if name in ours}
    real = {name: {base.__name__ for base in ours[name].__bases__} for name in drawn}
    assert {name: bases - real[name] for name, bases in drawn.items() if bases - real[name]} == {}
    omitted = {name: (real[name] & set(ours)) - bases for name, bases in drawn.items()}
    assert {name: bases for name, bases in omitted.items() if bases} == {}


def test_a_drawing_is_read() -> None:
    """Depth gives the base; further bases stand in parentheses, or the name is drawn once more."""
    drawing = """Everything that can go wrong. OSError is not meant here.

    requests.exceptions.SSLError
    └── PinningError              a request was refused
        ├── PinMismatchError
        │   └── BlockedKeyError
        └── UnpinnableAdapterError  (also a PolicyError)
    ValueError
    └── PolicyError               unlike PinningError, about the configuration
        └── PinFormatError
    """
    assert drawn_tree(drawing) == {
        "PinningError": {"SSLError"},
        "PinMismatchError": {"PinningError"},
        "BlockedKeyError": {"PinMismatchError"},
        "UnpinnableAdapterError": {"PinningError", "PolicyError"},
        "PolicyError": {"ValueError"},
        "PinFormatError": {"PolicyError"},
    }


def public_exceptions() -> dict[str, type[BaseException]]:
    """The exceptions and warnings among the public names."""
    public = {name: getattr(pinned_requests, name) for name in pinned_requests.__all__}
    return {
        name: value for name, value in public.items() if isinstance(value, type) and issubclass(value, BaseException)
    }


def drawn_tree(docstring: str) -> dict[str, set[str]]:
    """Every class on a branch of the drawing, and the classes it is drawn to derive from.

    The line above the first branch is the root; its last name counts (``requests.exceptions.SSLError``).
    In parentheses after a name stand its further bases.
    """
    tree: dict[str, set[str]] = {}
    above: list[tuple[int, str]] = []
    for line in docstring.splitlines():
        branch = BRANCH.match(line)
        if branch is None:
            root = EXCEPTION_NAME.search(line)
            above = [(len(line) - len(line.lstrip()), root[0])] if root else []
            continue
        column, name = len(branch[1]), branch[2]
        above = [(depth, base) for depth, base in above if depth < column]
        noted = re.match(r"\s*\((.*?)\)", branch[3])
        bases = tree.setdefault(name, set())
        bases.update(EXCEPTION_NAME.findall(noted[1]) if noted else [])
        bases.update(base for _, base in above[-1:])
        above.append((column, name))
    return tree
