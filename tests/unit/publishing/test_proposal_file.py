"""The file of a proposal: what is written is read back, and anything else is an error of ours."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinned_requests import PinPolicy, PinSet, PolicyError
from pinned_requests.publishing.proposal import Proposal, ProposalError, apply, changes_of_keys, propose

if TYPE_CHECKING:
    from support.office import Office

NEW = PinPolicy({"new.example.com": PinSet.exempt()})


def test_it_is_read_back(office: Office) -> None:
    """Equal bytes, and the same change."""
    office.publish()
    proposal = propose(office.repository.load(), {"targets": 10}, policy=("pins.json", NEW), renewed=["root"])
    read = Proposal.from_bytes(proposal.to_bytes())
    assert read.to_bytes() == proposal.to_bytes()
    assert (read.name, read.new_policy(), set(read.metadata())) == ("pins.json", NEW, {"root", "targets"})
    state = office.repository.load()
    assert changes_of_keys(read, state) == []
    assert apply(read, state, datetime.now(UTC)).targets.signed.version == 3


def test_it_must_change_something(office: Office) -> None:
    """An empty proposal is an error of who makes it."""
    with pytest.raises(PolicyError, match="would change nothing"):
        propose(office.repository.load(), {})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"format": "pinned-requests-proposal-2", "target": null, "policy": null, "metadata": {}}',
        '{"format": "pinned-requests-proposal-1"}',
        '{"format": "pinned-requests-proposal-1", "target": null, "policy": null, "metadata": {}}',
        '{"format": "pinned-requests-proposal-1", "target": null, "policy": null, "metadata": {"root": {}}}',
        '{"format": "pinned-requests-proposal-1", "target": null, "policy": null, "metadata": {"timestamp": {}}}',
        '{"format": "pinned-requests-proposal-1", "target": "a", "policy": null, "metadata": {"root": {}}}',
        "[" * 100_000,
    ],
)
def test_what_is_not_a_proposal(text: str) -> None:
    """It is said to be none."""
    with pytest.raises(PolicyError, match="not a proposal"):
        Proposal.from_bytes(text.encode())


def test_a_policy_that_no_metadata_names(office: Office) -> None:
    """It would be shown, and not be signed."""
    state = office.repository.load()
    document = json.loads(propose(state, {}, policy=("pins.json", NEW), renewed=["root"]).to_bytes())
    del document["metadata"]["targets"]
    with pytest.raises(ProposalError, match="no targets metadata"):
        apply(Proposal.from_bytes(json.dumps(document).encode()), state, datetime.now(UTC))


def test_a_root_with_other_roles(office: Office) -> None:
    """TUF knows one more, which clients of ours do not ask for."""
    state = office.repository.load()
    document = json.loads(propose(state, {}, renewed=["root"]).to_bytes())
    roles = document["metadata"]["root"]["signed"]["roles"]
    roles["mirrors"] = roles["timestamp"]
    with pytest.raises((ProposalError, PolicyError)):
        apply(Proposal.from_bytes(json.dumps(document).encode()), state, datetime.now(UTC))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), value=JSON)
def test_any_value_in_any_place(office: Office, data: st.DataObject, value: object) -> None:
    """Gives a proposal that is refused or the same as before, or an error of ours."""
    state = office.repository.load()
    proposal = propose(state, {}, policy=("pins.json", NEW), renewed=["root"])
    document = json.loads(proposal.to_bytes())
    place = document
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if not (isinstance(place[key], dict) and place[key] and data.draw(st.booleans())):
            break
        place = place[key]
    place[key] = value
    with contextlib.suppress(PolicyError, ProposalError):
        apply(Proposal.from_bytes(json.dumps(document).encode()), state, datetime.now(UTC))
