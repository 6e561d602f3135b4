"""The examples work, and their tests are worth something: without the pinning they fail.

Each is copied, and its tests are run as its reader would run them, in a process of their own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import pytest

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
MITM_TEST = "test_a_man_in_the_middle_gets_nothing"  # each example has it,
HONEST_TESTS = "is_believed"  # and one whose name ends so
# What a test says to a client that was fooled: that it raised nothing, or what the attacker got.
FOOLED = re.compile(r"DID NOT RAISE|Not rejected: .*trusted-ca|The attacker 'trusted-ca' .* got \d+ bytes")


class Example(NamedTuple):
    """An example, and how to take the pinning out of it."""

    tests: str
    """Their path."""
    folder: str
    """Where pytest is run."""
    source: str
    """The file that pins."""
    unpinned: tuple[tuple[str, str], ...]
    """Lines that pin, and those that stand in their place without."""
    others: tuple[str, ...] = ()
    """Tests, beside `MITM_TEST`, that fail without the pinning."""


APPLICATION = Example(
    "test_application.py",
    ".",
    "application.py",
    (
        ("from pinned_requests import PinnedSession", ""),
        ("    session = PinnedSession(PINS)", "    session = requests.Session()"),
    ),
)
ALL = {
    "application": APPLICATION,
    "appliance": Example(
        "test_appliance.py",
        ".",
        "appliance.py",
        (("    with PinnedSession(pins) as session:", "    with requests.Session() as session:"),),
        ("test_another_hub_gets_nothing",),
    ),
    "service": Example(
        "test_rates.py",
        "service",
        "service/rates.py",
        (("    session = PinnedSession(store)", "    session = requests.Session()"),),
    ),
    "sdk": Example(
        "tests",
        "sdk",
        "sdk/src/acme_things/client.py",
        (
            ("from pinned_requests import PinnedSession", "import requests"),
            ("        self._session = PinnedSession(self.pins)", "        self._session = requests.Session()"),
        ),
        ("test_every_attacker_is_refused", "test_a_stolen_key_is_withdrawn_without_a_release"),
    ),
    "async_sdk": Example(
        "tests",
        "async_sdk",
        "async_sdk/src/acme_async/client.py",
        (("            verify=context,", "            verify=True,"),),
        ("test_every_attacker_is_refused", "test_a_new_policy_holds_on_open_connections"),
    ),
}


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the examples."""
    return shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))


def outcomes(folder: Path, tests: str, *options: str) -> dict[str, str]:
    """Run tests, and return the message of each one's failure by its name; it is empty for those that passed."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [
        sys.executable,
        "-m",
        "pytest",
        tests,
        "-p",
        "no:cacheprovider",
        "-p",
        "no:asyncio",
        "--junitxml=out.xml",
        *options,
    ]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    found: dict[str, str] = {}
    for case in ET.parse(folder / "out.xml").iter("testcase"):  # noqa: S314 - written by pytest just now
        problems = [*case.iter("failure"), *case.iter("error"), *case.iter("skipped")]
        found[case.attrib["name"].partition("[")[0]] = "\n".join(each.attrib["message"] for each in problems)
    return found


@pytest.mark.parametrize("example", ALL.values(), ids=ALL)
def test_an_example(copied: Path, example: Example) -> None:
    """All of its tests pass, those of attacks among them."""
    found = outcomes(copied / example.folder, example.tests)
    assert {name: message for name, message in found.items() if message} == {}
    assert {MITM_TEST, *example.others} < found.keys()


@pytest.mark.parametrize("example", ALL.values(), ids=ALL)
def test_an_example_without_pinning(copied: Path, example: Example) -> None:
    """With a plain session in its place it still talks to the honest server; the tests of attacks fail."""
    path = copied / example.source
    code = path.read_text("utf-8")
    for pinned, plain in example.unpinned:
        assert code.count(f"\n{pinned}\n") == 1
        code = code.replace(f"\n{pinned}\n", f"\n{plain}\n")
    path.write_text(code, "utf-8")
    attacks = {MITM_TEST, *example.others}
    found = outcomes(copied / example.folder, example.tests, "-k", " or ".join([HONEST_TESTS, *attacks]))
    assert {name for name, message in found.items() if message} == attacks
    assert found.keys() - attacks
    assert FOOLED.search(found[MITM_TEST])


def test_the_application_shows_its_whole_change() -> None:
    """What its docstring shows is what has to be taken back to be without pinning."""
    text = (EXAMPLES / APPLICATION.source).read_text("utf-8")
    shown = re.findall(r"^    ([+-])(.*)$", text, re.MULTILINE)
    assert {line for sign, line in shown if sign == "+"} == {pinned for pinned, _ in APPLICATION.unpinned}
    assert {line for sign, line in shown if sign == "-"} == {plain for _, plain in APPLICATION.unpinned if plain}


def test_the_sdk_is_installed_with_its_pins(copied: Path) -> None:
    """Its wheel holds the two files, and passes the tests without the source."""
    folder = copied / "sdk"
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel"], cwd=folder, check=True, timeout=60)
    (wheel,) = (folder / "dist").glob("*.whl")
    shutil.rmtree(folder / "src")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "installed")
        assert any(name.endswith("/py.typed") for name in file.namelist())
    found = outcomes(folder, "tests", "-o", "pythonpath=installed", "-k", MITM_TEST)
    assert found == {MITM_TEST: ""}


def test_the_index_is_complete() -> None:
    """`examples/README.md` names each example, and nothing that is not there."""
    linked = set(re.findall(r"\]\(([^):#]+)\)", (EXAMPLES / "README.md").read_text("utf-8")))
    assert all((EXAMPLES / path).exists() for path in linked)
    assert {example.source.partition("/")[0].removesuffix("/") for example in ALL.values()} <= {
        path.partition("/")[0] for path in linked
    }
