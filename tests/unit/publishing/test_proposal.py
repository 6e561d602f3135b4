"""The file of a proposal: what is written is read back, and anything else is an error of ours."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import reduce
from operator import getitem
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pinned_requests import PinPolicy, PinSet, PolicyError
from pinned_requests.publishing.proposal import Proposal, ProposalError, apply, changes_of_keys, propose
from pinned_requests.publishing.state import DAYS_FIELD

if TYPE_CHECKING:
    from collections.abc import Iterator

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


# Of the signed metadata, a proposer chooses these; the rest is computed from the state and from the policy.
CHOSEN = {"keys", "roles", "expires", DAYS_FIELD}


def places(document: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every value in objects."""
    for name, value in document.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from places(value, (*above, name))


def computed(proposal: Proposal) -> list[object]:
    """Return all that the proposer does not choose once the policy is given."""
    signed = [each.signed.to_dict() for each in proposal.metadata().values()]
    fields = [{name: value for name, value in each.items() if name not in CHOSEN} for each in signed]
    return [proposal.name, proposal.policy, list(proposal.metadata()), *fields]


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=JSON)
@example(value=None)
@example(value=True)
@example(value=10**6)
@example(value="a")
@example(value=["a"])
@example(value={})
def test_any_value_in_any_place(office: Office, value: object) -> None:
    """It is an error of ours, or changes only what a proposer chooses, and is read as it is written."""
    state = office.repository.load()
    proposal = propose(state, {}, policy=("pins.json", NEW), renewed=["root"])
    accepted = set()
    for path in places(json.loads(proposal.to_bytes())):
        *above, last = path
        document = json.loads(proposal.to_bytes())
        reduce(getitem, above, document)[last] = value
        try:
            read = Proposal.from_bytes(json.dumps(document).encode())
            applied = apply(read, state, datetime.now(UTC))
        except (PolicyError, ProposalError):
            continue
        assert (applied.root, applied.targets) == (read.root, read.targets), path
        assert computed(read) == computed(proposal), path
        root = applied.root.signed
        assert all(set(role.keyids) <= root.keys.keys() for role in root.roles.values()), path
        assert changes_of_keys(read, state) is not None, path
        if not CHOSEN.isdisjoint(path):
            written = reduce(getitem, path, json.loads(read.to_bytes()))
            assert json.dumps(written) == json.dumps(value), path
        accepted.add(last)
    assert "x-pinned-requests-holder" in accepted  # a note beside a key, which may be anything
