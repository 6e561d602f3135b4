"""docs/scoreboard.md is what `python -m benchmarks scoreboard` prints."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pinned_requests.testing import ATTACKERS

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "scoreboard.md").read_text("utf-8")


@pytest.fixture
def scoreboard(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program, which is not installed."""
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("benchmarks.scoreboard")


def tables(text: str) -> dict[str, dict[str, str]]:
    """The cells of all tables of a page: by client, and then by attacker."""
    found: dict[str, dict[str, str]] = {}
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        head, _, *rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()]
        for column, client in enumerate(head[1:], 1):
            found[client] = {row[0].strip("`"): row[column] for row in rows}
    return found


def without_the_rest(text: str) -> list[str]:
    """The headings and paragraphs of a page, without its tables, date and versions."""
    return re.sub(r"(?:^\|.*\n)+|^Made on .*\n|^## With.*\n", "", text, flags=re.MULTILINE).split()


def test_the_page_is_what_the_command_prints(scoreboard: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """For two clients and four attackers: the same words, columns, rows and verdicts."""
    chosen, clients = ["trusted-ca", "self-signed", "downgrade", "own-ca-revoked-key"], ["requests", "`PinnedSession`"]
    options = [f"--client={each}" for each in clients] + [f"--attacker={each}" for each in chosen]
    scoreboard.main(options)
    printed = capsys.readouterr().out
    committed = tables(PAGE)
    assert without_the_rest(printed) == without_the_rest(PAGE)
    assert tables(printed) == {
        client: {
            **{each: committed[client][each] for each in chosen},
            "rejected": f"{sum(committed[client][each] == 'rejected' for each in chosen)} of {len(chosen)}",
        }
        for client in clients
    }


def test_the_page_is_whole(scoreboard: ModuleType) -> None:
    """Every client and every attacker is in it, nothing is open, and what is promised of the pinned ones holds."""
    found = tables(PAGE)
    assert list(found) == list(scoreboard.CLIENTS)
    for client, of_client in found.items():
        assert tuple(of_client) == (*ATTACKERS, "rejected")
        verdicts = list(of_client.values())[:-1]
        assert set(verdicts) <= {"rejected", "**accepted**"}, client
        assert of_client["rejected"] == f"{verdicts.count('rejected')} of {len(ATTACKERS)}"
    assert found["`PinnedSession`"]["rejected"] == found["`PinnedPoolManager`"]["rejected"] == "20 of 20"


def test_a_client_that_refuses_the_host_is_not_judged(scoreboard: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that never sends a request would reject every attacker."""
    client = scoreboard.CLIENTS["requests"]
    idle = type(client)(client.group, lambda _lab: lambda _place: None)
    monkeypatch.setitem(scoreboard.CLIENTS, "requests", idle)
    with pytest.raises(RuntimeError, match="sent no request"):
        scoreboard.audit("requests", ["trusted-ca"])
