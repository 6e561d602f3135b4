"""A policy's text → the same text, changed to say another policy. Comments, order and layout stay.

Rules for the next maintainer:

- What is returned has been read back and equals the policy that was wanted. An edit that goes wrong is an error here,
  and never a file.
- Only what differs is touched. A reviewer's diff shows the change and nothing else.
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
    from collections.abc import Mapping, MutableMapping, MutableSequence, Sequence

    from pinned_requests.core.pin import Pin

MAX_EDITED = 8 << 20  # bytes: tomlkit reads 1 MB a second, and keeps a hundred times the size in memory


def edited(text: str, new: PinPolicy) -> str:
    """Return `text` changed so that it says `new`.

    Args:
        text: a policy in TOML or JSON (if it begins with `{`).
        new: the policy to say. Host patterns that `text` spells in another way keep their spelling.

    Raises:
        PolicyError: `text` is not a policy, is larger than `MAX_EDITED`, or cannot be made to say `new`.
        ImportError: the text is TOML, and tomlkit is not installed (extra `cli`).
    """
    if len(text) > MAX_EDITED:
        raise PolicyError(f"the policy is larger than {MAX_EDITED >> 20} MB, and is not edited by a command")
    old = PinPolicy.from_text(text)
    is_json = policy_text.looks_like_json(text)
    document = policy_text.load_json(text) if is_json else _load_toml(text)
    write: _Writer = _Writer() if is_json else _TomlWriter()
    _edit(document, old, new, write)
    result = policy_text.dump_json(document) if is_json else _dump_toml(document)
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


def _edit(document: MutableMapping[str, Any], old: PinPolicy, new: PinPolicy, write: _Writer) -> None:
    if (old.unpinned_hosts, old.report_uri) != (new.unpinned_hosts, new.report_uri):
        raise PolicyError("unpinned_hosts and report_uri are not changed by a command; edit them by hand")
    _edit_pins(document, "blocked_pins", old.blocked_pins, new.blocked_pins, write)
    if old.hosts == new.hosts and _notes(old) == _notes(new):
        return
    if "hosts" not in document:
        document["hosts"] = write.tables()
    hosts: MutableMapping[str, Any] = document["hosts"]
    spelled = {str(HostPattern.parse(name)): name for name in hosts}
    for name in old.hosts.keys() - new.hosts.keys():
        del hosts[spelled[name]]
    for name, pins in new.hosts.items():
        if name not in old.hosts:
            hosts[name] = write.entry(pins, hosts)
        else:
            _edit_entry(hosts, spelled[name], old.hosts[name], pins, write)


def _edit_entry(hosts: MutableMapping[str, Any], name: str, old: PinSet, new: PinSet, write: _Writer) -> None:
    if not hasattr(hosts[name], "keys"):  # a pin or a list of them: short for a table with `pins`
        if old.fields() == new.fields():
            return
        hosts[name] = write.fields(old)
    entry: MutableMapping[str, Any] = hosts[name]
    for field in PIN_LISTS:
        _edit_pins(entry, field, getattr(old, field), getattr(new, field), write)
    before, after = old.fields(), new.fields()
    for field in before.keys() | after.keys():
        if field not in PIN_LISTS and before.get(field) != after.get(field):
            raise PolicyError(f"'{field}' is not changed by a command; edit it by hand")


def _edit_pins(
    table: MutableMapping[str, Any], field: str, old: Sequence[Pin], new: Sequence[Pin], write: _Writer
) -> None:
    """Make a list of pins say `new`: what is gone is deleted, what is new is appended."""
    wanted = {(pin, pin.note) for pin in new}
    if wanted == {(pin, pin.note) for pin in old}:
        return
    if not new:
        del table[field]
        return
    if not isinstance(table.get(field), list):  # missing, or a single pin
        table[field] = write.pins(new)
        return
    listed: MutableSequence[Any] = table[field]
    there = [(pin, pin.note) for item in listed for pin in read_pins(field, [_plain(item)])]
    # New ones first: a list that was empty in between would lose its layout.
    write.append(listed, [pin for pin in new if (pin, pin.note) not in there])
    for at in range(len(there) - 1, -1, -1):
        if there[at] not in wanted:
            del listed[at]


def _plain(item: Any) -> Any:
    return dict(item) if hasattr(item, "keys") else str(item)


class _Writer:
    """Makes the parts of a JSON document."""

    def tables(self) -> MutableMapping[str, Any]:
        return {}

    def entry(self, pins: PinSet, _hosts: MutableMapping[str, Any]) -> Any:
        return self.fields(pins)

    def fields(self, pins: PinSet) -> Any:
        return json.loads(policy_text.dump_json(pins.fields()))  # with dates as text

    def pins(self, pins: Sequence[Pin]) -> Any:
        return [pin_fields(pin) for pin in pins]

    def append(self, listed: MutableSequence[Any], pins: Sequence[Pin]) -> None:
        listed.extend(pin_fields(pin) for pin in pins)


class _TomlWriter(_Writer):
    """Makes the parts of a TOML document, laid out as `PinPolicy.to_toml` does."""

    def tables(self) -> Any:
        import tomlkit  # noqa: PLC0415  for policies that are edited only

        return tomlkit.table(is_super_table=True)

    def entry(self, pins: PinSet, hosts: MutableMapping[str, Any]) -> Any:
        import tomlkit  # noqa: PLC0415  as above

        if isinstance(hosts, tomlkit.items.InlineTable):
            return self.fields(pins)
        table = tomlkit.table()
        for name, value in pins.fields().items():
            table[name] = self.pins(getattr(pins, name)) if name in PIN_LISTS else value
        return table

    def fields(self, pins: PinSet) -> Any:
        import tomlkit  # noqa: PLC0415  as above

        table = tomlkit.inline_table()
        for name, value in pins.fields().items():
            table[name] = [_item(pin_fields(pin)) for pin in getattr(pins, name)] if name in PIN_LISTS else value
        return table

    def pins(self, pins: Sequence[Pin]) -> Any:
        import tomlkit  # noqa: PLC0415  as above

        array = tomlkit.array()
        for pin in pins:
            array.add_line(_item(pin_fields(pin)))
        array.add_line(indent="")
        return array

    def append(self, listed: MutableSequence[Any], pins: Sequence[Pin]) -> None:
        for pin in pins:
            listed.append(_item(pin_fields(pin)))


def _item(fields: str | Mapping[str, str]) -> Any:
    import tomlkit  # noqa: PLC0415  for policies that are edited only

    if isinstance(fields, str):
        return fields
    table = tomlkit.inline_table()
    table.update(fields)
    return table


def _load_toml(text: str) -> MutableMapping[str, Any]:
    import tomlkit  # noqa: PLC0415  for policies that are edited only
    from tomlkit.exceptions import TOMLKitError  # noqa: PLC0415  as above

    try:
        return tomlkit.parse(text)
    except (TOMLKitError, RecursionError):  # other parsers have read it
        raise PolicyError("the TOML text cannot be read with its comments; edit it by hand") from None


def _dump_toml(document: MutableMapping[str, Any]) -> str:
    import tomlkit  # noqa: PLC0415  for policies that are edited only
    from tomlkit.exceptions import TOMLKitError  # noqa: PLC0415  as above

    try:
        return tomlkit.dumps(document)
    except TOMLKitError:
        raise PolicyError("the TOML text cannot be written with its comments; edit it by hand") from None
