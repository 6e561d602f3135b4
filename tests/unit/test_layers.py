"""Imports point downward only, and no two modules import each other.

The rooms, from bottom to top, are those of `ROOMS` (DESIGN.md §1). A module imports from its own room and from rooms
below; imports under ``if TYPE_CHECKING:`` and in functions count. A room that is missing in `ROOMS` fails the test.
Within a room modules may import each other in any order, as long as no chain of imports leads back to its beginning.
"""

from __future__ import annotations

import ast
import re
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

ROOMS = (
    "core",
    "html_page",
    "exceptions",
    "policy_store",
    "reporting",
    "enforcement",
    "ssl_chain",
    "tls",
    "transport",
    "sources",
    "publishing",
    "monitoring",
    "editing",
    "formats",
    FACADE,
    "testing",
    "cli",
)

# `python -m pinned_requests` is the command line.
ROOM_OF_MODULE = {f"{PACKAGE}.__main__": "cli"}

# The one upward import. `PolicyStore.from_file` and its siblings make a store that follows a source, and `PolicyStore`
# is the class that users know: a subclass in `sources` or an injected factory would only hide the same dependency.
# It is lazy, so that a fixed policy imports no source.
LAZY_UPWARD = {
    f"{PACKAGE}.policy_store": {
        f"{PACKAGE}.sources.loaders",
        f"{PACKAGE}.sources.refresher",
        f"{PACKAGE}.sources.tuf.client",
    }
}

# Rooms that may import less than what lies below them.
NARROW = {"formats": {"core", "formats"}, "reporting": {"core", "exceptions", "reporting"}}

# No input or output in core; importlib would hide an import from this test.
FORBIDDEN_IN_CORE = {"importlib", "logging", "requests", "socket", "ssl", "urllib3"}

# Imported when first used, so that `import pinned_requests` stays cheap.
LAZY_IN_CORE = {
    f"{PACKAGE}.core.keys": {"cryptography"},
    f"{PACKAGE}.core.host": {"idna"},
    f"{PACKAGE}.core.policy_text": {"rtoml", "tomllib"},
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
    """Every room has a place in the order."""
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
        ("core.keys", "from cryptography import x509", "cryptography.x509"),
        ("core.keys", "if True:\n    import cryptography", "cryptography"),
        ("core.host", "import idna", "idna"),
        ("exceptions", "from .policy_store import PolicyStore", "pinned_requests.policy_store.PolicyStore"),
        (
            "policy_store",
            "from pinned_requests.sources.loaders import Loader",
            "pinned_requests.sources.loaders.Loader",
        ),
        (
            "policy_store",
            "def f():\n    from pinned_requests.sources.tuf import errors",
            "pinned_requests.sources.tuf.errors",
        ),
        (
            "exceptions",
            "def f():\n    from pinned_requests.sources.loaders import Loader",
            "pinned_requests.sources.loaders.Loader",
        ),
        ("transport.guard", "def f():\n    from ..sources import loaders", "pinned_requests.sources.loaders"),
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
        ("core.keys", "def f():\n    from cryptography import x509"),
        ("core.keys", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from cryptography import x509"),
        ("core.host", "def f():\n    import idna"),
        ("exceptions", "import requests\nfrom .core.pin import Pin"),
        ("policy_store", "def f():\n    from pinned_requests.sources.loaders import Loader"),
        ("transport.guard", "from pinned_requests.policy_store import PolicyStore"),
        ("transport.adapter", "import urllib3\nfrom ..exceptions import PinningError\nfrom .chain import chain"),
        ("formats.okhttp", "from pinned_requests.core.policy import PinPolicy"),
        ("testing.plugin", "import pytest\nfrom pinned_requests import PinnedSession"),
        ("__main__", "from pinned_requests.cli import main"),
    ],
)
def test_a_downward_import_passes(module: str, source: str) -> None:
    """The checker lets pass what the order allows."""
    assert violations(source, f"{PACKAGE}.{module}", is_package=False) == []


