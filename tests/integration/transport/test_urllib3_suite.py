"""urllib3's own tests of its managers pass on pinned managers as well, where the policy pins none of their hosts.

The tests are in urllib3's sdist, and need servers that this project does not use: both come by pip, into an environment
that is removed afterwards.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree as ET

import pytest

import pinned_requests

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

VERSION = version("urllib3")
PLUGINS = Path(__file__).parent / "urllib3_suite"
TESTS = (
    "test/test_poolmanager.py",
    "test/test_proxymanager.py",
    "test/with_dummyserver/test_poolmanager.py",
    "test/with_dummyserver/test_proxy_poolmanager.py",
    "test/with_dummyserver/test_socketlevel.py",
    "test/contrib/test_socks.py",
)
# The group `test` of urllib3's pyproject.toml with trustme, and what builds the metadata of the sdist.
REQUIREMENTS = (
    *("anyio[trio]>=4.8", "h2>=4.1", "httpx>=0.28.1", "hypercorn>=0.15", "idna>=3.10", "pysocks>=1.7.1"),
    *("pytest>=8.3.4", "pytest-socket>=0.7", "pytest-timeout>=2.3.1", "quart>=0.20", "quart-trio>=0.12", "trio>=0.27"),
    *("trustme>=1.2.1", "hatchling>=1.27,<2", "hatch-vcs>=0.4,<0.6", "setuptools-scm>=8,<11"),
)


class Suite(NamedTuple):
    """urllib3's test-suite, and an environment in which it runs."""

    folder: Path
    python: Path

    def start(self, name: str, variables: dict[str, str]) -> subprocess.Popen[str]:
        """Start a run, which writes `name`.xml."""
        package = Path(pinned_requests.__file__).parents[1]
        command = [
            *(str(self.python), "-m", "pytest", "-q", "-p", "urllib3_managers", "-p", "no:cacheprovider"),
            *("-m", "not requires_network", "--tb=short", f"--junitxml={name}.xml", *TESTS),
        ]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(package), str(PLUGINS)])} | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


class Results(NamedTuple):
    """What a run of the suite gave."""

    passed: set[str]
    pinned_managers: int

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read pytest's report."""
        suite = ET.parse(path).getroot()  # noqa: S314  our own pytest wrote it
        passed = {f"{case.get('classname')}::{case.get('name')}" for case in suite.iter("testcase") if not len(case)}
        managers = (p.get("value", "") for p in suite.iter("property") if p.get("name") == "pinned_managers")
        return cls(passed, int(next(managers)))


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """Unpack the sdist of the installed urllib3."""
    folder = tmp_path_factory.mktemp("urllib3")
    wanted = f"urllib3=={VERSION}"
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = (python, "-m", "pip", "--disable-pip-version-check", "-q")
    _run([*pip, "install", "--no-compile", wanted, "requests", "cryptography", *REQUIREMENTS])
    _run(
        [
            *(*pip, "download", "--no-binary", "urllib3", "--no-deps", "--no-build-isolation"),
            *("--dest", folder, wanted),
        ]
    )
    with tarfile.open(next(folder.glob("urllib3-*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    return Suite(folder / f"urllib3-{VERSION}", python)


def _run(command: list[str | Path]) -> None:
    """Run pip, or skip where it gets nothing."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pip cannot get urllib3's test-suite: {done.stderr.strip().splitlines()[-1:]}")


# It asserts that a connection out of `_new_conn()` is of urllib3's own class. Pools of ours give out pinned ones alone
# (tests/attacks/test_outer_ways.py).
COMPARES_CLASSES = ["test.with_dummyserver.test_proxy_poolmanager.TestHTTPProxyManager::test_proxy_verified"]


def test_pinned_managers_pass_what_plain_ones_pass(suite: Suite) -> None:
    """Every test that passes with urllib3's managers passes with pinned ones, but one that compares a private class."""
    plain = suite.start("plain", {})
    pinned = suite.start("pinned", {"PINNED_MANAGERS": "1"})
    outputs = [run.communicate()[0] for run in (plain, pinned)]
    expected = Results.read(suite.folder / "plain.xml")
    seen = Results.read(suite.folder / "pinned.xml")

    assert _only_in(expected.passed, seen.passed) == COMPARES_CLASSES, outputs[1][-20_000:]
    assert len(expected.passed) > 300, outputs[0][-20_000:]
    assert expected.pinned_managers == 0
    assert seen.pinned_managers > 150


def _only_in(some: Iterable[str], others: set[str]) -> list[str]:
    return sorted(set(some) - others)
