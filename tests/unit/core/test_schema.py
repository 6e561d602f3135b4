"""`policy.schema.json`, which editors and other languages go by, against the parser, which decides."""

from __future__ import annotations

import json
from importlib import resources

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pinned_requests import Pin, PinPolicy, PolicyError
from pinned_requests.core import pinset as pinset_module
from pinned_requests.core import policy as policy_module

SCHEMA = json.loads(resources.files("pinned_requests").joinpath("policy.schema.json").read_text("utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)
A, B = (Pin("spki", bytes([number]) * 32) for number in range(2))
BASE64 = str(A).removeprefix("sha256/")
FINGERPRINT = ":".join(["AB"] * 32)

pytestmark = pytest.mark.filterwarnings("ignore::pinned_requests.MissingBackupPinWarning")

SPELLINGS = st.sampled_from(
    [
        *(str(A), str(B), f"sha256//{BASE64}", f'pin-sha256="{BASE64}"', BASE64, f"cert-sha256/{BASE64}"),
        *(FINGERPRINT, f"SHA256 Fingerprint={FINGERPRINT.lower()}"),
        *(
            "sha256/AAAA",
            "sha1/AAAA",
            BASE64[:-2] + "B=",
            f" {BASE64}\n",
            f"sha256/ {BASE64}",
            f"{BASE64}\u00a0",
            "",
            "é",
        ),
    ]
)
NOTED = st.fixed_dictionaries(
    {},
    optional={
        "pin": SPELLINGS | st.none(),
        "note": st.sampled_from(["2026 leaf", "é\n", "", None, 120 * "a", 121 * "a", 1, []]),
        "notes": st.just(""),
    },
)
PINS = SPELLINGS | NOTED | st.lists(SPELLINGS | NOTED, max_size=2) | st.sampled_from([None, 1, True, {}])
FIELDS = {
    "pins": PINS,
    "backup_pins": PINS,
    "blocked_pins": PINS,
    "expires": st.sampled_from(["2027-03-01T00:00:00Z", "2027-03-01 00:00:00.5+01:00", None, "2027-03-01", "", 1, True])
    | st.sampled_from(["2027-03-01T00:00:00", "2027-03-01T24:00:00Z", "2027-03-01T00:00:00z"]),
    "on_expiry": st.sampled_from(["unpin", "block", "Block", None, True]),
    "report_only": st.sampled_from([True, False, None, "true", 1]),
    "exempt": st.sampled_from([True, False, None, 0]),
}
SETS = st.fixed_dictionaries({}, optional={**FIELDS, "pin": PINS}) | st.fixed_dictionaries({"pins": SPELLINGS})
HOSTS = st.sampled_from(["api.example.com", "*.example.com", "**.example.com", "192.0.2.1", "[2001:db8::1]", "a:8443"])
WRONG_HOSTS = st.sampled_from(["", "*", "**", "a*.example.com", "https://a.example", "a b", "a@b", "a/b"])
REPORT_URIS = st.sampled_from(
    [
        *("https://reports.example.net", "HTTP://127.0.0.1:8080/a?b=c%20d@e", "https://[::1]/", "https://r.net?a"),
        *("", "reports.example.net", "ftp://a/", "https://", "https:///a", "https://a@b/", "https://a/#b"),
        *("https://a b/", "https://a%2eb/", "https://a\\b/", "https://é/", "https://a/" + 2039 * "b", 1, True),
        *("https://a/" + 2038 * "b", None),
    ]
)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "hosts": st.dictionaries(HOSTS | WRONG_HOSTS, SETS | PINS, max_size=2) | st.sampled_from([None, []]),
        "blocked_pins": PINS,
        "unpinned_hosts": st.sampled_from(["block", "allow", "Allow", None]),
        "report_uri": REPORT_URIS,
        "host": st.just({}),
    },
)


def test_the_schema_is_one() -> None:
    """It is valid JSON Schema itself."""
    Draft202012Validator.check_schema(SCHEMA)


@settings(max_examples=1000)
@given(document=DOCUMENTS)
def test_schema_and_parser_agree(document: object) -> None:
    """What the one takes the other takes."""
    try:
        PinPolicy.from_json(json.dumps(document))
    except PolicyError:
        is_taken = False
    else:
        is_taken = True
    assert is_taken == VALIDATOR.is_valid(document)


def test_every_field_of_the_parser_is_in_the_schema() -> None:
    """And no other."""
    assert set(SCHEMA["$defs"]["pin-set"]["properties"]) == set(pinset_module._FIELDS) == set(FIELDS)
    assert set(SCHEMA["properties"]) == set(policy_module._FIELDS)
