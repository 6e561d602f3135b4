"""The results of one client against every attacker."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pinned_requests.core.text import escape
from pinned_requests.testing.lab.attack import excerpt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pinned_requests.testing.lab.attack import Attack
    from pinned_requests.testing.lab.attackers import AttackerName
    from pinned_requests.testing.lab.verdict import Verdict

_SHOWN = 60  # characters of an error in the table
_REASON_SHOWN = 120  # characters of a reason


@dataclass(frozen=True)
class AuditResult:
    """How a client fared against one attacker."""

    host: str
    attacker: AttackerName
    verdict: Verdict
    """``"rejected"``, ``"accepted"``, ``"untested"``, or ``"undecided"``: see `Attack.verdict`."""
    connections: int
    handshakes: int
    application_bytes: int
    received: str
    """The first 200 bytes that the attacker got, escaped."""
    error: str
    """What the client raised, in one line; empty if it raised nothing."""
    reason: str = ""
    """Why the verdict is what it is, in one sentence: `Attack.reason`."""
    advice: str = ""
    """What to do about a verdict of ``"untested"`` or ``"undecided"``: `Attack.advice`."""
    failed_handshakes: tuple[str, ...] = ()
    """Which alerts clients sent, and what else ended handshakes: `Attack.failed_handshakes`."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by their names, fit for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Audit:
    """How a client fared against each attacker. ``str()`` of it is a table."""

    results: tuple[AuditResult, ...]

    def __iter__(self) -> Iterator[AuditResult]:
        return iter(self.results)

    def __getitem__(self, attacker: AttackerName) -> AuditResult:
        """Return the result against one attacker.

        Raises:
            KeyError: it was not among them.
        """
        for result in self.results:
            if result.attacker == attacker:
                return result
        raise KeyError(attacker)

    @property
    def rejected(self) -> bool:
        """Whether the client met every attacker, and gave none of them a byte."""
        return bool(self.results) and all(result.verdict == "rejected" for result in self.results)

    def assert_rejected(self) -> None:
        """Demand that the client met every attacker, and gave none of them a byte.

        Raises:
            AssertionError: it did not; the table says where.
        """
        __tracebackhide__ = True  # pytest shows the line of the caller
        if not self.rejected:
            failed = [result.attacker for result in self.results if result.verdict != "rejected"]
            if not failed:
                raise AssertionError("The audit has no result, so it proves nothing.")
            advice = dict.fromkeys(result.advice for result in self.results if result.advice)
            raise AssertionError("\n".join([f"Not rejected: {', '.join(failed)}.", *advice, str(self)]))

    def __str__(self) -> str:
        rows = [("attacker", "verdict", "connections", "handshakes", "bytes", "the client raised", "what happened")]
        for each in self.results:
            counts = (str(each.connections), str(each.handshakes), str(each.application_bytes))
            texts = escape(each.error, _SHOWN) or "nothing", escape(each.reason, _REASON_SHOWN)
            rows.append((each.attacker, each.verdict, *counts, *texts))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join(lines)


def run(call: Callable[[], object], attack: Attack) -> AuditResult:
    """Run a client against one attacker.

    Args:
        call: makes a request to the host. An `Exception` or `SystemExit` is a result.
        attack: the attacker, not yet begun.

    Raises:
        TypeError: *call* returned a coroutine, which would not run.
    """
    with attack:
        error = _outcome(call)
        if attack.needs_another_call:
            error = _outcome(call)
    return result_of(attack, error)


def result_of(attack: Attack, error: str = "") -> AuditResult:
    """Return how clients have fared against an attacker by now; `error` is what the client raised, in one line."""
    return AuditResult(
        attack.host,
        attack.attacker,
        attack.verdict,
        attack.connections,
        attack.handshakes,
        attack.application_bytes,
        excerpt(attack.received),
        error,
        attack.reason,
        attack.advice,
        attack.failed_handshakes,
    )


def _outcome(call: Callable[[], object]) -> str:
    """Return what a client raised, in one line; empty if it raised nothing."""
    try:
        answer = call()
    except (Exception, SystemExit) as raised:  # noqa: BLE001 - what a client does with an attacker is a result
        return escape(f"{type(raised).__name__}: {raised}")
    if hasattr(answer, "__await__"):
        if hasattr(answer, "close"):
            answer.close()  # or Python would warn that it was never awaited
        raise TypeError("the client to audit is a coroutine; wrap it: audit(lambda: asyncio.run(client()))")
    return ""
