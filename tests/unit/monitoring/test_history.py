"""What is learned of hosts over time: two years of renewals, as real clients of CAs make them."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import random
from typing import TYPE_CHECKING, NamedTuple

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from pinned_requests import Pin, PolicyError
from pinned_requests.core.chain import see_certificate
from pinned_requests.monitoring.findings import INTERMEDIATE, LEAF, ROOT, PinUse
from pinned_requests.monitoring.history import (
    CHANGES,
    KEPT,
    ROTATES,
    SOMETIMES,
    UNKNOWN,
    History,
    Learned,
    Seen,
    learn,
    of_history,
)
from pinned_requests.testing import Authority

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pinned_requests.core.chain import SeenCertificate
    from pinned_requests.testing import Credential

START = dt.datetime(2027, 3, 1, 6, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
CLIENT_AGE = 90 * DAY


def pin(number: int) -> str:
    """A pin of its own for each number."""
    return str(Pin("spki", number.to_bytes(32, "big")))


def chain_of(credential: Credential) -> tuple[SeenCertificate, ...]:
    """The chain that a client sees."""
    return tuple(see_certificate(each.public_bytes(Encoding.DER)) for each in credential.chain)


class Operator(NamedTuple):
    """How a host gets its certificates.

    Attributes:
        lifetime: days that a certificate is valid.
        renews_after: days after which it is renewed.
        reuses_key: whether the key stays.
        issuers: numbers of the intermediates that the CA picks from.
    """

    lifetime: int
    renews_after: int
    reuses_key: bool
    issuers: tuple[int, ...]


OPERATORS = {
    "Let's Encrypt, 64 days, certbot": Operator(64, 43, reuses_key=False, issuers=(1,)),
    "Let's Encrypt, 64 days, certbot --reuse-key": Operator(64, 43, reuses_key=True, issuers=(1,)),
    "Let's Encrypt, 6 days": Operator(6, 3, reuses_key=False, issuers=(1,)),
    "Let's Encrypt, 6 days, --reuse-key": Operator(6, 3, reuses_key=True, issuers=(1,)),
    "cert-manager 1.18, rotationPolicy: Always": Operator(90, 60, reuses_key=False, issuers=(1,)),
    "cert-manager, rotationPolicy: Never": Operator(90, 60, reuses_key=True, issuers=(1,)),
    "a CA with many intermediates": Operator(47, 30, reuses_key=True, issuers=(1, 2, 3, 4)),
}


def history_of(operator: Operator, renewals: int, choose: random.Random, every: float = 0.5) -> list[Seen]:
    """Return what a check sees that runs every so many days, until the last of the renewals was seen."""
    issued = []
    for number in range(renewals + 1):
        begins = START + number * operator.renews_after * DAY - dt.timedelta(hours=1)  # as Let's Encrypt backdates
        issuer = choose.choice(operator.issuers)
        key_number = 1000 if operator.reuses_key else 1000 + number
        issued.append((begins, Pin("cert", (5000 + number).to_bytes(32, "big")), pin(key_number), pin(issuer)))
    seen: list[Seen] = []
    for at in itertools.count():
        now = START + (1 + at * every) * DAY  # the first check comes a day after the first certificate
        begins, certificate, key, issuer_pin = [each for each in issued if each[0] <= now][-1]
        if seen and seen[-1].certificate == str(certificate):
            seen[-1] = seen[-1]._replace(last_seen=now)
        else:
            ends = begins + operator.lifetime * DAY
            seen.append(Seen(str(certificate), key, issuer_pin, begins, ends, now, now))
        if len(seen) == renewals + 1 or at > 10_000:
            return seen
    raise AssertionError


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("seed", range(8))
def test_classified_after_two_renewals(name: str, seed: int) -> None:
    """Whether the key survives, whether the issuer does, and how long the certificates live."""
    operator = OPERATORS[name]
    seen = history_of(operator, 2, random.Random(seed))  # noqa: S311  a choice of intermediates
    learned = learn(seen)
    assert learned is not None
    assert (learned.renewals, learned.lifetime) == (2, operator.lifetime * DAY)
    assert learned.key == (KEPT if operator.reuses_key else CHANGES)
    # A CA with four of them picks the same thrice in one of sixteen cases, and then nothing has been seen of it.
    has_changed = len({each.issuer for each in seen}) > 1
    assert learned.issuer == (ROTATES if has_changed else KEPT)
    assert (learned.issuer_changed is not None) is has_changed


def test_intermediates_that_are_picked_at_random() -> None:
    """Of a hundred hosts of such a CA nearly all are known after two renewals, and all after six."""
    operator = OPERATORS["a CA with many intermediates"]
    for renewals, least in ((2, 85), (6, 100)):
        found = [learn(history_of(operator, renewals, random.Random(seed))) for seed in range(100)]  # noqa: S311
        assert sum(each is not None and each.issuer == ROTATES for each in found) >= least


@pytest.mark.parametrize("name", OPERATORS)
def test_the_classification_stays(name: str) -> None:
    """Over many more renewals, also where checks are rarer than those."""
    operator = OPERATORS[name]
    for every in (0.5, 7):
        learned = learn(history_of(operator, 12, random.Random(1), every))  # noqa: S311  as above
        assert learned is not None
        assert learned.key == (KEPT if operator.reuses_key else CHANGES)


@pytest.mark.parametrize("renewals", [0, 1])
def test_nothing_is_concluded_from_less(renewals: int) -> None:
    """One renewal may be an accident."""
    learned = learn(history_of(OPERATORS["Let's Encrypt, 6 days"], renewals, random.Random(1)))  # noqa: S311  as above
    assert learned is not None
    assert (learned.renewals, learned.key, learned.issuer) == (renewals, UNKNOWN, UNKNOWN)
    assert learn([]) is None


def test_several_servers_of_a_name_are_no_renewals() -> None:
    """Those that were there from the beginning each have a key of their own; when they keep it, it is kept."""
    lifetime = 64 * DAY
    seen = [
        Seen(str(Pin("cert", bytes([at]) * 32)), pin(at), pin(1), START - at * DAY, START + lifetime, START, START)
        for at in range(4)
    ]
    learned = learn(seen)
    assert learned is not None
    assert (learned.renewals, learned.key) == (0, UNKNOWN)
    later = START + 43 * DAY
    for at in range(4):
        renewed = Pin("cert", bytes([at + 100]) * 32)
        seen.append(Seen(str(renewed), pin(at), pin(1), later, later + lifetime, later, later))
    learned = learn(seen)
    assert learned is not None
    assert (learned.renewals, learned.key, learned.issuer) == (4, KEPT, KEPT)


def test_a_server_that_is_met_late_is_no_renewal() -> None:
    """Its certificate is older than the history."""
    first = Seen(str(Pin("cert", bytes(32))), pin(1), pin(9), START, START + 64 * DAY, START + DAY, START + DAY)
    late = first._replace(certificate=str(Pin("cert", bytes([1]) * 32)), key=pin(2), first_seen=START + 9 * DAY)
    learned = learn([first, late])
    assert learned is not None
    assert learned.renewals == 0


def test_a_key_that_is_changed_at_times() -> None:
    """As once a year, by hand."""
    seen = history_of(OPERATORS["Let's Encrypt, 64 days, certbot --reuse-key"], 4, random.Random(1))  # noqa: S311
    seen[-1] = seen[-1]._replace(key=pin(7))
    learned = learn(seen)
    assert learned is not None
    assert learned.key == SOMETIMES


def kinds(learned: Learned, *roles: str, keys: tuple[str, ...] = ()) -> list[str]:
    """Kinds of findings for pins in these roles that match, and one in reserve."""
    uses = [
        PinUse(Pin("spki", bytes([at + 1]) * 32), is_backup=False, depth=at, role=role) for at, role in enumerate(roles)
    ]
    uses.append(PinUse(Pin.parse(pin(99)), is_backup=True))
    return [each.kind for each in of_history(learned, uses, keys, CLIENT_AGE)]


def test_findings_for_the_leaf_alone() -> None:
    """A key that changes locks out who pins the leaf alone; so may the first renewal of one that lives shortly."""
    changing = Learned(2, CHANGES, KEPT, None, 6 * DAY)
    assert kinds(changing, LEAF) == ["key-changes-each-renewal", "validity-short"]
    assert kinds(changing, LEAF, INTERMEDIATE) == []
    assert kinds(changing, ROOT) == []
    assert kinds(changing._replace(lifetime=100 * DAY), LEAF) == ["key-changes-each-renewal"]
    assert kinds(changing._replace(key=KEPT), LEAF) == []
    assert kinds(Learned(0, UNKNOWN, UNKNOWN, None, 64 * DAY), LEAF) == ["validity-short"]
    assert kinds(Learned(0, UNKNOWN, UNKNOWN, None, 200 * DAY), LEAF) == []


def test_a_key_that_has_just_changed() -> None:
    """Nothing matches then, but the history knows that the pin was of a leaf's key."""
    assert kinds(Learned(2, CHANGES, KEPT, None, 100 * DAY)) == []
    assert kinds(Learned(2, CHANGES, KEPT, None, 100 * DAY), keys=(pin(99),)) == ["key-changes-each-renewal"]


