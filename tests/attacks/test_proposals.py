"""Attacks on a change that people in different places sign: it is refused, and clients keep the policy that they have.

Alice and Bob must both sign what the pins are, and which keys count. An attacker can change the proposal on its way. In
each test the honest twin follows: the same proposal, untouched, is merged, and the client takes it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from securesystemslib.signer import SSlibKey

from pinned_requests import PinPolicy, PinSet, PolicyError
from pinned_requests.publishing.keys import KeyFolder, KeyRing, RoleKeys, SigningError, read_public
from pinned_requests.publishing.proposal import Proposal, ProposalError, apply, exchange, first, propose
from pinned_requests.publishing.repository import Repository, new_root
from pinned_requests.publishing.signatures import join, sign, signatures
from pinned_requests.publishing.state import ROLES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pinned_requests.publishing.state import State
    from support.publisher import Publisher

THIEVES = PinPolicy({"thief.example.com": PinSet.exempt()})


class Ceremony:
    """A repository of Alice's and Bob's, a client who has the old policy, and a proposal of the new one."""

    def __init__(self, publisher: Publisher, old: PinPolicy, new: PinPolicy) -> None:
        self.publisher, self.old, self.new = publisher, old, new
        publisher.publish(old)
        self.store = publisher.store()
        self.alice, self.bob = (KeyRing([folder], lambda _: "") for folder in publisher.key_folders)
        self.mallory = KeyFolder(publisher.base / "mallory")
        self.machine = Repository(publisher.folder, self.alice)  # who has the keys of snapshot and timestamp
        self.proposal = propose(self.state, {}, policy=("pins.json", new))

    @property
    def state(self) -> State:
        """The present state."""
        return self.machine.load()

    def sent(self, change: Callable[[dict[str, Any]], None] | None = None) -> Proposal:
        """The proposal as it arrives, after an attacker has changed its file."""
        document = json.loads(self.proposal.to_bytes())
        if change is not None:
            change(document)
        return Proposal.from_bytes(json.dumps(document).encode())

    def sign(self, proposal: Proposal, *rings: KeyRing) -> Proposal:
        """Sign it, each on a machine of their own."""
        for ring in rings:
            sign(proposal, self.state, ring, datetime.now(UTC))
        return proposal

    def merge(self, *copies: Proposal) -> None:
        """Publish it."""
        self.machine.merge(join(copies, self.state, datetime.now(UTC)), {})

    def refused(self, error: type[Exception], text: str, *copies: Proposal) -> None:
        """Try to publish it, in vain."""
        before = {path: path.read_bytes() for path in self.publisher.folder.rglob("*") if path.is_file()}
        with pytest.raises(error, match=text):
            self.merge(*copies)
        assert {path: path.read_bytes() for path in self.publisher.folder.rglob("*") if path.is_file()} == before
        self.store.refresh()
        assert self.store.current == self.old

    def honest(self) -> None:
        """Publish the proposal as it was."""
        self.merge(self.sign(self.sent(), self.alice, self.bob))
        self.store.refresh()
        assert self.store.current == self.new


@pytest.fixture
def ceremony(publishing: Callable[..., Publisher], policies: Sequence[PinPolicy]) -> Ceremony:
    """Set the scene."""
    return Ceremony(publishing(root=(2, 2), targets=(2, 2)), *policies[1:])


def other_policy(document: dict[str, Any]) -> None:
    """Put another policy into a proposal."""
    document["policy"] = THIEVES.to_json()


def other_policy_and_hash(document: dict[str, Any]) -> None:
    """The same, with a matching entry in the metadata."""
    other_policy(document)
    forged = Proposal(policy=THIEVES.to_json().encode(), name="pins.json")
    (path,) = forged.files()
    target = document["metadata"]["targets"]["signed"]["targets"]["pins.json"]
    target["hashes"]["sha256"] = path.partition(".")[0]
    target["length"] = len(THIEVES.to_json())


def test_the_policy_is_changed_on_its_way_to_the_signers(ceremony: Ceremony) -> None:
    """Neither signs it: it is not the one that the metadata names."""
    for ring in (ceremony.alice, ceremony.bob):
        with pytest.raises(ProposalError, match="changes more"):
            ceremony.sign(ceremony.sent(other_policy), ring)
    ceremony.honest()


def test_the_policy_is_changed_on_its_way_from_the_signers(ceremony: Ceremony) -> None:
    """It is not published, although both have signed."""
    ceremony.sign(ceremony.proposal, ceremony.alice, ceremony.bob)
    ceremony.refused(ProposalError, "changes more", ceremony.sent(other_policy))
    ceremony.honest()


def test_the_policy_and_its_hash_are_changed_after_the_signatures(ceremony: Ceremony) -> None:
    """The signatures are of other bytes, and do not count."""
    ceremony.sign(ceremony.proposal, ceremony.alice, ceremony.bob)
    ceremony.refused(SigningError, "targets would have 0 of the 2", ceremony.sent(other_policy_and_hash))
    ceremony.honest()


def test_the_policy_and_its_hash_are_changed_after_the_first_signature(ceremony: Ceremony) -> None:
    """Bob is shown what he signs; even if he signs, Alice's signature does not count."""
    ceremony.sign(ceremony.proposal, ceremony.alice)
    changed = ceremony.sent(other_policy_and_hash)
    assert changed.new_policy() == THIEVES
    ceremony.refused(SigningError, "targets would have 1 of the 2", ceremony.sign(changed, ceremony.bob))
    ceremony.honest()


