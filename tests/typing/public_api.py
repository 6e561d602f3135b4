"""The public API as a user would write it. Not run: `mypy --strict` reads it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import requests

import pinned_requests
from pinned_requests import (
    BlockedKeyError,
    ChainUnavailableError,
    InsecureURLError,
    MissingBackupPinWarning,
    Pin,
    PinFormatError,
    PinMismatchError,
    PinnedAdapter,
    PinnedPoolManager,
    PinnedSession,
    PinningError,
    PinPolicy,
    PinSet,
    PinsExpiredError,
    PolicyError,
    PolicyStore,
    UnpinnableAdapterError,
    UnpinnedHostError,
    ViolationReport,
)
from pinned_requests.reporting import HTTPReporter, JSONLinesReporter

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable
    from pathlib import Path

HOST = "api.example.com"
VERSION: str = pinned_requests.__version__


def pins_of(path: Path, certificate: bytes) -> list[Pin]:
    """Every way to a pin."""
    digest: bytes = Pin.parse("sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").digest
    return [
        Pin("spki", digest),
        Pin.from_file(path),
        Pin.from_file(str(path)),
        Pin.from_certificate(certificate),
        Pin.fingerprint(certificate),
        Pin.from_csr(certificate),
        Pin.from_public_key(certificate),
        Pin.from_private_key(certificate),
    ]


def policies(pin: Pin) -> tuple[PolicyStore, object]:
    """Every way to a pin set, and a policy of them."""
    full = PinSet(
        [pin, str(pin)],
        backup_pins=str(pin),
        blocked_pins={pin},
        expires=datetime(2027, 3, 1, tzinfo=UTC),
        on_expiry="block",
        report_only=True,
    )
    policy = PinPolicy(
        {
            HOST: full,
            "*.example.com": pin,
            "**.example.com": str(pin),
            "192.0.2.1": [pin, str(pin)],
            "[2001:db8::1]:8443": {"pins": [str(pin)], "expires": "2027-03-01T00:00:00Z"},
            "status.example.com": PinSet.exempt(),
        },
        unpinned_hosts="allow",
    )
    found: PinSet | None = policy.lookup(HOST, 443)
    seen: tuple[object, ...] = ()
    if found is not None and found.expires is not None:
        remaining = found.expires - datetime.now(UTC)
        seen = (remaining.days, found.pins, found.backup_pins, found.blocked_pins)
    store = PolicyStore(PinPolicy.from_mapping({HOST: [pin]}))
    store.set(policy)
    store.set({HOST: [pin]})
    return store, seen


def followed(pins: PinPolicy, folder: Traversable) -> tuple[object, ...]:
    """Stores that follow a source, with each option, and what operators read of them."""

    def changed(old: PinPolicy, new: PinPolicy) -> bool:
        return old == new

    errors: list[BaseException] = []
    by_call = PolicyStore(
        pins.to_json,
        refresh_after=300,
        max_age=86_400.0,
        confirm_refusals=2.5,
        on_change=changed,
        on_error=errors.append,
    )
    by_file = PolicyStore.from_file(
        "pins.toml", refresh_after=1, max_age=60, confirm_refusals=None, on_change=changed, on_error=errors.append
    )
    signed = PolicyStore.from_tuf(
        "https://pins.example.com/metadata",
        "https://pins.example.com/targets",
        root=folder.joinpath("root.json"),
        shipped=folder.joinpath("pins.json"),
        cache_dir=None,
        verify="ca.pem",
        proxies={"https": "http://proxy:3128"},
        confirm_refusals=5,
        on_change=changed,
        on_error=errors.append,
    )
    version: str = signed.version
    age: float = signed.age
    loaded_at: datetime | None = signed.loaded_at
    return by_call, by_file, version, age, loaded_at, signed.last_error


def told(report: ViolationReport) -> str:
    """A callback."""
    return f"{report} {report.host} {report.port} {report.chain} {report.known_pins} {report.to_json()}"


def sinks(policy: PinPolicy) -> bool:
    """Where reports go."""
    reporter = HTTPReporter("https://reports.example.net/pins")
    PinnedSession(policy, on_violation=reporter)
    PinnedSession(PinPolicy(policy.hosts, report_uri="https://reports.example.net/"), on_violation=told)
    PinnedSession(policy, on_violation=JSONLinesReporter("reports.jsonl", max_bytes=1_000_000, backups=2))
    return reporter.flush(2.0)


def requests_of(store: PolicyStore, pin: Pin) -> int:
    """Every way to a request."""
    with PinnedSession({HOST: [pin, str(pin)]}, unpinned_hosts="allow", on_violation=told, max_retries=3) as session:
        response: requests.Response = session.get(f"https://{HOST}/", timeout=10)
    plain: requests.Session = PinnedSession(store)
    plain.mount("https://other.example/", PinnedAdapter(store.current, max_retries=2))
    manager = PinnedPoolManager({HOST: pin}, num_pools=4)
    once = pinned_requests.get(f"https://{HOST}/", pins={HOST: pin}, timeout=10)
    sent = pinned_requests.post(f"https://{HOST}/", pins={HOST: pin}, json={"a": 1}, timeout=10)
    return (
        response.status_code + once.status_code + sent.status_code + manager.request("GET", f"https://{HOST}/").status
    )


def handled(session: PinnedSession) -> str:
    """Every error."""
    try:
        session.get(f"https://{HOST}/", timeout=10)
    except (PinMismatchError, BlockedKeyError) as error:
        return ", ".join(f"{seen.subject} {seen.spki_pin} {seen.certificate_pin}" for seen in error.chain)
    except (
        PinsExpiredError,
        ChainUnavailableError,
        UnpinnedHostError,
        InsecureURLError,
        UnpinnableAdapterError,
    ) as error:
        return f"{error.host}:{error.port} {error.expected}"
    except PinningError as error:
        return str(error.request)
    except (PinFormatError, PolicyError, MissingBackupPinWarning) as error:
        return str(error)
    except requests.exceptions.SSLError as error:
        return str(error)
    return ""
