"""`pinned-requests pin`: the pins of files and of live servers, at every depth."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from pinned_requests import PolicyError
from pinned_requests.cli.errors import ExitCode, failure_of
from pinned_requests.cli.inputs import read_keys
from pinned_requests.cli.output import CommandError, Row, complain, show_json, show_table
from pinned_requests.core.pinset import pin_fields
from pinned_requests.core.policy_text import inline_toml
from pinned_requests.core.text import escape, show
from pinned_requests.editing.policy_file import note_of
from pinned_requests.monitoring.details import Details, details_of, details_of_certificate
from pinned_requests.monitoring.fetch import UNRESOLVED, fetch
from pinned_requests.monitoring.target import UnreachableError, read_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinned_requests.core.pin import PinStyle
    from pinned_requests.monitoring.route import Route

_ROLES = ("leaf", "issuer", "CA")


class _Source(NamedTuple):
    """Where pins came from (escaped), and what was found, leaf first."""

    name: str
    is_file: bool
    is_verified: bool
    found: tuple[Details, ...]


def pin(sources: Sequence[str], route: Route, *, form: str | None, depth: int, as_json: bool) -> int:
    """Show the pins of each source; what is wrong with one does not keep the others from being shown.

    With `form` that is one line of the certificate or key at `depth`. Returns 0, or the worst exit code of a source.
    """
    seen, code = [], 0
    for text in sources:
        source, worse = _try(text, route)
        code = max(code, worse)
        if source is not None:
            seen.append(source)
    if form is not None:
        for source in seen:
            print(_line(source, form, depth))
        return code
    if as_json:
        show_json([_document(source) for source in seen])
        return code
    for source in seen:
        remark = "NOT verified: nothing vouches for these keys but this connection"
        if source.is_file:
            remark = "a file: nothing was verified"
        elif source.is_verified:
            remark = "the chain and the host name were verified"
        rows = [Row(f"{depth}: {item.kind}", item.lines()) for depth, item in enumerate(source.found)]
        show_table(f"{source.name} ({remark})", ("depth", "pin"), rows)
    return code


def _try(text: str, route: Route) -> tuple[_Source | None, int]:
    try:
        return _read(text, route), 0
    except OSError as error:
        complain(f"{text}: {error.strerror}")
        return None, ExitCode.BAD_INPUT
    except Exception as error:
        failure = failure_of(error)
        if failure is None:
            raise
        complain(failure.sentence or "")
        return None, failure.code


def _read(text: str, route: Route) -> _Source:
    if "://" in text and not _exists(text):
        text = _host_of_url(text)
    if "/" in text or _exists(text):  # a host has no slash
        found = tuple(map(details_of, read_keys(text)))
        return _Source(escape(text), is_file=True, is_verified=False, found=found)
    try:
        target = read_target(text)
    except PolicyError as error:
        raise PolicyError(f"there is no file {show(text)}, and as a host: {error}") from None
    try:
        chain = fetch(target, route)
    except UnreachableError as error:
        if error.reason != UNRESOLVED:
            raise
        raise UnreachableError(target, f"{UNRESOLVED}, and there is no file of that name") from None
    found = tuple(details_of_certificate(seen.der) for seen in chain.certificates)
    return _Source(str(target), is_file=False, is_verified=chain.is_verified, found=found)


def _host_of_url(text: str) -> str:
    """Return the `HOST[:PORT]` of an `https://` URL. Another URL is not shown: it may hold a password."""
    try:
        parts = parse_url(text)
    except LocationParseError:
        parts = None
    if parts is None or parts.scheme != "https" or not parts.host:
        raise CommandError("give a file, HOST[:PORT] or an https:// URL")
    return parts.host if parts.port is None else f"{parts.host}:{parts.port}"


def _line(source: _Source, form: str, depth: int) -> str:
    if depth >= len(source.found):
        raise CommandError(f"{source.name} has {len(source.found)} of them; there is none at depth {depth}")
    item = source.found[depth]
    if form == "toml":
        note = note_of(_ROLES[min(depth, 2)], item.subject or source.name, "seen", datetime.now(UTC))
        return inline_toml(pin_fields(item.pin.with_note(note)))
    if form == "fingerprint":
        if item.certificate_pin is None:
            raise CommandError(f"{source.name} is a {item.kind}, which has no fingerprint")
        return item.certificate_pin.spelled("fingerprint")
    style: PinStyle = "canonical" if form == "spki" else form  # type: ignore[assignment]  # the others are styles
    return item.pin.spelled(style)


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long, a null byte
        return False


def _document(source: _Source) -> dict[str, Any]:
    return {
        "source": source.name,
        "is_file": source.is_file,
        "is_verified": source.is_verified,
        "found": [{"depth": at, **item.document()} for at, item in enumerate(source.found)],
    }