def test_findings_for_intermediates_alone() -> None:
    """They are replaced; a root, or a leaf's key that stays, outlasts them."""
    rotating = Learned(2, KEPT, ROTATES, START, 47 * DAY)
    assert kinds(rotating, INTERMEDIATE) == ["issuer-rotates"]
    assert kinds(rotating, INTERMEDIATE, ROOT) == []
    assert kinds(rotating, LEAF, INTERMEDIATE) == []
    assert kinds(rotating._replace(key=CHANGES), LEAF, INTERMEDIATE) == ["issuer-rotates"]
    assert kinds(rotating._replace(issuer=KEPT), INTERMEDIATE) == []


def test_a_state_file(tmp_path: Path) -> None:
    """What was observed is read back; the certificate is noted once, with when it was last seen."""
    leaf = Authority.create("Example CA").issue("api.example.com")
    chain = chain_of(leaf)
    history = History(authorities={chain[1].spki_pin: "CN=Example CA"})
    for days in (0, 5):
        history.observe("api.example.com:443", chain, START + days * DAY)
    path = tmp_path / "state.json"
    history.write(path)
    again = History.read(path)
    assert (again.hosts, again.authorities) == (history.hosts, history.authorities)
    [seen] = again.hosts["api.example.com:443"]
    assert (seen.key, seen.issuer) == (str(chain[0].spki_pin), str(chain[1].spki_pin))
    assert (seen.first_seen, seen.last_seen) == (START, START + 5 * DAY)
    assert History.read(tmp_path / "missing.json").hosts == {}
    assert again.keys("api.example.com:443") == {str(chain[0].spki_pin)}


