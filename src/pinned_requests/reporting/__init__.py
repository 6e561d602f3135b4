"""Where reports of violations can go: `PinnedSession(pins, on_violation=HTTPReporter("https://reports.example.net"))`.

A sink is called with a `ViolationReport`, in the thread of the request; any callable will do.
"""

from pinned_requests.reporting.http import HTTPReporter
from pinned_requests.reporting.jsonlines import JSONLinesReporter

__all__ = ["HTTPReporter", "JSONLinesReporter"]