def more_targets(document: dict[str, Any]) -> None:
    """Name a policy that the proposal does not show."""
    targets = document["metadata"]["targets"]["signed"]["targets"]
    targets["other.json"] = targets["pins.json"]


def delegation(document: dict[str, Any]) -> None:
    """Let another key say what the pins are."""
    document["metadata"]["targets"]["signed"]["delegations"] = {"keys": {}, "roles": []}


def custom(document: dict[str, Any]) -> None:
    """Add what no signer is shown."""
    document["metadata"]["targets"]["signed"]["x-other"] = "hidden"


def no_expiry(document: dict[str, Any]) -> None:
    """Be valid for ever."""
    document["metadata"]["targets"]["signed"]["expires"] = "9000-01-01T00:00:00Z"


def long_validity(document: dict[str, Any]) -> None:
    """Let every later version be valid for ever."""
    document["metadata"]["targets"]["signed"]["x-pinned-requests-days"] = 10**9


def expired(document: dict[str, Any]) -> None:
    """Be of no use to clients."""
    document["metadata"]["targets"]["signed"]["expires"] = "2020-01-01T00:00:00Z"


def version_far_ahead(document: dict[str, Any]) -> None:
    """Leave no room for later versions."""
    document["metadata"]["targets"]["signed"]["version"] = 2**62


@pytest.mark.parametrize(
    "change", [more_targets, delegation, custom, no_expiry, long_validity, expired, version_far_ahead]
)
def test_metadata_that_changes_more_than_it_shows(ceremony: Ceremony, change: Callable[[dict[str, Any]], None]) -> None:
    """No one signs it."""
    with pytest.raises(ProposalError):
        ceremony.sign(ceremony.sent(change), ceremony.alice)
    ceremony.refused(ProposalError, "the proposed targets|the proposal has version", ceremony.sent(change))
    ceremony.honest()


def test_a_policy_outside_of_its_folder(ceremony: Ceremony) -> None:
    """The name of a target is not a path."""

    def escape(document: dict[str, Any]) -> None:
        document["target"] = "../../evil.json"
        targets = document["metadata"]["targets"]["signed"]["targets"]
        targets["../../evil.json"] = targets.pop("pins.json")

    with pytest.raises(PolicyError, match="invalid target"):
        ceremony.sign(ceremony.sent(escape), ceremony.alice)
    ceremony.refused(PolicyError, "invalid target", ceremony.sent(escape))
    ceremony.honest()


def test_the_threshold_is_not_met(ceremony: Ceremony) -> None:
    """One of two is not enough, and signing twice is not either."""
    once = ceremony.sign(ceremony.sent(), ceremony.bob)
    again = ceremony.sign(ceremony.sent(), ceremony.bob, ceremony.bob)
    ceremony.refused(
        SigningError, r"targets would have 1 of the 2 .* not signed by targets-[0-9a-f]{12} \(alice\)", once
    )
    ceremony.refused(SigningError, "targets would have 1 of the 2", once, again)
    ceremony.honest()


