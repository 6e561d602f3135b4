"""The pictures in `docs/fleet.md`."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib import pyplot as plt

from benchmarks.fleet import LOOK

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.fleet import Outcome, Scenario

POINTS = 240  # of a line: the file stays small
MINUTE = 60.0  # seconds


def draw(scenario: Scenario, interval: float, found: Mapping[int, Outcome], path: Path) -> None:
    """Draw files a second at the repository, and the share of clients with the new policy, over time."""
    mpl.use("agg")
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "fleet"}
    figure, axes = plt.subplots(1, len(found), figsize=(10, 3.2), squeeze=False)
    for axis, (clients, outcome) in zip(axes[0], found.items(), strict=True):
        step = max(1, len(outcome.requests) // POINTS)
        begins = range(0, len(outcome.requests), step)
        minutes = [second / MINUTE for second in begins]
        peaks = [max(outcome.requests[second : second + step]) for second in begins]
        axis.plot(minutes, peaks, color="tab:blue", linewidth=1)
        axis.axhline(LOOK * clients / interval, color="gray", linewidth=0.8, linestyle="dotted")
        axis.set_title(f"{clients:,} clients", fontsize=9)
        axis.set_xlabel("minutes")
        axis.set_ylabel("files a second (blue)")
        axis.set_ylim(0)
        share = axis.twinx()
        times = [second - scenario.published for second in begins]
        share.plot(
            minutes,
            [100 * bisect_right(outcome.enforced, when) / clients for when in times],
            color="tab:orange",
            linewidth=1,
        )
        share.set_ylabel("% with the new policy (orange)")
        share.set_ylim(0, 103)
    figure.suptitle(f"{scenario.name}; refresh_after={interval:g} s; dotted: the even rate", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
