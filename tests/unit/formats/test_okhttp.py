"""OkHttp's `CertificatePinner`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pinned_requests.core.pin import Pin
from pinned_requests.core.policy import PinPolicy
from pinned_requests.formats import write

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pinned_requests.core.pinset import PinsLike

pytestmark = pytest.mark.filterwarnings("ignore::pinned_requests.core.errors.MissingBackupPinWarning")

A, B = Pin("spki", b"a" * 32), Pin("spki", b"b" * 32)


def allowing(hosts: Mapping[str, PinsLike]) -> PinPolicy:
    """The policy of these hosts that leaves all others alone."""
    return PinPolicy(hosts, unpinned_hosts="allow")


OKHTTP = allowing({"api.example.com": [A, B], "**.example.com": [A, B], "*.example.org": [B, A], "[::1]": [A, B]})
ADDED = f"""\
    .add("api.example.com", "{A}", "{B}")
    .add("**.example.com", "{A}", "{B}")
    .add("*.example.org", "{B}", "{A}")
    .add("::1", "{A}", "{B}")
"""


def test_okhttp_in_kotlin() -> None:
    """The builder in Kotlin."""
    text = f"""\
import okhttp3.CertificatePinner

val certificatePinner = CertificatePinner.Builder()
{ADDED}    .build()
"""
    assert text == write("okhttp-kotlin", OKHTTP).text


def test_okhttp_in_java() -> None:
    """The builder in Java."""
    text = f"""\
import okhttp3.CertificatePinner;

CertificatePinner certificatePinner = new CertificatePinner.Builder()
{ADDED}    .build();
"""
    assert text == write("okhttp-java", OKHTTP).text


def test_okhttp_joins_the_pins_of_patterns() -> None:
    """Where a wider pattern has other pins, OkHttp accepts them as well, and a loss says so."""
    hosts = {"api.example.com": [A], "*.example.com": [A], "**.example.com": [A, B], "x.api.example.com": [A, B]}
    assert [(loss.host, loss.field) for loss in write("okhttp-java", allowing(hosts)).losses] == [
        ("api.example.com", "pins"),
        ("*.example.com", "pins"),
    ]
    hosts = {"*.example.com": [A], "**.x.example.com": [B], "**.y.example.com": [A]}
    assert [(loss.host, loss.field) for loss in write("okhttp-java", allowing(hosts)).losses] == [
        ("**.x.example.com", "pins")
    ]