def test_a_signature_by_a_key_that_is_not_of_the_role(ceremony: Ceremony) -> None:
    """A stranger's key does not count, nor do keys of other roles, under any id; and none is published."""
    stranger = ceremony.mallory.generate("targets", None)
    ring = KeyRing([ceremony.mallory], lambda _: "")
    with pytest.raises(SigningError, match="no key that signs targets"):
        ceremony.sign(ceremony.sent(), ring)
    forged = ceremony.sign(ceremony.sent(), ceremony.alice)
    roles = ceremony.state.root.signed.roles
    (bobs,) = (keyid for keyid in roles["targets"].keyids if keyid not in forged.metadata()["targets"].signatures)
    metadata = forged.metadata()["targets"]
    signer = ring.signer(stranger)
    assert signer is not None
    signature = metadata.sign(signer, append=True)
    metadata.signatures[bobs] = signature  # in Bob's name
    for keyid in (roles["root"].keyids[0], roles["timestamp"].keyids[0]):
        other = ceremony.alice.signer(ceremony.state.root.signed.keys[keyid])
        assert other is not None
        metadata.sign(other, append=True)
    ceremony.refused(SigningError, "targets would have 1 of the 2", forged)
    (found,) = signatures(forged, ceremony.state, datetime.now(UTC))
    assert (len(found.signed), len(found.missing), found.is_met) == (1, 1, False)
    ceremony.merge(forged, ceremony.sign(ceremony.sent(), ceremony.bob))  # a forged signature spoils no honest one
    ceremony.store.refresh()
    assert ceremony.store.current == ceremony.new
    assert set(ceremony.state.targets.signatures) == set(roles["targets"].keyids)


def test_an_older_policy_is_published_again(ceremony: Ceremony, policies: Sequence[PinPolicy]) -> None:
    """A proposal that both signed once is for one version of the repository."""
    old = ceremony.sign(ceremony.sent(), ceremony.alice, ceremony.bob)
    copies = old.to_bytes()
    ceremony.merge(old)
    ceremony.proposal = propose(ceremony.state, {}, policy=("pins.json", policies[0]))
    ceremony.merge(ceremony.sign(ceremony.proposal, ceremony.alice, ceremony.bob))
    ceremony.store.refresh()
    ceremony.old = policies[0]
    assert ceremony.store.current == ceremony.old
    ceremony.refused(ProposalError, "version 3 of the targets, and the next one is 5", Proposal.from_bytes(copies))
    ceremony.new = policies[2]
    ceremony.proposal = propose(ceremony.state, {}, policy=("pins.json", ceremony.new))
    ceremony.honest()


def test_a_proposal_that_was_withdrawn_is_not_published_later(ceremony: Ceremony) -> None:
    """It expires with what was signed."""
    signed = ceremony.sign(ceremony.sent(), ceremony.alice, ceremony.bob)
    later = datetime.now(UTC) + timedelta(days=181)
    with pytest.raises(ProposalError, match="expired"):
        join([signed], ceremony.state, later)
    ceremony.honest()


def test_copies_of_two_proposals(ceremony: Ceremony) -> None:
    """A signature for one does not count for the other."""
    other = propose(ceremony.state, {}, policy=("pins.json", THIEVES))
    signed = ceremony.sign(ceremony.sent(), ceremony.alice)
    ceremony.refused(ProposalError, "not copies of one", signed, ceremony.sign(other, ceremony.bob))
    ceremony.honest()


def keys_of(ceremony: Ceremony, **changes: Any) -> Proposal:
    """A proposal of root metadata, renewed, with changes to what is signed."""
    proposal = propose(ceremony.state, {}, renewed=["root"])
    document = json.loads(proposal.to_bytes())
    document["metadata"]["root"]["signed"].update(changes)
    return Proposal.from_bytes(json.dumps(document).encode())


def root_of(ceremony: Ceremony) -> dict[str, Any]:
    """The signed root, to change."""
    root: dict[str, Any] = json.loads(json.dumps(ceremony.state.root.signed.to_dict()))
    return root


def test_a_lower_threshold_needs_the_old_one(ceremony: Ceremony) -> None:
    """Alice alone cannot make herself the only one who must sign."""
    roles = root_of(ceremony)["roles"]
    roles["root"]["threshold"] = roles["targets"]["threshold"] = 1
    signed = ceremony.sign(keys_of(ceremony, roles=roles), ceremony.alice)
    (found,) = signatures(signed, ceremony.state, datetime.now(UTC))
    assert (found.needed, found.is_met) == (2, False)
    ceremony.refused(SigningError, "root would have 1 of the 2", signed)
    ceremony.honest()


