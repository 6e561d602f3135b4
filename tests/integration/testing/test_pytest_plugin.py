"""The pytest plugin, in runs of its own: the fixture, the report, and what it costs a run that does not use it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from pinned_requests.testing import ATTACKERS

pytestmark = pytest.mark.slow

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "testing.md"

TESTS = """
import pytest, requests, unittest
from pinned_requests import PinnedSession
from pinned_requests.testing import MITMLab

def get(): requests.get("https://api.example.com/", timeout=1)

def test_plain(mitm_lab):
    mitm_lab.audit(get, "api.example.com", attackers=["trusted-ca", "expired"])

def test_fooled(mitm_lab):
    with mitm_lab.impersonate("api.example.com") as attack:
        get()
    attack.assert_rejected()

def test_pinned(mitm_lab):
    with mitm_lab.honest("b.example") as server, PinnedSession({"b.example": [*server.pins, *server.backup_pins]}) as s:
        mitm_lab.audit(lambda: s.get("https://b.example/"), attackers=["trusted-ca"]).assert_rejected()

class OfUnittest(unittest.TestCase):
    def test(self):
        with MITMLab() as lab, lab.impersonate("api.example.com") as attack:
            get()
        self.assertRaises(AssertionError, attack.assert_rejected)
"""

# The client of the examples in the documentation.
MY_CLIENT = """
from pinned_requests import PinnedSession

class MyClient:
    def __init__(self, pins=["sha256/" + letter * 42 + "A=" for letter in "AB"]):
        self.pins = pins

    def list_things(self):
        with PinnedSession({"api.example.com": self.pins}) as session:
            return session.get("https://api.example.com/things", timeout=1)
"""

# What a run has imported, written at its end.
CONFTEST = """
import pathlib, sys
def pytest_sessionfinish():
    pathlib.Path("modules").write_text(" ".join(sys.modules))