def test_no_import_leads_back() -> None:
    """No module of the package imports itself through others."""
    files = {
        module: Module(path.read_text("utf-8"), is_package=path.name == "__init__.py")
        for module, path in MODULES.items()
    }
    assert circles(files) == []


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        ({"a": "from pinned_requests.b import x", "b": "from pinned_requests.a import y"}, [{"a", "b"}]),
        ({"a": "import pinned_requests.b", "b": "from . import a"}, [{"a", "b"}]),
        ({"a": "from .b import x", "b": "from .c import y", "c": "from .a import z"}, [{"a", "b", "c"}]),
        ({"a": "from .b import x", "b": "def f():\n    from .a import y"}, [{"a", "b"}]),
        (
            {"a": "from .b import x", "b": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .a import y"},
            [{"a", "b"}],
        ),
        (
            {"a": "from .b import x", "b": "from .a import y", "c": "from .d import x", "d": "from . import c"},
            [{"a", "b"}, {"c", "d"}],
        ),
        ({"p.__init__": "from .a import x", "p.a": "from pinned_requests.p import y"}, [{"p", "p.a"}]),
    ],
)
def test_a_circle_is_found(sources: dict[str, str], found: list[set[str]]) -> None:
    """Whether it has two modules or more, and also where an import is lazy or for types alone."""
    assert circles(made(sources)) == [{f"{PACKAGE}.{name}" for name in circle} for circle in found]


@pytest.mark.parametrize(
    "sources",
    [
        {"a": "from .b import x\nfrom .c import y", "b": "from .c import y", "c": "import os"},
        {"p.__init__": "from .a import x", "p.a": "from .b import y", "p.b": "import os"},
        {"p.__init__": "from .a import x", "p.a": "from . import b", "p.b": "import os"},
        {"p.__init__": "from pinned_requests.p.a import x", "p.a": "from pinned_requests.a import x", "a": "import os"},
    ],
)
def test_imports_without_a_circle_pass(sources: dict[str, str]) -> None:
    """A module may import a sibling of its package: the package itself is not meant."""
    assert circles(made(sources)) == []


# The end of a sentence, not the full stop in a name such as `bounds.py`.
SENTENCE = re.compile(r"[.!?](?=\s|$)")


@pytest.mark.parametrize("module", [name for name, path in MODULES.items() if path.name == "__init__.py"])
def test_every_package_says_what_belongs_there(module: str) -> None:
    """In two sentences at least: what the folder is for, and what does not belong in it."""
    docstring = ast.get_docstring(ast.parse(MODULES[module].read_text("utf-8"))) or ""
    assert len(SENTENCE.findall(docstring)) >= 2


class Module(NamedTuple):
    """The text of one module."""

    source: str
    is_package: bool


def made(sources: dict[str, str]) -> dict[str, Module]:
    """Modules of the package with these texts; ``p.__init__`` is the package ``p``."""
    return {
        f"{PACKAGE}.{name.removesuffix('.__init__')}": Module(source, is_package=name.endswith("__init__"))
        for name, source in sources.items()
    }


def circles(files: dict[str, Module]) -> list[set[str]]:
    """The largest sets of modules that import each other, directly or through others."""
    below = {
        module: {
            target
            for each in imports(file.source, module, is_package=file.is_package)
            for target in [module_of(each.name, files)]
            if target is not None
        }
        for module, file in files.items()
    }
    reached = {module: reachable(module, below) for module in files}
    found: list[set[str]] = []
    for module in files:
        circle = {other for other in reached[module] if module in reached[other]}
        if circle and circle not in found:
            found.append(circle)
    return found


def module_of(name: str, files: dict[str, Module]) -> str | None:
    """The module that an imported name is, or is in; None for one that is not among `files`."""
    return next((each for each in (name, name.rpartition(".")[0]) if each in files), None)


def reachable(module: str, below: dict[str, set[str]]) -> set[str]:
    """What `module` imports, and what that imports, and so on."""
    found: set[str] = set()
    left = [module]
    while left:
        new = below[left.pop()] - found
        found |= new
        left += new
    return found


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
        if imported.lazy and imported.name.rpartition(".")[0] in LAZY_UPWARD.get(module, ()):
            return True
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
