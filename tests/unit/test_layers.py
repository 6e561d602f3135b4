"""Imports point downward only.

The rooms, from bottom to top, are those of `ROOMS`. A module imports from its own room and from rooms below;
imports under ``if TYPE_CHECKING:`` count. A room that is missing in `ROOMS` fails the test: it needs a place first.
"""

from __future__ import annotations

import ast
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = "pinned_requests"

# The public names: what `from pinned_requests import …` reaches.
FACADE = "__init__"

ROOMS = ("core", "exceptions", "sources", "reporting", "transport", "formats", FACADE, "testing", "cli")

# `python -m pinned_requests` is the command line.
ROOM_OF_MODULE = {f"{PACKAGE}.__main__": "cli"}

# Rooms that may import less than what lies below them.
NARROW = {"formats": {"core", "formats"}, "reporting": {"core", "exceptions", "reporting"}}

# No input or output in core; importlib would hide an import from this test.
FORBIDDEN_IN_CORE = {"importlib", "logging", "requests", "socket", "ssl", "urllib3"}

# Imported when first used, so that `import pinned_requests` stays cheap.
LAZY_IN_CORE = {
    f"{PACKAGE}.core.spki": {"cryptography"},
    f"{PACKAGE}.core.host": {"idna"},
    f"{PACKAGE}.core.policy_text": {"tomli", "tomllib"},  # the standard library of 3.10 has no tomllib
}


class Import(NamedTuple):
    """One imported name; `lazy` if importing the module does not run it."""

    name: str
    lazy: bool


class Violation(NamedTuple):
    """`module` must not import `name`."""

    module: str
    name: str


def modules() -> dict[str, Path]:
    """The modules of the installed package, be it from ``src/`` or from a wheel, and their files."""
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).parent
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join([PACKAGE, *(part for part in parts if part != "__init__")])] = path
    return found


MODULES = modules()


@pytest.mark.parametrize("module", MODULES)
def test_no_import_points_upward(module: str) -> None:
    """Every module of the installed package imports downward only."""
    path = MODULES[module]
    assert violations(path.read_text("utf-8"), module, is_package=path.name == "__init__.py") == []


@pytest.mark.parametrize("module", MODULES)
def test_every_module_stands_in_a_known_room(module: str) -> None:
    """A new room has been given its place in the order."""
    assert room(module) in ROOMS


@pytest.mark.parametrize(
    ("module", "source", "refused"),
    [
        ("core.pin", "import pinned_requests.transport.adapter", "pinned_requests.transport.adapter"),
        ("core.pin", "from pinned_requests import exceptions", "pinned_requests.exceptions"),
        ("core.pin", "from pinned_requests import Pin", "pinned_requests.Pin"),
        ("core.pin", "from ..exceptions import PinningError", "pinned_requests.exceptions.PinningError"),
        ("core.pin", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import requests", "requests"),
        ("core.pin", "def f():\n    import ssl", "ssl"),
        ("core.pin", "from urllib3.util import ssl_", "urllib3.util.ssl_"),
        ("core.pin", "import attrs", "attrs"),
        ("core.pin", "def f():\n    from cryptography import x509", "cryptography.x509"),
        ("core.spki", "from cryptography import x509", "cryptography.x509"),
        ("core.spki", "if True:\n    import cryptography", "cryptography"),
        ("core.host", "import idna", "idna"),
        ("exceptions", "from .sources import PolicyStore", "pinned_requests.sources.PolicyStore"),
        ("transport.session", "from pinned_requests import Pin", "pinned_requests.Pin"),
        ("formats.okhttp", "from pinned_requests.transport import session", "pinned_requests.transport.session"),
        ("__init__", "from .cli import main", "pinned_requests.cli.main"),
        ("testing.plugin", "from pinned_requests.cli import main", "pinned_requests.cli.main"),
    ],
)
def test_an_upward_import_is_found(module: str, source: str, refused: str) -> None:
    """The checker reports what must not be imported."""
    name = PACKAGE if module == "__init__" else f"{PACKAGE}.{module}"
    assert violations(source, name, is_package=module == "__init__") == [Violation(name, refused)]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("core.policy", "import re\nfrom pinned_requests.core.pin import Pin\nfrom . import host"),
        ("core.spki", "def f():\n    from cryptography import x509"),
        ("core.spki", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from cryptography import x509"),
        ("core.host", "def f():\n    import idna"),
        ("exceptions", "import requests\nfrom .core.pin import Pin"),
        ("transport.adapter", "import urllib3\nfrom ..exceptions import PinningError\nfrom .chain import chain"),
        ("formats.okhttp", "from pinned_requests.core.policy import PinPolicy"),
        ("testing.plugin", "import pytest\nfrom pinned_requests import PinnedSession"),
        ("__main__", "from pinned_requests.cli import main"),
    ],
)
def test_a_downward_import_passes(module: str, source: str) -> None:
    """The checker lets pass what the order allows."""
    assert violations(source, f"{PACKAGE}.{module}", is_package=False) == []


def violations(source: str, module: str, *, is_package: bool) -> list[Violation]:
    """Every import in `source` that the order of the rooms forbids."""
    return [
        Violation(module, each.name)
        for each in imports(source, module, is_package=is_package)
        if not allowed(module, each)
    ]


def allowed(module: str, imported: Import) -> bool:
    """Whether `module` may have this import."""
    own = room(module)
    top = imported.name.partition(".")[0]
    if top == PACKAGE:
        other = room(imported.name)
        if other not in ROOMS:  # a name of the package itself, such as PinnedSession
            other = FACADE
        return other in NARROW.get(own, ROOMS[: ROOMS.index(own) + 1])
    if own != "core":
        return True
    if imported.lazy and top in LAZY_IN_CORE.get(module, ()):
        return True
    return top in sys.stdlib_module_names and top not in FORBIDDEN_IN_CORE


def room(module: str) -> str:
    """The room in which a module of the package stands."""
    return ROOM_OF_MODULE.get(module) or [*module.split("."), FACADE][1]


def imports(source: str, module: str, *, is_package: bool) -> Iterator[Import]:
    """Every import in `source`, wherever it stands, with relative names resolved."""
    tree = ast.parse(source)
    lazy_nodes = {
        id(below)
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or is_type_checking(node)
        for below in ast.walk(node)
    }
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(tree):
        lazy = id(node) in lazy_nodes
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, lazy)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = [*base, *filter(None, [node.module])]
            for alias in node.names:
                yield Import(".".join([*base, alias.name]), lazy)


def is_type_checking(node: ast.AST) -> bool:
    """Whether this is ``if TYPE_CHECKING:``."""
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
