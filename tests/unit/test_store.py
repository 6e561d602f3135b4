"""`PolicyStore`: the policy in force, replaced as a whole or not at all."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from pinned_requests import PinPolicy, PinSet, PolicyError, PolicyStore

OLD = PinPolicy({"api.example.com": PinSet.exempt()})
NEW = PinPolicy({"api.example.com": PinSet.exempt()}, unpinned_hosts="allow")


@pytest.mark.parametrize("given", [OLD, {"api.example.com": PinSet.exempt()}])
def test_the_policy_in_force(given: Any) -> None:
    """A policy, or a mapping that is made one."""
    assert PolicyStore(given).current == OLD


def test_replacing() -> None:
    """The new policy is in force at once."""
    store = PolicyStore(OLD)
    store.set(NEW)
    assert NEW is store.current


@pytest.mark.parametrize(
    "wrong", [None, "api.example.com", [], PolicyStore(OLD), {"*": PinSet.exempt()}, {"a.example": []}]
)
def test_a_wrong_policy_is_refused_and_the_old_one_stays(wrong: Any) -> None:
    """Neither the constructor nor `set` takes what is no policy."""
    with pytest.raises(PolicyError):
        PolicyStore(wrong)
    store = PolicyStore(OLD)
    with pytest.raises(PolicyError):
        store.set(wrong)
    assert OLD is store.current


@pytest.mark.parametrize("again", [lambda s: pickle.loads(pickle.dumps(s)), copy.copy, copy.deepcopy])  # noqa: S301 - our own
def test_pickle_and_copy(again: Any) -> None:
    """The copy holds an equal policy, and goes its own way."""
    store = PolicyStore(OLD)
    other = again(store)
    store.set(NEW)
    assert other.current == OLD
