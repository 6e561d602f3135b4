"""The picture in docs/explanation/performance.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.scenarios import Scenario

DRAWN = ("new connection on a session", "fresh session and one request", "request on a kept-alive connection")


def draw(scenarios: Sequence[Scenario], machine: str, path: Path) -> None:
    """Draw the scenarios on the wire against the first server, as ratios to requests, into a PNG or SVG file."""
    mpl.use("agg")
    found = [next(s for s in scenarios if s.name.startswith(name)) for name in DRAWN]
    figure, axes = plt.subplots(1, len(found), figsize=(13, 4.2), sharey=True)
    for axis, scenario in zip(axes, found, strict=True):
        names = list(scenario.figures)[::-1]
        ratios = [scenario.figures[name].ratio for name in names]
        colors = ["tab:green" if name == "pinned_requests" else "lightgray" for name in names]
        bars = axis.barh(names, ratios, color=colors)
        axis.bar_label(bars, [f"{ratio:.2f}" for ratio in ratios], padding=3)
        axis.set_title(scenario.name, fontsize=10)
        axis.set_xlim(0, max(ratios) * 1.2)
        axis.set_xlabel("time, requests = 1")
    figure.suptitle(machine, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
