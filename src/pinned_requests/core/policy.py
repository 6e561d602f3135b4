"""`PinPolicy`: which hosts have a pin set, how unpinned hosts are treated, and which keys no connection may use.

Rules for the next maintainer:

- Only the most specific pattern counts. The pins of two patterns are never combined: a wide pattern would then weaken a
  narrow one.
- A lookup takes a few dictionary look-ups for each label of the host, for any number of patterns.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pinned_requests.core.errors import PolicyError, one_of
from pinned_requests.core.host import HostPattern, normalize_host
from pinned_requests.core.pinset import PIN_LISTS, PinSet, known_fields, pin_fields, read_pins
from pinned_requests.core.text import escape, show
from pinned_requests.core.value import Value

if TYPE_CHECKING:
    from typing import Literal

    from pinned_requests.core.pin import Pin
    from pinned_requests.core.pinset import PinsLike, PinsOf
    from pinned_requests.core.report_uri import ReportURI

    UnpinnedHosts = Literal["block", "allow"]

_FIELDS = ("unpinned_hosts", "report_uri", "blocked_pins", "hosts")
_NO_HOSTS: Mapping[str, PinsLike] = MappingProxyType({})


class PinPolicy(Value):
    """Host patterns with their pins, and how all other hosts are treated. Frozen, hashable.

    Args:
        hosts: host pattern → pins, as `PinSet.of` reads them. `example.com` matches that host alone, `*.example.com`
            names with exactly one more label, `**.example.com` the host and all names below it. `192.0.2.1` and
            `[2001:db8::1]` match that address in any spelling. With `:8443`, each matches on that port only.
        unpinned_hosts: `"block"` or `"allow"`: how hosts that no pattern matches are treated.
        report_uri: absolute http(s) URL that violations are posted to (RFC 7469 §2.1.4) by the `HTTPReporter` that the
            process has for it, or None. This policy must not pin its host, but may exempt it.
        blocked_pins: pins of compromised keys (leaves or CAs) that no connection may use, to any host: pinned,
            unpinned, exempt or report-only. One pin or an iterable. A policy may consist of them alone.

    Raises:
        PolicyError: a pattern, a pin set or an option is invalid, a host is listed twice in two spellings, or the
            policy neither names a host nor blocks a key: it would refuse or unpin every host.
        PinFormatError: a pin cannot be read.

    `*.example.com` does *not* match `example.com`. If several patterns match, only the most specific counts. For
    look-ups, `blocked` is the frozen set of `blocked_pins`.
    """

    blocked: frozenset[Pin]
    blocked_pins: tuple[Pin, ...]
    _file: str | None
    _outdated: str | None
    _hosts: dict[str, PinSet]
    _bases: set[str]  # the hosts of wildcard patterns: `find()` skips the others
    _ports: set[int]  # of the patterns with a port
    _report_uri: ReportURI | None
    _unpinned_hosts: UnpinnedHosts
    __slots__ = tuple(__annotations__)

    def __init__(
        self,
        hosts: Mapping[str, PinsLike] = _NO_HOSTS,
        *,
        unpinned_hosts: UnpinnedHosts = "block",
        report_uri: str | None = None,
        blocked_pins: PinsOf = (),
    ) -> None:
        if type(hosts) is not dict and not isinstance(hosts, Mapping):  # which is slow
            raise PolicyError(f"invalid policy {show(hosts)}; give a mapping of host patterns to pins")
        compromised = read_pins("blocked_pins", blocked_pins)
        self._set(
            blocked_pins=compromised,
            blocked=frozenset(compromised),
            _unpinned_hosts=one_of("unpinned_hosts", unpinned_hosts, ("block", "allow")),
            _report_uri=None if report_uri is None else _read_report_uri(report_uri),
            _file=None,
            _outdated=None,
            _hosts={},
            _bases=set(),
            _ports=set(),
        )
        for spelling, value in hosts.items():
            pattern = HostPattern.parse(spelling)
            name = str(pattern)
            if name in self._hosts:
                other = next(each for each in hosts if str(HostPattern.parse(each)) == name)
                raise PolicyError(f"{show(other)} and {show(spelling)} are the same host; keep one of them")
            if pattern.port is not None:
                self._ports.add(pattern.port)
            if pattern.kind != "exact":
                self._bases.add(pattern.host)
            try:
                self._hosts[name] = PinSet.of(value)
            except PolicyError as e:
                raise type(e)(f"{name}: {e}") from None
        if not self._hosts and not self.blocked:
            raise PolicyError("the policy neither names a host nor blocks a key; add 'hosts' or 'blocked_pins'")
        if self._report_uri is not None:
            self.demand_unpinned(self._report_uri)

    @classmethod
    def from_mapping(
        cls,
        mapping: Mapping[str, PinsLike],
        *,
        unpinned_hosts: UnpinnedHosts = "block",
        report_uri: str | None = None,
        blocked_pins: PinsOf = (),
    ) -> PinPolicy:
        """Return the policy for a mapping of host patterns to pins. The arguments are those of the constructor.

        Raises:
            PolicyError: as the constructor.
            PinFormatError: a pin cannot be read.
        """
        return cls(mapping, unpinned_hosts=unpinned_hosts, report_uri=report_uri, blocked_pins=blocked_pins)

    @classmethod
    def from_toml(cls, text: str | bytes) -> PinPolicy:
        """Return the policy in a TOML text.

        ::

            unpinned_hosts = "block"
            blocked_pins = ["sha256/…"]

            [hosts."api.example.com"]
            pins = ["sha256/…"]
            backup_pins = [{pin = "sha256/…", note = "offline key in safe B"}]
            expires = 2027-03-01T00:00:00Z

        Args:
            text: at most 48 MB; bytes are UTF-8.

        Raises:
            PolicyError: as the constructor, naming host and field; a field is unknown; or the TOML is invalid.
            PinFormatError: a pin cannot be read.
        """
        return cls._of(_policy_text().load_toml(text))

    @classmethod
    def from_json(cls, text: str | bytes) -> PinPolicy:
        """Return the policy in a JSON text: an object with the schema of the TOML form, with dates as text.

        Args:
            text: at most 48 MB; bytes are UTF-8.

        Raises:
            PolicyError: as the constructor, naming host and field; a field is unknown; an object has a name twice; or
                the JSON is invalid.
            PinFormatError: a pin cannot be read.
        """
        return cls._of(_policy_text().load_json(text))

    @classmethod
    def from_text(cls, text: str | bytes) -> PinPolicy:
        """Return the policy in a text: JSON if it starts with `{`, else TOML.

        Raises:
            PolicyError: as `from_json` and `from_toml`.
        """
        return cls.from_json(text) if _policy_text().looks_like_json(text) else cls.from_toml(text)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> PinPolicy:
        """Return the policy in a file: TOML or JSON, by its suffix (`.toml`, `.json`).

        The file is read once; `PolicyStore.from_file` also follows its changes.

        Raises:
            PolicyError: as `from_toml` and `from_json`, naming the file; or it has another suffix.
            PinFormatError: a pin cannot be read.
            OSError: the file cannot be opened or read.
        """
        try:
            place = Path(path)
        except TypeError:
            raise PolicyError(f"invalid path {show(path)}; give the path of a .toml or .json file") from None
        read = {".toml": cls.from_toml, ".json": cls.from_json}.get(place.suffix.lower())
        if read is None:
            raise PolicyError(f"{show(str(place))} has an unknown suffix; give the path of a .toml or .json file")
        try:
            with place.open("rb") as file:
                text = file.read(_policy_text().MAX_SIZE + 1)
            return read(text)._with(_file=str(place))  # noqa: SLF001  of this class
        except ValueError as e:  # a null byte in the path is a plain one
            raise _as_policy_error(e, show(str(place))) from None

    @classmethod
    def from_env(cls, name: str, *, host: str | None = None) -> PinPolicy:
        """Return the policy in an environment variable: JSON if it starts with `{`, else TOML; or bare pins.

        Args:
            name: the variable.
            host: a host pattern. The variable then has the pins of this pattern, in spellings that `Pin.parse` reads,
                separated by commas, semicolons or white space, and the policy blocks all other hosts.

        Raises:
            PolicyError: as `from_toml`, `from_json` and the constructor, naming the variable; or it is not set.
            PinFormatError: a pin cannot be read.
        """
        try:
            text = os.environ.get(name)
        except (TypeError, ValueError):  # not a name that an environment can have
            text = None
        if text is None:
            raise PolicyError(f"the environment variable {show(name)} is not set; set it to a policy")
        try:
            if host is None:
                return cls.from_text(text)
            return cls({host: [pin for pin in re.split(r"[,;\s]+", text) if pin]})
        except PolicyError as e:
            raise _as_policy_error(e, f"the environment variable {show(name)}") from None

    def to_toml(self) -> str:
        """Return the policy as TOML, which `from_toml` reads back to an equal one."""
        text: str = _policy_text().dump_toml(self._document())
        return text

    def to_json(self) -> str:
        """Return the policy as JSON, which `from_json` reads back to an equal one."""
        text: str = _policy_text().dump_json(self._document())
        return text

    def _document(self) -> dict[str, Any]:
        options = {
            "unpinned_hosts": self._unpinned_hosts,
            "report_uri": self.report_uri,
            "blocked_pins": [pin_fields(pin) for pin in self.blocked_pins],
            "hosts": {pattern: pins.fields() for pattern, pins in self._hosts.items()},
        }
        return {name: value for name, value in options.items() if value}

    @classmethod
    def _of(cls, values: Mapping[str, Any]) -> PinPolicy:
        values = known_fields("field of a policy", values, _FIELDS)
        if not isinstance(values.get("hosts", _NO_HOSTS), Mapping):
            raise PolicyError(f"'hosts' is {show(values['hosts'])}; give a table of host patterns and their pins")
        for name, value in values.get("hosts", _NO_HOSTS).items():
            _demand_quotes(name, value)
        return cls(**values)

    @property
    def hosts(self) -> Mapping[str, PinSet]:
        """The host patterns, in canonical spelling, and their pins."""
        return MappingProxyType(self._hosts)

    @property
    def unpinned_hosts(self) -> UnpinnedHosts:
        """How hosts that no pattern matches are treated: `"block"` or `"allow"`."""
        return self._unpinned_hosts

    @property
    def report_uri(self) -> str | None:
        """The URL that violations are posted to, or None."""
        return self._report_uri and self._report_uri.text

    @property
    def file(self) -> str | None:
        """The path that `from_file` read the policy from, for error texts; None for any other policy and a copy."""
        return self._file

    @property
    def outdated(self) -> str | None:
        """Why this policy refuses all hosts that it does not exempt, or None if it is up to date."""
        return self._outdated

    def as_outdated(self, reason: str) -> PinPolicy:
        """Return a copy of this policy that refuses all hosts that it does not exempt, for `reason`."""
        return self._with(_outdated=reason)

    def blocking_unpinned(self) -> PinPolicy:
        """Return this policy with `unpinned_hosts="block"`: unchanged if it blocks them already."""
        return self if self._unpinned_hosts == "block" else self._with(_unpinned_hosts="block")

    def _with(self, **slots: object) -> PinPolicy:
        policy = PinPolicy.__new__(PinPolicy)
        policy._set(**{name: getattr(self, name) for name in self.__slots__} | slots)  # noqa: SLF001  the same class
        return policy

    def lookup(self, host: str, port: int | None = None) -> PinSet | None:
        """Return the pins for a host, or None if no pattern matches.

        Args:
            host: a host name or IP address, in any spelling.
            port: the port of the connection; without one, patterns with a port do not match.

        Raises:
            PolicyError: `host` has no canonical form, or `port` is not an integer.
        """
        _pattern, pins = self.find(normalize_host(host), port) or (None, None)
        return pins

    def find(self, host: str, port: int | None) -> tuple[str, PinSet] | None:
        """Return the pattern that matches a normalized host, in canonical spelling, and its pins; None if none does.

        The exact host comes first, then the pattern with the longest host; `*.` before `**.`, and with a port before
        without.

        Raises:
            PolicyError: the port is not an integer. No pattern with a port would match, and a pinned host might appear
                unpinned.
        """
        if port is not None and type(port) is not int:
            raise PolicyError(f"invalid port {show(port)}; give an integer or None")
        end = f":{port}" if port in self._ports else ""
        if entry := self._entry(f"[{host}]" if ":" in host else host, end):
            return entry
        base = host if self._bases else ""
        prefixes: tuple[str, ...] = ("**.",)
        while base:
            if base in self._bases:
                for prefix in prefixes:
                    if entry := self._entry(prefix + base, end):
                        return entry
            prefixes = ("*.", "**.") if base is host else ("**.",)
            base = base.partition(".")[2]
        return None

    def ports_of(self, host: str) -> tuple[int | None, ...]:
        """Return the ports to look up for a host if the port of the connection is unknown.

        A chain that satisfies the entry for each of them satisfies every entry that the policy has for the host.

        Args:
            host: a host name or IP address, in any spelling.

        Returns:
            The ports of the patterns that match the host, and None for all other ports, if `find()` has an entry for
            those or no pattern has a port.
        """
        if not self._ports:
            return (None,)
        try:
            name = normalize_host(host)
        except PolicyError:
            return (None,)
        named = [port for port in sorted(self._ports) if (e := self.find(name, port)) and e[0].endswith(f":{port}")]
        return (*named, None) if not named or self.find(name, None) else tuple(named)

    def _entry(self, pattern: str, end: str) -> tuple[str, PinSet] | None:
        if end and (pins := self._hosts.get(pattern + end)) is not None:
            return pattern + end, pins
        return None if (pins := self._hosts.get(pattern)) is None else (pattern, pins)

    def demand_unpinned(self, uri: ReportURI) -> None:
        """Check that a report URI is not on a pinned host: a wrong pin would also stop the report about it.

        Raises:
            PolicyError: the host has an entry that is not exempt.
        """
        pattern, pins = self.find(uri.host, uri.port) or (None, None)
        if pins is not None and not pins.is_exempt:
            raise PolicyError(
                f"'report_uri' is on {uri.host}, which {pattern} pins: a wrong pin could not be reported; "
                "report to another host, or exempt this one"
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PinPolicy):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash((frozenset(self._hosts.items()), *self._key()[1:]))

    def __repr__(self) -> str:
        blocks = f", {len(self.blocked)} blocked pins" if self.blocked else ""
        to = f", reports to {self._report_uri.host}:{self._report_uri.port}" if self._report_uri else ""
        return f"<PinPolicy of {len(self._hosts)} host patterns, unpinned_hosts={self._unpinned_hosts!r}{blocks}{to}>"

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (self._hosts, self._unpinned_hosts, self.report_uri, self._outdated, self.blocked_pins)

    def _key(self) -> tuple[object, ...]:
        return self._hosts, self._unpinned_hosts, self.report_uri, self._outdated, self.blocked


def _policy_text() -> Any:
    """Return the module for TOML and JSON, imported at first use: many policies are a mapping in a program."""
    from pinned_requests.core import policy_text  # noqa: PLC0415  see above

    return policy_text


def _read_report_uri(text: str) -> ReportURI:
    from pinned_requests.core.report_uri import ReportURI  # noqa: PLC0415  few policies have one

    return ReportURI.parse(text)


def _as_policy_error(error: ValueError, where: str) -> PolicyError:
    """Return `error` as a `PolicyError` that starts with where it happened. A subclass stays one."""
    return (type(error) if isinstance(error, PolicyError) else PolicyError)(f"{where}: {error}")


def _restore(
    hosts: Mapping[str, PinSet],
    unpinned_hosts: UnpinnedHosts,
    report_uri: str | None,
    outdated: str | None,
    blocked_pins: tuple[Pin, ...],
) -> PinPolicy:
    policy = PinPolicy(hosts, unpinned_hosts=unpinned_hosts, report_uri=report_uri, blocked_pins=blocked_pins)
    return policy if outdated is None else policy.as_outdated(outdated)


def _demand_quotes(name: str, value: object) -> None:
    """Refuse a host without quotes: to TOML the dots of `[hosts.api.example.com]` are tables in tables."""
    labels = [name]
    while isinstance(value, Mapping):
        tables = ((key, each) for key, each in value.items() if isinstance(each, Mapping) and key not in PIN_LISTS)
        key, value = next(tables, ("", None))
        if value is not None:
            labels.append(str(key))
    if len(labels) > 1:
        dotted = escape(".".join(labels))
        raise PolicyError(f'[hosts.{dotted}] has no quotes, and names another host; quote the host: [hosts."{dotted}"]')
