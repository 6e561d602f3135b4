"""`pinned-requests pin`: the pins of files and of live servers, at every depth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pinned_requests import PolicyError
from pinned_requests.cli.errors import ExitCode, failure_of
from pinned_requests.cli.inputs import read_bounded
from pinned_requests.cli.output import CommandError, Row, complain, show_json, show_table
from pinned_requests.core.der import MAX_SIZE
from pinned_requests.core.pin import find_keys
from pinned_requests.core.text import escape, show
from pinned_requests.monitoring.details import Details, details_of, details_of_certificate
from pinned_requests.monitoring.errors import UnreachableError
from pinned_requests.monitoring.fetch import UNRESOLVED, fetch
from pinned_requests.monitoring.target import read_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinned_requests.monitoring.route import Route

VERIFIED = "the chain and the host name were verified"
NOT_VERIFIED = "NOT verified: nothing vouches for these keys but this connection"
FROM_FILE = "a file: nothing was verified"


class Source(NamedTuple):
    """Where pins came from: its name, escaped; what was verified; and what was found, leaf first."""

    name: str
    is_file: bool
    is_verified: bool
    found: tuple[Details, ...]


def pin(sources: Sequence[str], route: Route, *, as_json: bool) -> int:
    """Show the pins of each source; what is wrong with one of them does not keep the others from being shown.

    Returns:
        0, or the worst exit code of a source.
    """
    seen, code = [], 0
    for text in sources:
        source, worse = _try(text, route)
        code = max(code, worse)
        if source is not None:
            seen.append(source)
    if as_json:
        show_json([_document(source) for source in seen])
        return code
    for source in seen:
        remark = FROM_FILE if source.is_file else VERIFIED if source.is_verified else NOT_VERIFIED
        rows = [Row(f"{depth}: {item.kind}", item.lines()) for depth, item in enumerate(source.found)]
        show_table(f"{source.name} ({remark})", ("depth", "pin"), rows)
    return code


def _try(text: str, route: Route) -> tuple[Source | None, int]:
    try:
        return read_source(text, route), 0
    except OSError as error:
        complain(f"{text}: {error.strerror}")
        return None, ExitCode.BAD_INPUT
    except Exception as error:
        failure = failure_of(error)
        if failure is None:
            raise
        complain(failure.sentence or "")
        return None, failure.code


def read_source(text: str, route: Route) -> Source:
    """Return what a file holds or a server presents. What has a slash in it, or exists, is a file.

    Raises:
        CommandError: it is a URL, or the file holds no key.
        ServerError: the server cannot be reached, or its certificate is not valid.
        PolicyError: it is no host, or the file cannot be read as what it says it is.
        OSError: the file cannot be read.
    """
    if "://" in text and not _exists(text):
        raise CommandError("give HOST[:PORT], not a URL")  # which is not shown: it may hold a password
    if "/" in text or _exists(text):
        try:
            found = tuple(map(details_of, find_keys(read_bounded(text, MAX_SIZE))))
        except PolicyError as error:
            raise PolicyError(f"{show(text)}: {error}") from None
        if not found:
            raise CommandError(
                f"{show(text)} holds no certificate, certification request, public key or unencrypted private key"
            )
        return Source(escape(text), is_file=True, is_verified=False, found=found)
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
    return Source(str(target), is_file=False, is_verified=chain.is_verified, found=found)


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long, a null byte
        return False


def _document(source: Source) -> dict[str, Any]:
    return {
        "source": source.name,
        "is_file": source.is_file,
        "is_verified": source.is_verified,
        "found": [{"depth": at, **item.document()} for at, item in enumerate(source.found)],
    }
