"""A host that is nearly pinned gets told which entry nearly matches."""

from __future__ import annotations

import errno
import json
import sys
from typing import TYPE_CHECKING

import pytest

from pinned_requests import Pin, PinPolicy, PinSet, PolicyError
from pinned_requests.core.host import near_miss
from pinned_requests.enforcement.guard import Guard, Refusal
from support.nothing_to_import import NothingToImport

if TYPE_CHECKING:
    from pathlib import Path

PINS = PinSet([Pin("spki", bytes([n]) * 32) for n in range(2)])
POLICY = PinPolicy(
    dict.fromkeys(("api.example.com", "*.shop.example.com", "h.example.net:8443", "[2001:db8::1]"), PINS)
)


@pytest.mark.parametrize(
    ("host", "port", "said"),
    [
        ("h.example.net", 443, "h.example.net is pinned for port 8443, and was asked on 443"),
        ("shop.example.com", 443, "*.shop.example.com does not match shop.example.com itself"),
        ("a.b.shop.example.com", 443, "*.shop.example.com matches one label only"),
        ("v1.api.example.com", 443, "api.example.com does not match its subdomains"),
        ("apo.example.com", 443, "the policy has 'api.example.com'"),
        ("other.test", 443, None),
        ("2001:db8::2", 443, "the policy has '2001:db8::1'"),
    ],
)
def test_near_misses(host: str, port: int, said: str | None) -> None:
    """Another port, another number of labels, another letter."""
    found = near_miss(POLICY.hosts, host, port)
    assert (found is None) if said is None else (found is not None and found.startswith(said))


@pytest.mark.parametrize(
    ("pattern", "host", "is_told"),
    [
        ("*.example.com:8443", "api.example.com", True),
        ("*.example.com:8443", "a.b.example.com", False),
        ("**.example.com:8443", "a.b.example.com", True),
        ("**.example.com:8443", "example.com", True),
        ("**.example.com:8443", "badexample.com", False),
    ],
)
def test_a_pattern_for_another_port(pattern: str, host: str, *, is_told: bool) -> None:
    """It counts if it would match the host."""
    found = near_miss([pattern], host, None)
    assert (found == f"{host} is pinned for port 8443, and was asked on another") is is_told


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "Too many open files"), ImportError()], ids=["files", "root"])
def test_nothing_to_compare_with(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Without file descriptors, or in another root folder, `difflib` cannot be imported: no hint is given."""
    near_miss(POLICY.hosts, "apo.example.com", 443)  # so that `difflib` is there to be taken out
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "difflib")
        patch.setattr(sys, "meta_path", [NothingToImport(error)])
        found = near_miss(POLICY.hosts, "apo.example.com", 443)
    assert found is None


def test_a_large_policy() -> None:
    """It is not searched: an error text is not worth that time, and a redirect may ask for many."""
    large = PinPolicy({f"h{number}.example.com": PINS for number in range(1_001)})
    assert near_miss(large.hosts, "h1.example.co", 443) is None


def test_a_host_without_quotes() -> None:
    """TOML reads the dots as tables in tables; the error says how to write it."""
    with pytest.raises(PolicyError, match=r'quote the host: \[hosts\."api\.example\.com"\]'):
        PinPolicy.from_toml('[hosts.api.example.com]\npins = ["sha256/A"]\n')
    document = {"hosts": {"a.example.com": {"pins": {"pin": str(PINS.pins[0])}, "report_only": True}}}
    fine = PinPolicy.from_json(json.dumps(document))
    assert fine.hosts["a.example.com"].pins == PINS.pins[:1]


def test_a_refusal_names_it() -> None:
    """The error of a request to a host that is nearly pinned says so."""
    with pytest.raises(Refusal) as refused:
        Guard(POLICY).admit("https", "h.example.net", 443)
    assert "h.example.net is pinned for port 8443, and was asked on 443." in str(refused.value.report)
    with pytest.raises(Refusal) as refused:
        Guard(POLICY).admit("https", "other.test", 443)
    assert len(str(refused.value.report).splitlines()) == 1


def test_the_file_of_a_policy(tmp_path: Path) -> None:
    """A policy knows the file that it was read from, also as one that refuses; a copy with other pins does not."""
    path = tmp_path / "pins.toml"
    path.write_text(POLICY.to_toml())
    read = PinPolicy.from_file(path)
    assert read.file == read.as_outdated("x").file == str(path)
    assert (POLICY.file, read == POLICY) == (None, True)
