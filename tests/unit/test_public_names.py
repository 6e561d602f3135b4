"""The public names are those of ``__all__``, and the exception tree is the one drawn in `exceptions`."""

from __future__ import annotations
import __future__

import copy
import datetime as dt
import importlib.metadata
import pickle
import pkgutil
import re
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

import pinned_requests
from pinned_requests import exceptions
from pinned_requests.core.chain import Chain
from pinned_requests.core.pin import Pin
from pinned_requests.core.pinset import PinSet
from pinned_requests.core.policy import PinPolicy
from pinned_requests.core.verdict import evaluate

if TYPE_CHECKING:
    from collections.abc import Callable

# "├── PinMismatchError", "│   └── BlockedKeyError"; the column of the name is its depth.
BRANCH = re.compile(r"^([\s│]*[├└]─+ )(\w+)(.*)$")

EXCEPTION_NAME = re.compile(r"\b(?:[A-Z]\w*)?(?:Error|Exception|Warning)\b")


def test_every_name_in_all_exists() -> None:
    """Each name in ``__all__`` exists and is listed once."""
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


@pytest.mark.parametrize("name", pinned_requests.__all__)
def test_a_public_name_stands_in_the_package(name: str) -> None:
    """Users know `pinned_requests.Pin`, not the module that it is written in; pickle finds it there."""
    value = getattr(pinned_requests, name)
    assert (value.__module__, value.__qualname__) == ("pinned_requests", name)
    assert pickle.loads(pickle.dumps(value)) is value  # noqa: S301  our own


PIN, BACKUP = (Pin("spki", bytes([number]) * 32) for number in range(2))
POLICY = PinPolicy({"api.example.com": [PIN, BACKUP]})
VERDICT = evaluate(POLICY, "api.example.com", Chain.of([], is_verified=True), dt.datetime(2026, 11, 22, tzinfo=dt.UTC))

# What urllib3's own managers and the contexts of ssl cannot either.
UNPICKLABLE = {"PinnedPoolManager", "PinnedProxyManager", "PinnedSSLContext"}

# How to make a value of each class; exceptions, which are not listed, take a text.
VALUES: dict[str, Callable[[], object]] = {
    "Pin": lambda: PIN,
    "PinCheck": lambda: pinned_requests.PinCheck.of(VERDICT),
    "PinPolicy": lambda: POLICY,
    "PinSet": PinSet.exempt,
    "PinnedAdapter": lambda: pinned_requests.PinnedAdapter(POLICY),
    "PinnedSession": lambda: pinned_requests.PinnedSession(POLICY),
    "PolicyStore": lambda: pinned_requests.PolicyStore(POLICY),
    "ViolationReport": lambda: pinned_requests.ViolationReport(VERDICT, dt.datetime.now(dt.UTC), ()),
}


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in pinned_requests.__all__
        if isinstance(getattr(pinned_requests, name), type) and name not in UNPICKLABLE
    ],
)
@pytest.mark.parametrize("again", [lambda value: pickle.loads(pickle.dumps(value)), copy.copy, copy.deepcopy])  # noqa: S301  our own
def test_a_value_of_each_public_class_pickles_and_copies(name: str, again: Callable[[object], object]) -> None:
    """The copy is of the same class, and equal where the class says what that is."""
    kind: type = getattr(pinned_requests, name)
    value = VALUES[name]() if name in VALUES else kind("text")
    other = again(value)
    assert type(other) is kind
    assert other == value or kind.__eq__ is object.__eq__


def test_the_version() -> None:
    """That of the installed distribution; no other name is made up."""
    assert pinned_requests.__version__ == importlib.metadata.version("pinned-requests")
    assert not hasattr(pinned_requests, "absent")


def test_what_completion_shows() -> None:
    """The public names alone."""
    assert set(dir(pinned_requests)) == {*pinned_requests.__all__, "__version__"}


def test_a_copy_without_metadata_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a frozen program: asking is not an `ImportError`."""

    def absent(_name: str) -> str:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert not hasattr(pinned_requests, "__version__")


def test_the_log_is_silent_unless_the_program_wants_it() -> None:
    """Python's last resort would print warnings on stderr."""
    program = "import logging, pinned_requests; logging.getLogger('pinned_requests').warning('shown')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_every_exception_is_drawn_and_no_other() -> None:
    """The docstring of `exceptions` shows every error and warning of the package that users may meet."""
    assert set(drawn_tree(exceptions.__doc__ or "")) == set(public_exceptions())


def test_the_drawn_tree_is_the_real_one() -> None:
    """Each class is drawn below each of its bases that is ours, and else below one that is its base indeed."""
    ours = public_exceptions()
    drawn = drawn_tree(exceptions.__doc__ or "")
    real = {name: {base.__name__ for base in ours[name].__bases__} for name in drawn}
    assert {name: bases - real[name] for name, bases in drawn.items() if bases - real[name]} == {}
    omitted = {name: (real[name] & set(ours)) - bases for name, bases in drawn.items()}
    assert {name: bases for name, bases in omitted.items() if bases} == {}


def test_a_drawing_is_read() -> None:
    """The depth gives the base; further bases are in parentheses, or the name is drawn again."""
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
    """The exceptions and warnings among the public names, and all that are derived from them, in any module."""
    for module in pkgutil.walk_packages(pinned_requests.__path__, "pinned_requests."):
        if not module.name.endswith("__main__"):
            with suppress(ImportError):  # an extra is not installed
                import_module(module.name)
    left = [getattr(pinned_requests, name) for name in pinned_requests.__all__]
    left = [each for each in left if isinstance(each, type) and issubclass(each, BaseException)]
    found = {}
    while left:
        kind = left.pop()
        # The errors of PinnedSSLContext have the names of the public ones that they derive from.
        if kind.__module__.startswith("pinned_requests") and getattr(pinned_requests, kind.__name__, kind) is kind:
            found[kind.__name__] = kind
            left += kind.__subclasses__()
    return found


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
