"""Surveys: many hosts, asked by several threads."""

from __future__ import annotations

import pytest

from pinned_requests.monitoring.route import Route
from pinned_requests.monitoring.sampling import survey
from pinned_requests.monitoring.target import RouteError, Target


def test_an_error_of_a_thread() -> None:
    """It is raised by the survey: a wrong proxy is no finding about a host."""
    targets, route = [Target("localhost", port) for port in (1, 2, 3)], Route(proxy="ftp://proxy.example.com")
    with pytest.raises(RouteError):
        survey(targets, route, number=1, all_addresses=False, jobs=2, on_progress=lambda _done: None)
