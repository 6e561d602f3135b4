"""The pytest plugin of pinned_requests: the fixture `mitm_lab`, and ``--mitm-report``.

Rules for the next maintainer:

- pytest imports it in every run. So it stands beside the package, whose modules import requests, and imports nothing
  that pytest has not imported already. The lab is imported by the fixture.
- Under pytest-xdist the fixture lives in a worker and the report is written by the controller. Results travel as
  properties of the test, which pytest hands over by itself and writes into ``--junitxml`` as well.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pinned_requests.testing import MITMLab

_OPTION = "mitm_report"
_PROPERTY = "mitm_lab:"  # then the host and the attacker


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    group = parser.getgroup("mitm_lab", "attacks on clients (pinned_requests)")
    group.addoption(
        "--mitm-report",
        dest=_OPTION,
        metavar="FILE",
        help="write the results of mitm_lab.audit() to FILE: a web page if it ends in .html, else JSON;"
        " and as properties of the tests to --junitxml",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin the report, unless this only collects tests, or is one worker among several.

    Raises:
        pytest.UsageError: the file cannot be written; before the run, not after it.
    """
    if config.getoption(_OPTION) and not config.option.collectonly and not hasattr(config, "workerinput"):
        path = Path(config.invocation_params.dir, config.getoption(_OPTION))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.open("ab").close()
        except OSError as error:
            raise pytest.UsageError(f"--mitm-report: {path} cannot be written: {error}") from None
        config.pluginmanager.register(_Report(path), "mitm_lab_report")


@pytest.fixture
def mitm_lab(request: pytest.FixtureRequest) -> Iterator[MITMLab]:
    """Attackers and honest servers in the place of real hosts: a `pinned_requests.testing.MITMLab`."""
    from pinned_requests.testing import MITMLab  # noqa: PLC0415 - see the rules above

    with MITMLab() as lab:
        yield lab
    if request.config.getoption(_OPTION):
        properties = request.node.user_properties
        # Those of an earlier run of the same test, which pytest-rerunfailures repeats, do not count.
        properties[:] = [each for each in properties if not each[0].startswith(_PROPERTY)]
        for result in (result for audit in lab.audits for result in audit):
            name = f"{_PROPERTY}{result.host}:{result.attacker}"
            properties.append((name, json.dumps(result.as_dict())))


class _Report:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._results: dict[str, list[dict[str, Any]]] = {}  # by test: the last run of one counts

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect what a test has found."""
        if report.when == "teardown":
            self._results[report.nodeid] = [
                {"test": report.nodeid, **json.loads(str(value))}
                for name, value in report.user_properties
                if name.startswith(_PROPERTY)
            ]

    def pytest_sessionfinish(self) -> None:
        """Write the file."""
        results = [result for of_test in self._results.values() for result in of_test]
        is_page = self._path.suffix.lower() in {".html", ".htm"}
        text = _page(results) if is_page else json.dumps({"results": results}, indent=2) + "\n"
        self._path.write_text(text, "utf-8")


def _page(results: list[dict[str, Any]]) -> str:
    """Return the results as a web page, on which each test is a client."""
    from pinned_requests.testing import AuditResult  # noqa: PLC0415 - see the rules above
    from pinned_requests.testing.lab.page import as_page  # noqa: PLC0415

    rows = []
    for result in sorted(results, key=lambda each: str(each["test"])):  # xdist reports in another order each time
        fields = {**result, "failed_handshakes": tuple(result["failed_handshakes"])}
        rows.append((fields.pop("test"), AuditResult(**fields)))
    return as_page(rows)
