"""Sinks for violation reports: `PinnedSession(pins, on_violation=HTTPReporter("https://reports.example.net"))`.

A sink is a callable that takes a `ViolationReport`; it runs in the thread of the request. Code that delivers reports
belongs here. Code that decides whether there is a violation, or which sinks are called, does not.
"""

from pinned_requests.reporting.http import HTTPReporter
from pinned_requests.reporting.jsonlines import JSONLinesReporter

__all__ = ["HTTPReporter", "JSONLinesReporter"]
