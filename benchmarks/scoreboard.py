"""Run well-known clients against every attacker of the lab, and print docs/scoreboard.md.

`python -m benchmarks scoreboard` prints the page; `--write` writes it where it belongs. Every client first has to get
an answer from the host's own server: a client that refuses everything would look good.
"""

from __future__ import annotations

import argparse
import datetime as dt
import platform
import re
import shutil
import subprocess
import sys
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.scoreboard_clients import CLIENTS, HOST, Lab, Place
from pinned_requests.testing import ATTACKERS, MITMLab
from pinned_requests.testing.lab.audit import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinned_requests.testing import Attack, AuditResult

PAGE = Path(__file__).parents[1] / "docs" / "scoreboard.md"
WAIT = 5.0  # seconds: enough on a busy machine
SHORT_WAIT = 1.0  # seconds for the attacker who never answers
PACKAGES = ("requests", "httpx", "aiohttp", "urllib3", "requests-toolbelt", "pycurl")

INTRODUCTION = """# Scoreboard

What each client does when it meets an attacker. `rejected`: it met the attacker's certificate, and gave away nothing.
**accepted**: the attacker got its request, or took over its connection. [Test your own client](testing.md) says how
this is decided and what the attackers do; [Comparison](explanation/comparison.md) compares the libraries in other
respects.

This command makes the page, on any machine with the development dependencies, curl and Node.js:

```bash
python -m benchmarks scoreboard --write
```
"""

NOTES = """## How to read it

- Every client first got an answer from the host's own server. Those that pin have the pins of its keys;
  `assert_fingerprint`, `FingerprintAdapter` and aiohttp's `Fingerprint` that of its certificate, so that they refuse
  the host itself after each renewal. Those of `pinned_requests` also have the lost keys as `blocked_pins`.
- Without pins, a certificate from a trusted CA is as good as the host's own: `trusted-ca`, for example, is not a fault
  of these clients. It is what pins are for.
- Clients follow redirects where they can. `https.get` of Node.js cannot, and rejects `downgrade`, `trailing-dot` and
  `parser-differential` for that reason. A pin of curl's, or in an `ssl.SSLContext`, does not see `http://`: with those,
  do not follow redirects there (`curl --proto-redir =https`).
- `connect-proxy` is given to curl and pycurl as their proxy; the others find it in the environment. Node.js does not
  look there, and meets the attacker directly.
- curl, pycurl and Node.js find the host by `--connect-to` or by its address, and are given the lab's CA. Node.js speaks
  TLS 1.2: in TLS 1.3 it refuses before it sends its Finished, so that a server cannot tell why it hung up.
- `untested` and `undecided` would say that a client did not come so far.
"""


def main(arguments: list[str]) -> None:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks scoreboard", description=__doc__)
    parser.add_argument("--client", action="append", metavar="NAME", help="only this one; repeatable")
    parser.add_argument("--attacker", action="append", choices=ATTACKERS, help="only this one; repeatable")
    parser.add_argument("--write", action="store_true", help="write docs/scoreboard.md")
    options = parser.parse_args(arguments)
    unknown = set(options.client or ()) - set(CLIENTS)
    if unknown:
        parser.error(f"no such client: {', '.join(sorted(unknown))}; choose from {', '.join(CLIENTS)}")
    warnings.simplefilter("ignore", ResourceWarning)  # asyncio's clients leave refused connections to the collector
    text = page(options.client or tuple(CLIENTS), options.attacker or ATTACKERS)
    if options.write:
        PAGE.write_text(text, "utf-8")
    else:
        print(text, end="")


def page(names: Sequence[str], attackers: Sequence[str]) -> str:
    """Return the page.

    Args:
        names: of the clients; those whose program is missing are named as missing.
        attackers: their names.
    """
    missing = [name for name in names if not CLIENTS[name].is_here]
    verdicts = {name: audit(name, attackers) for name in names if name not in missing}
    parts = [INTRODUCTION, f"Made on {dt.datetime.now(dt.UTC):%Y-%m-%d} with {', '.join(_versions())}.\n"]
    if missing:
        parts.append(f"Not on this machine: {', '.join(missing)}.\n")
    for group in dict.fromkeys(CLIENTS[name].group for name in verdicts):
        members = {name: found for name, found in verdicts.items() if CLIENTS[name].group == group}
        parts.append(f"## {group}\n\n{table(members, attackers)}")
    return "\n".join([*parts, NOTES])


def table(verdicts: dict[str, dict[str, str]], attackers: Sequence[str]) -> str:
    """Return a Markdown table of verdicts: a row for each attacker, a column for each client, and a row of counts."""
    rows = [["attacker", *verdicts], ["---"] * (len(verdicts) + 1)]
    rows += [[f"`{each}`", *(_cell(found[each]) for found in verdicts.values())] for each in attackers]
    rows.append(["rejected", *(f"{_rejected(found)} of {len(attackers)}" for found in verdicts.values())])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def audit(name: str, attackers: Sequence[str]) -> dict[str, str]:
    """Return the verdicts on a client, by attacker.

    Raises:
        RuntimeError: it got no answer from the host's own server.
    """
    with MITMLab() as lab:
        server = lab.honest(HOST)
        client = CLIENTS[name].make(Lab(lab, server))
        with server:
            client(Place(server.port, "", WAIT))
            if not server.requests:
                raise RuntimeError(f"{name} sent no request to the host's own server")

        def meet(attacker: str) -> AuditResult:
            attack: Attack = lab.impersonate(HOST, as_=attacker)  # type: ignore[arg-type]  # refused by name
            wait = SHORT_WAIT if attacker == "hang" else WAIT
            proxy = attacker == "connect-proxy"
            return run(lambda: client(Place(attack.port, attack.proxy_url if proxy else "", wait)), attack)

        return {each: _tell(name, meet(each)) for each in attackers}


def _tell(name: str, result: AuditResult) -> str:
    print(f"{name}: {result.attacker}: {result.verdict} ({result.reason} {result.error})", file=sys.stderr)
    return result.verdict


def _cell(verdict: str) -> str:
    return f"**{verdict}**" if verdict == "accepted" else verdict


def _rejected(found: dict[str, str]) -> int:
    return list(found.values()).count("rejected")


def _versions() -> list[str]:
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    for program, name in (("curl", "curl"), ("node", "Node.js")):
        if path := shutil.which(program):
            done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=60, check=True)  # noqa: S603  two known programs
            if number := re.search(r"\d+(\.\d+)+", done.stdout):
                found.append(f"{name} {number[0]}")
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
