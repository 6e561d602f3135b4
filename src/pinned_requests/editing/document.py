"""A policy's text → the same text, changed to say another policy. Comments, order and layout stay.

Rules for the next maintainer:

- What is returned has been read back: an edit that goes wrong is an error here, and never a file.
- Only what differs is touched, so that a reviewer's diff shows the change and nothing else.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pinned_requests.core import policy_text
from pinned_requests.core.errors import PolicyError
from pinned_requests.core.host import HostPattern
from pinned_requests.core.pinset import PIN_LISTS, PinSet, pin_fields, read_pins
from pinned_requests.core.policy import PinPolicy

if TYPE_CHECKING:
    from collections.abc import MutableMapping, MutableSequence, Sequence

    from pinned_requests.core.pin import Pin

MAX_EDITED = 8 << 20  # bytes: tomlkit reads 1 MB a second, and keeps a hundred times the size in memory


def edited(text: str, new: PinPolicy) -> str:
    """Return a policy's text, in TOML or JSON, changed so that it says `new`. Host patterns keep their spelling.

    Raises:
        PolicyError: `text` is not a policy, is larger than `MAX_EDITED`, or cannot be made to say `new`.
        ImportError: the text is TOML, and tomlkit is not installed (extra `cli`).
    """
    if len(text) > MAX_EDITED:
        raise PolicyError(f"the policy is larger than {MAX_EDITED >> 20} MB, and is not edited by a command")
    old = PinPolicy.from_text(text)
    form = _Json() if policy_text.looks_like_json(text) else _Toml()
    document = form.load(text)
    _edit(document, old, new, form)
    result = form.dump(document)
    if not says(result, new):
        raise PolicyError("the policy's text cannot be edited without changing what it says; edit it by hand")
    return result


def says(text: str, policy: PinPolicy) -> bool:
    """Return whether a text says a policy, notes included."""
    try:
        found = PinPolicy.from_text(text)
    except PolicyError:
        return False
    return found == policy and _notes(found) == _notes(policy)


def _notes(policy: PinPolicy) -> dict[tuple[str, Pin], str | None]:
    sets = {name: (*pins.pins, *pins.backup_pins, *pins.blocked_pins) for name, pins in policy.hosts.items()}
    return {(name, pin): pin.note for name, pins in {**sets, "": policy.blocked_pins}.items() for pin in pins}


def _edit(document: MutableMapping[str, Any], old: PinPolicy, new: PinPolicy, form: _Json) -> None:
    if (old.unpinned_hosts, old.report_uri) != (new.unpinned_hosts, new.report_uri):
        raise PolicyError("unpinned_hosts and report_uri are not changed by a command; edit them by hand")
    _edit_pins(document, "blocked_pins", old.blocked_pins, new.blocked_pins, form)
    if old.hosts == new.hosts and _notes(old) == _notes(new):
        return
    if "hosts" not in document:
        document["hosts"] = form.tables()
    hosts: MutableMapping[str, Any] = document["hosts"]
    spelled = {str(HostPattern.parse(name)): name for name in hosts}
    for name in old.hosts.keys() - new.hosts.keys():
        del hosts[spelled[name]]
    for name, pins in new.hosts.items():
        if name not in old.hosts:
            hosts[name] = form.entry(pins, hosts)
        else:
            _edit_entry(hosts, spelled[name], old.hosts[name], pins, form)


def _edit_entry(hosts: MutableMapping[str, Any], name: str, old: PinSet, new: PinSet, form: _Json) -> None:
    if not hasattr(hosts[name], "keys"):  # a pin or a list of them: short for a table with `pins`
        if old.fields() == new.fields():
            return
        hosts[name] = form.fields(old)
    entry: MutableMapping[str, Any] = hosts[name]
    for field in PIN_LISTS:
        _edit_pins(entry, field, getattr(old, field), getattr(new, field), form)
    before, after = old.fields(), new.fields()
    for field in before.keys() | after.keys():
        if field not in PIN_LISTS and before.get(field) != after.get(field):
            raise PolicyError(f"'{field}' is not changed by a command; edit it by hand")


def _edit_pins(
    table: MutableMapping[str, Any], field: str, old: Sequence[Pin], new: Sequence[Pin], form: _Json
) -> None:
    """Make a list of pins say `new`: what is gone is deleted, what is new is appended."""
    wanted = {(pin, pin.note) for pin in new}
    if wanted == {(pin, pin.note) for pin in old}:
        return
    if not new:
        del table[field]
        return
    if not isinstance(table.get(field), list):  # missing, or a single pin
        table[field] = form.pins(new)
        return
    listed: MutableSequence[Any] = table[field]
    plain = [dict(item) if hasattr(item, "keys") else str(item) for item in listed]
    there = [(pin, pin.note) for each in plain for pin in read_pins(field, [each])]  # which drops repeated ones
    for pin in new:  # before others go: a list that was empty in between would lose its layout
        if (pin, pin.note) not in there:
            listed.append(form.pin(pin))
    for at, pinned in reversed([*enumerate(there)]):
        if pinned not in wanted:
            del listed[at]


class _Json:
    """Reads, makes and writes the parts of a JSON document."""

    def load(self, text: str) -> MutableMapping[str, Any]:
        return policy_text.load_json(text)

    def dump(self, document: MutableMapping[str, Any]) -> str:
        return policy_text.dump_json(document)

    def tables(self) -> MutableMapping[str, Any]:
        return {}

    def entry(self, pins: PinSet, _hosts: MutableMapping[str, Any]) -> Any:
        return self.fields(pins)

    def fields(self, pins: PinSet) -> Any:
        return json.loads(policy_text.dump_json(pins.fields()))  # with dates as text

    def pins(self, pins: Sequence[Pin]) -> Any:
        return [self.pin(pin) for pin in pins]

    def pin(self, pin: Pin) -> Any:
        return pin_fields(pin)


class _Toml(_Json):
    """The same for a TOML document with comments, laid out as `PinPolicy.to_toml` does."""

    def __init__(self) -> None:
        import tomlkit  # noqa: PLC0415  for policies that are edited only

        self._kit: Any = tomlkit

    def load(self, text: str) -> Any:
        try:
            return self._kit.parse(text)
        except (self._kit.exceptions.TOMLKitError, RecursionError):  # other parsers have read it
            raise PolicyError("the TOML text cannot be read with its comments; edit it by hand") from None

    def dump(self, document: MutableMapping[str, Any]) -> str:
        try:
            return str(self._kit.dumps(document))
        except self._kit.exceptions.TOMLKitError:
            raise PolicyError("the TOML text cannot be written with its comments; edit it by hand") from None

    def tables(self) -> Any:
        return self._kit.table(is_super_table=True)

    def entry(self, pins: PinSet, hosts: MutableMapping[str, Any]) -> Any:
        if isinstance(hosts, self._kit.items.InlineTable):
            return self.fields(pins)
        table = self._kit.table()
        for name, value in pins.fields().items():
            table[name] = self.pins(getattr(pins, name)) if name in PIN_LISTS else value
        return table

    def fields(self, pins: PinSet) -> Any:
        table = self._kit.inline_table()
        for name, value in pins.fields().items():
            table[name] = [self.pin(pin) for pin in getattr(pins, name)] if name in PIN_LISTS else value
        return table

    def pins(self, pins: Sequence[Pin]) -> Any:
        array = self._kit.array()
        for pin in pins:
            array.add_line(self.pin(pin))
        array.add_line(indent="")
        return array

    def pin(self, pin: Pin) -> Any:
        fields = pin_fields(pin)
        if isinstance(fields, str):
            return fields
        table = self._kit.inline_table()
        table.update(fields)
        return table