"""


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a folder, which does not belong to this project's tests."""
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    # pytest-asyncio warns in every run in which it is not set up, and warnings are errors here.
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:asyncio", *arguments]
    return subprocess.run(
        command, cwd=folder, env={**variables, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


def alone(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The same without the plugins of others."""
    return run(folder, *arguments, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")


@pytest.fixture(scope="module", params=["0", "2"], ids=["one process", "xdist"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the tests above, with a report, and return the folder."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "test_client.py").write_text(TESTS)
    done = run(folder, "-n", request.param, "--mitm-report=out.json", "--junitxml=out.xml", "-rf")
    assert "1 failed, 3 passed" in done.stdout, done.stdout + done.stderr
    assert "AssertionError: The attacker 'trusted-ca' in the place of api.example.com got" in done.stdout
    return folder


def test_the_plugin_is_installed() -> None:
    """Pytest finds it by its entry point."""
    found = {each.value for each in entry_points(group="pytest11") if each.name == "pinned_requests"}
    assert found == {"pytest_pinned_requests"}


def test_the_report(report: Path) -> None:
    """Each result of each audit is in the JSON file, with its test."""
    results: list[dict[str, Any]] = json.loads((report / "out.json").read_text("utf-8"))["results"]
    rows = sorted((row["test"], row["host"], row["attacker"], row["verdict"], row["connections"]) for row in results)
    assert rows == [
        ("test_client.py::test_pinned", "b.example", "trusted-ca", "rejected", 1),
        ("test_client.py::test_plain", "api.example.com", "expired", "rejected", 1),
        ("test_client.py::test_plain", "api.example.com", "trusted-ca", "accepted", 1),
    ]


def test_the_properties(report: Path) -> None:
    """The same results stand in the JUnit file, as properties of the tests."""
    tree = ET.parse(report / "out.xml")  # noqa: S314 - written by pytest just now
    found = {each.attrib["name"]: json.loads(each.attrib["value"])["verdict"] for each in tree.iter("property")}
    assert found == {
        "mitm_lab:api.example.com:expired": "rejected",
        "mitm_lab:api.example.com:trusted-ca": "accepted",
        "mitm_lab:b.example:trusted-ca": "rejected",
    }


def test_the_documentation(tmp_path: Path) -> None:
    """Its examples pass, and its table holds each attacker."""
    text = DOCUMENTATION.read_text("utf-8")
    examples = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (tmp_path / "test_examples.py").write_text("\n".join([MY_CLIENT, *examples]))
    done = run(tmp_path, "-n", "0")
    assert f"{len(examples)} passed" in done.stdout, done.stdout + done.stderr
    table = text.partition("\n| attacker |")[2].partition("\n\n")[0]
    assert tuple(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)) == ATTACKERS


def test_no_report_unless_it_is_wanted(tmp_path: Path) -> None:
    """Without the option nothing is written, and no test has properties."""
    (tmp_path / "test_client.py").write_text(TESTS)
    run(tmp_path, "-n", "0", "--junitxml=out.xml", "-k", "plain")
    assert "<property " not in (tmp_path / "out.xml").read_text("utf-8")
    assert {path.name for path in tmp_path.iterdir()} <= {"test_client.py", "pytest.ini", "out.xml", "__pycache__"}


def test_where_the_report_is_written(tmp_path: Path) -> None:
    """Folders are made; what cannot be written is said before the run; a run of no test leaves a report alone."""
    (tmp_path / "test_client.py").write_text("def test(mitm_lab): print('it ran')")
    assert run(tmp_path, "-n", "0", "--collect-only", "--mitm-report=new/folder/out.json").returncode == 0
    assert not (tmp_path / "new").exists()
    assert run(tmp_path, "-n", "0", "--mitm-report=new/folder/out.json").returncode == 0
    assert json.loads((tmp_path / "new/folder/out.json").read_text("utf-8")) == {"results": []}
    for wrong in ("new", "test_client.py/out.json"):
        done = run(tmp_path, "-n", "0", "-s", f"--mitm-report={wrong}")
        assert done.returncode == pytest.ExitCode.USAGE_ERROR
        assert "--mitm-report: " in done.stderr
        assert "it ran" not in done.stdout


RERUN = """
import pathlib, requests

def test(mitm_lab):
    mitm_lab.audit(lambda: requests.get("https://api.example.com/", timeout=1), "api.example.com", attackers="expired")
    count = pathlib.Path("count")
    count.write_text(count.read_text() + "x" if count.exists() else "x")
    assert count.read_text() == "xxx"
"""


def test_a_test_that_is_run_again_counts_once(tmp_path: Path) -> None:
    """Its last run is in the report, with pytest-rerunfailures."""
    (tmp_path / "test_client.py").write_text(RERUN)
    done = run(tmp_path, "-n", "0", "--reruns=2", "--mitm-report=out.json")
    assert "1 passed, 2 rerun" in done.stdout, done.stdout + done.stderr
    (result,) = json.loads((tmp_path / "out.json").read_text("utf-8"))["results"]
    assert (result["verdict"], result["test"]) == ("rejected", "test_client.py::test")
    assert "certificate has expired" in result["reason"]


ASYNCHRONOUS = """
import httpx, pytest, unittest
from pinned_requests import PinnedSSLContext
from pinned_requests.testing import MITMLab

async def check(lab):
    server = lab.honest("api.example.com")
    context = PinnedSSLContext({"api.example.com": [*server.pins, *server.backup_pins]})
    for verify, verdict in ((context, "rejected"), (True, "accepted")):
        with lab.impersonate("api.example.com") as attack:
            async with httpx.AsyncClient(verify=verify) as client:
                try:
                    await client.get("https://api.example.com/")
                except httpx.ConnectError:
                    pass
        assert attack.verdict == verdict, attack.reason
    with server:
        async with httpx.AsyncClient(verify=context) as client:
            assert (await client.get("https://api.example.com/")).is_success

@pytest.mark.asyncio
async def test_with_pytest_asyncio(mitm_lab):
    await check(mitm_lab)

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
async def test_with_anyio(mitm_lab):
    await check(mitm_lab)

class WithUnittest(unittest.IsolatedAsyncioTestCase):
    async def test(self):
        with MITMLab() as lab:
            await check(lab)
"""


def test_asynchronous_tests(tmp_path: Path) -> None:
    """The lab works in the tests of pytest-asyncio, anyio and unittest."""
    (tmp_path / "test_client.py").write_text(ASYNCHRONOUS)
    settings = ("-o", "asyncio_default_fixture_loop_scope=function")
    done = run(tmp_path, "-n", "0", "-p", "asyncio", *settings)
    assert "3 passed" in done.stdout, done.stdout + done.stderr


HANGING = """
import pathlib, requests

def test(mitm_lab):
    with mitm_lab.impersonate("api.example.com", as_="hang"):
        pathlib.Path("begun").touch()
        requests.get("https://api.example.com/")
"""


def test_an_interrupt(tmp_path: Path) -> None:
    """Ctrl-C ends a test whose client waits for ever, within five seconds."""
    (tmp_path / "test_client.py").write_text(HANGING)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "pytest_pinned_requests"]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # Hypothesis' takes seconds at the end
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 60
            while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            time.sleep(0.3)  # until it waits
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=5)
        finally:
            process.kill()
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert "KeyboardInterrupt" in output


def test_a_run_that_does_not_use_it_imports_nothing(tmp_path: Path) -> None:
    """The plugin adds itself, and no other module, to a run."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    modules = []
    for plugin in (["-p", "pytest_pinned_requests"], []):
        alone(tmp_path, "--collect-only", *plugin)
        modules.append(set((tmp_path / "modules").read_text().split()))
    assert modules[0] - modules[1] == {"pytest_pinned_requests"}


def test_a_run_that_does_not_use_it_takes_no_longer() -> None:
    """All that it adds is its import, which takes less than 20 ms of CPU time behind pytest's: some 1 ms."""
    program = (
        "import pytest, time; begin = time.process_time(); import pytest_pinned_requests;"
        " print(time.process_time() - begin)"
    )
    took = [float(subprocess.check_output([sys.executable, "-c", program])) for _ in range(3)]
    assert min(took) < 0.02