def test_one_key_under_two_ids(ceremony: Ceremony) -> None:
    """An id that is not the hash of the key would let one signature count as two."""
    root = root_of(ceremony)
    keyid = root["roles"]["targets"]["keyids"][0]
    root["keys"]["f" * 64] = root["keys"][keyid]
    root["roles"]["targets"]["keyids"].append("f" * 64)
    forged = keys_of(ceremony, keys=root["keys"], roles=root["roles"])
    with pytest.raises(ProposalError, match="the id of the proposed key ffffffffffff"):
        ceremony.sign(forged, ceremony.bob)
    ceremony.honest()


def test_another_key_under_the_id_of_a_holder(ceremony: Ceremony) -> None:
    """Bob's id stays Bob's key."""
    root = root_of(ceremony)
    keyid = root["roles"]["targets"]["keyids"][1]
    root["keys"][keyid] = ceremony.mallory.generate("targets", None).to_dict()
    with pytest.raises(ProposalError, match="the id of the proposed key"):
        ceremony.sign(keys_of(ceremony, keys=root["keys"]), ceremony.alice)
    ceremony.honest()


@pytest.mark.parametrize("change", [{"consistent_snapshot": False}, {"x-other": 1}])
def test_a_root_that_changes_more_than_keys(ceremony: Ceremony, change: dict[str, Any]) -> None:
    """No one signs it."""
    with pytest.raises(ProposalError, match="changes more"):
        ceremony.sign(keys_of(ceremony, **change), ceremony.alice)
    ceremony.honest()


def test_public_keys_that_were_changed_on_their_way(ceremony: Ceremony) -> None:
    """A stranger's key does not come in under the id of another."""
    ceremony.mallory.generate("targets", None)
    path = ceremony.mallory.path / "public.json"
    document = json.loads(path.read_text())
    (key,) = document["targets"].values()
    bobs = ceremony.state.root.signed.roles["targets"].keyids[1]
    alices = ceremony.state.root.signed.roles["targets"].keyids[0]
    path.write_text(json.dumps({"targets": {alices: key}}))
    with pytest.raises(SigningError, match="the id of"):
        read_public(path)
    with pytest.raises(SigningError, match="the id of"):
        exchange(ceremony.state, bobs, path)
    path.write_text(json.dumps(document))
    assert exchange(ceremony.state, bobs, path)[:2] == ("targets", bobs)
    ceremony.honest()


def test_a_new_repository_in_the_place_of_one(ceremony: Ceremony) -> None:
    """The proposal of a first root, signed by its own keys, replaces nothing."""
    made = {role: RoleKeys((ceremony.mallory.generate(role, None),), 1) for role in ROLES}
    forged = first(new_root(made), {})
    ring = KeyRing([ceremony.mallory], lambda _: "")
    sign(forged, None, ring, datetime.now(UTC))
    with pytest.raises(ProposalError):
        apply(forged, ceremony.state, datetime.now(UTC))
    with pytest.raises(PolicyError, match="is a repository already"):
        Repository(ceremony.publisher.folder, ring).merge(forged, {})
    ceremony.honest()


def test_a_key_is_exchanged_by_people_apart(ceremony: Ceremony, policies: Sequence[PinPolicy]) -> None:
    """The honest use of all this: Carol takes Bob's place, and his signature counts no more."""
    ceremony.honest()
    carols = KeyFolder(ceremony.publisher.base / "carol")
    for role in ("root", "targets"):
        carols.generate(role, None)
    carol = KeyRing([carols], lambda _: "")
    for role in ("root", "targets"):
        bobs = ceremony.state.root.signed.roles[role].keyids[1]
        change = exchange(ceremony.state, bobs, carols.path / "public.json")
        proposal = propose(ceremony.state, {}, exchanged=change)
        assert isinstance(change[2], SSlibKey)
        signers = (ceremony.alice, ceremony.bob, carol)
        ceremony.merge(ceremony.sign(proposal, *signers))
    ceremony.store.refresh()
    assert ceremony.store.current == ceremony.new
    ceremony.old = ceremony.new
    ceremony.proposal = propose(ceremony.state, {}, policy=("pins.json", policies[0]))
    with pytest.raises(SigningError, match="no key that signs targets"):
        ceremony.sign(ceremony.sent(), ceremony.bob)
    ceremony.refused(SigningError, "targets would have 1 of the 2", ceremony.sign(ceremony.sent(), ceremony.alice))
    ceremony.merge(ceremony.sign(ceremony.sent(), ceremony.alice, carol))
    ceremony.store.refresh()
    late = ceremony.publisher.store(cache_dir=ceremony.publisher.base / "late")
    assert ceremony.store.current == late.current == policies[0]