def test_the_file_stays_small(tmp_path: Path) -> None:
    """Of a host the newest certificates are kept."""
    history = History()
    history.hosts["a:443"] = history_of(OPERATORS["Let's Encrypt, 6 days"], 15, random.Random(1))  # noqa: S311
    assert len(history.hosts["a:443"]) == 16
    leaf = Authority.create("Example CA").issue("a")
    history.observe("a:443", chain_of(leaf), START + 400 * DAY)
    assert len(history.hosts["a:443"]) == 16
    history.write(tmp_path / "state.json")
    assert (tmp_path / "state.json").stat().st_size < 16_000


def damaged() -> Iterator[str]:
    """Texts that are no state file."""
    good = {"version": 1, "hosts": {}, "authorities": {}}
    seen = {
        "certificate": str(Pin("cert", bytes(32))),
        "key": pin(1),
        "issuer": None,
        **dict.fromkeys(("not_before", "not_after", "first_seen", "last_seen"), "2027-01-01T00:00:00Z"),
    }
    assert History._of({**good, "hosts": {"a:443": [seen]}}).hosts
    yield from ("", "[]", "{", "null", "1", "[" * 100_000)
    for change in (
        {"version": 2},
        {"hosts": None},
        {"hosts": {"a:443": [1]}},
        {"hosts": {"a:443": [{**seen, "key": "x"}]}},
        {"hosts": {"a:443": [{**seen, "issuer": 5}]}},
        {"hosts": {"a:443": [{**seen, "not_after": "2027-01-01"}]}},
        {"hosts": {"a:443": [{**seen, "not_after": 5}]}},
        {"authorities": {"x": "y"}},
        {"authorities": ["x"]},
    ):
        yield json.dumps({**good, **change})


@pytest.mark.parametrize("text", [*damaged()])
def test_a_damaged_state_file(tmp_path: Path, text: str) -> None:
    """It is an error: to begin again would lose the past."""
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(PolicyError, match="state"):
        History.read(path)
    assert path.read_text() == text
