"""What `pinned-requests repo` lets go out and what it refuses, with live servers; and what `status` says over https."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pinned_requests import Pin, PinPolicy, PinSet
from pinned_requests.cli import main
from pinned_requests.testing import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pinned_requests.testing import Request, TLSServer
    from support.lab import Lab

A, B, C, D = (f"sha256/{letter * 42}A=" for letter in "ABCD")
HOST = "api.example.com"


class Ran:
    """How a command went."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def document(self) -> Any:
        """What it printed as JSON."""
        return json.loads(self.out)


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run `pinned-requests repo` in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Ran:
        code = main(["repo", *map(str, arguments)])
        return Ran(code, *capsys.readouterr())

    assert run("init", "repository", "--keys", "keys", "--plain").code == 0
    return run


@pytest.fixture
def publish(repo: Callable[..., Ran]) -> Callable[..., Ran]:
    """Publish a policy in the shape of a file."""

    def run(hosts: Mapping[str, object], *arguments: object, **options: Any) -> Ran:
        Path("pins.json").write_text(json.dumps({"hosts": hosts, **options}))
        return repo("publish", "repository", "pins.json", "--keys", "keys", *arguments)

    return run


def published() -> PinPolicy | None:
    """Return the policy of the newest targets."""
    targets = [*Path("repository/targets").glob("*")]
    newest = max(targets, key=lambda path: path.stat().st_mtime_ns, default=None)
    return None if newest is None else PinPolicy.from_json(newest.read_bytes())


LOCKS_OUT = [
    ({HOST: {"pins": [A]}}, f"{HOST}: it has one pin"),
    ({HOST: {"pins": [A, B], "expires": "2020-01-01T00:00:00Z"}}, f"{HOST}: its pins expired at 2020-01-01"),
    ({HOST: {"pins": [C, D]}}, f"{HOST}: no pin is in the published policy"),
    ({"other.example": {"pins": [A, B]}}, f"{HOST}: the new policy does not name it"),
    ({HOST: {"pins": [A, B], "blocked_pins": [A, B]}}, f"{HOST}: all its pins are blocked"),
]


@pytest.mark.parametrize(("hosts", "sentence"), LOCKS_OUT)
def test_a_policy_that_locks_out_is_refused(
    publish: Callable[..., Ran], hosts: dict[str, object], sentence: str
) -> None:
    """With 1 and a sentence that names the host. Nothing is written; with `--force` it goes out."""
    first = {HOST: {"pins": [A, B]}}
    assert publish(first).code == 0
    done = publish(hosts)
    assert done.code == 1
    assert done.err.startswith(f"pinned-requests: {sentence}")
    assert done.err.endswith("nothing is published; mend the policy, or publish all the same with --force\n")
    assert published() == PinPolicy(first)
    forced = publish(hosts, "--force")
    assert (forced.code, sentence in forced.err) == (0, True)
    assert published() != PinPolicy(first)


def test_what_changes_is_shown(publish: Callable[..., Ran]) -> None:
    """For people, with what is doubtful; for machines, all of it as JSON alone."""
    publish({HOST: {"pins": [A, B]}})
    done = publish({HOST: {"pins": [B, C]}, "**.cdn.example": {"pins": [A, B]}})
    assert done.code == 0
    assert f"{HOST} (changed)\n  lost pins: {A}\n  gained pins: {C}\n" in done.out
    assert "**.cdn.example (gained)\n" in done.out
    assert "wide-pattern" in done.out
    assert publish({HOST: {"pins": [B, C]}, "**.cdn.example": {"pins": [A, B]}}).out.startswith(
        "The published policy is the same.\n"
    )
    refused = publish({HOST: {"pins": [C]}, "**.cdn.example": {"pins": [A, B]}}, "--json")
    document = refused.document
    assert (refused.code, document["published"], document["version"]) == (1, False, None)
    assert [(each["place"], each["kind"]) for each in document["lockouts"]] == [(HOST, "no-backup-pin")]
    assert document["difference"]["hosts"]["changed"] == {HOST: [{"field": "pins", "old": B, "new": None}]}
    assert [each["kind"] for each in document["doubts"]] == ["wide-pattern"]
    assert publish({HOST: {"pins": [C, D]}, "**.cdn.example": {"pins": [A, B]}}, "--json").document["version"] == 5


def test_a_damaged_publication_is_not_compared(publish: Callable[..., Ran]) -> None:
    """It is said, and replaced only by force: the comparison is missing."""
    publish({HOST: {"pins": [A, B]}})
    (path,) = Path("repository/targets").glob("*")
    path.write_text("{}")
    done = publish({HOST: {"pins": [A, C]}})
    assert (done.code, "the published policy cannot be read" in done.err) == (1, True)
    assert publish({HOST: {"pins": [A, C]}}, "--force").code == 0


class Live:
    """A server with the honest key, and policies for it that are published after a look."""

    def __init__(self, lab: Lab, publish: Callable[..., Ran]) -> None:
        self._publish, self._with_bundle = publish, ("--live", "--ca-bundle", lab.bundle)
        self.server = lab.serve(lab.honest)
        self.host = f"localhost:{self.server.port}"
        self.key = str(lab.pins["localhost"][0])

    def publish(self, *pins: str, looks: bool = True, **options: Any) -> Ran:
        """Publish a policy with these pins."""
        return self._publish({self.host: {"pins": pins}}, *(self._with_bundle if looks else ()), **options)


@pytest.fixture
def live(lab: Lab, publish: Callable[..., Ran]) -> Live:
    """Run a server with the honest key, and publish policies for it after a look."""
    return Live(lab, publish)


def test_live_servers_have_a_key_of_both_policies(live: Live) -> None:
    """The way of a rotation: each step goes out as long as the server's key is in the policy before and after it."""
    assert live.publish(live.key, A).code == 0
    assert live.publish(live.key, B).code == 0
    wrong = live.publish(A, B)
    assert wrong.code == 1
    assert f"{live.host}: it presents none of the pins of the new policy (its leaf is {live.key})" in wrong.err
    assert live.publish(A, B, looks=False).code == 0  # who does not look does not see it
    cure = live.publish(B, live.key)
    assert cure.code == 1
    assert f"{live.host}: it presents none of the pins of the published policy" in cure.err
    assert not live.server.application_bytes


def test_a_blocked_key_that_is_served_is_not_published(live: Live) -> None:
    """Before a key is blocked the server has to have another."""
    done = live.publish(A, live.key, blocked_pins=[live.key, B])
    assert done.code == 1
    assert f"{live.host}: it presents {live.key}, which the new policy blocks" in done.err


def test_a_leaf_of_the_new_policy_below_an_issuer_of_the_old(lab: Lab, live: Live) -> None:
    """Policies without a pin in common go out where a look proves that one chain satisfies both."""
    issuer = str(Pin.from_certificate(lab.root.certificate))
    assert live.publish(issuer, A).code == 0
    assert live.publish(live.key, B, looks=False).code == 1
    assert live.publish(live.key, B).code == 0


def test_a_server_that_is_down_is_not_passed(live: Live) -> None:
    """What cannot be checked is refused, with the reason."""
    live.server.stop()
    done = live.publish(live.key, A)
    assert done.code == 1
    assert f"{live.host}: it cannot be checked: " in done.err


def test_more_key_folders_than_keys(repo: Callable[..., Ran], tmp_path: Path) -> None:
    """Two holders and one key: `init` says that the second has none, and makes nothing."""
    done = repo("init", "other", "--keys", "alice", "--keys", "bob", "--plain")
    assert done.code == 2
    assert "bob would get no key" in done.err
    assert not [name for name in ("other", "alice", "bob") if (tmp_path / name).exists()]


def test_a_proposal_is_reviewed_by_everybody(repo: Callable[..., Ran], publish: Callable[..., Ran]) -> None:
    """Who proposes and who merges are refused what locks out; the signer sees it."""
    publish({HOST: {"pins": [A, B]}})
    Path("next.toml").write_text(f'[hosts."{HOST}"]\npins = ["{A}"]\n')
    propose = ("propose", "repository", "next.json", "--policy", "next.toml")
    refused = repo(*propose)
    assert (refused.code, f"{HOST}: it has one pin" in refused.err, Path("next.json").exists()) == (1, True, False)
    assert repo(*propose, "--force").code == 0
    signed = repo("sign", "repository", "next.json", "--keys", "keys")
    assert (signed.code, f"{HOST}: it has one pin" in signed.err) == (0, True)
    assert f"{HOST} (changed)\n  lost pins: {B}\n" in signed.out
    merge = ("merge", "repository", "next.json", "--keys", "keys")
    assert repo(*merge).code == 1
    assert published() == PinPolicy({HOST: [A, B]})
    document = repo(*merge, "--force", "--json").document
    assert (document["published"], document["versions"]["targets"]) == (True, 3)
    assert repo(*merge, "--force").code == 1  # it is of the past


def served(lab: Lab, forged: dict[str, bytes]) -> TLSServer:
    """Serve the repository over https."""

    def answer(request: Request) -> Response:
        path = Path("repository") / request.path.lstrip("/")
        if request.path in forged:
            return Response(body=forged[request.path])
        return Response(body=path.read_bytes()) if path.is_file() else Response(404)

    return lab.serve(lab.honest, handler=answer)


def test_status_over_https(
    lab: Lab, repo: Callable[..., Ran], publish: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a client sees it: with certificates checked, and with every signature."""
    publish({HOST: {"pins": [A, B]}})
    forged: dict[str, bytes] = {}
    server = served(lab, forged)
    url, root = server.url("/"), "repository/metadata/1.root.json"
    untrusted = repo("status", url)
    assert (untrusted.code, server.application_bytes) == (1, 0)
    assert repo("status", url, "--ca-bundle", lab.bundle).code == 0
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", lab.bundle)
    for arguments in ((url,), (url, "--root", root), ("repository",)):
        assert repo("status", *arguments).code == 0
    document = repo("status", url, "--json").document
    assert PinPolicy.from_json(document["policies"]["pins.json"]["policy"]) == PinPolicy({HOST: [A, B]})
    assert document["roles"]["targets"]["keys"][0]["holder"] == "keys"
    forged["/metadata/timestamp.json"] = Path("repository/metadata/timestamp.json").read_bytes().replace(b'"', b"'", 1)
    assert repo("status", url).code == 1
    assert repo("status", "http://127.0.0.1:9/").code == 1
    assert repo("status", f"{url}?x").code == 2


def test_status_says_what_expires(repo: Callable[..., Ran], publish: Callable[..., Ran]) -> None:
    """With 1 and the name of the host, without a key at hand; a folder without a repository is 2."""
    soon = (datetime.now(UTC) + timedelta(days=10)).replace(microsecond=0)
    publish({HOST: {"pins": [A, B], "expires": soon.isoformat()}})
    Path("keys").rename("elsewhere")
    done = repo("status", "repository")
    assert (done.code, done.err.startswith(f"pinned-requests: the pins of {HOST} expire on {soon:%Y-%m-%d}")) == (
        1,
        True,
    )
    assert (repo("status", "repository", "--json").code, repo("status", "nothing").code) == (1, 2)


def test_a_signer_needs_no_folder_but_the_url(lab: Lab, repo: Callable[..., Ran], publish: Callable[..., Ran]) -> None:
    """On a machine of their own: propose and sign over https, with the root that they trust."""
    publish({HOST: {"pins": [A, B]}})
    url, root = served(lab, {}).url(), "repository/metadata/1.root.json"
    Path("next.json.toml").write_text(PinPolicy({HOST: [A, B], "b.example": PinSet.exempt()}).to_toml())
    trusting = ("--root", root, "--ca-bundle", lab.bundle)
    assert repo("propose", url, "next.json", "--policy", "next.json.toml", *trusting).code == 0
    assert repo("sign", url, "next.json", "--keys", "keys", *trusting).code == 0
    assert repo("merge", "repository", "next.json", "--keys", "keys").code == 0
    assert "b.example" in (published() or PinPolicy({})).hosts


def test_a_signer_trusts_the_root_that_they_have(
    lab: Lab, repo: Callable[..., Ran], publish: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repository of an attacker's in the place of theirs is found out before anything is signed."""
    publish({HOST: {"pins": [A, B]}})
    Path("repository/metadata/1.root.json").rename("root.json")
    Path("repository").rename("ours")
    assert repo("init", "repository", "--keys", "mallory", "--plain").code == 0
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", lab.bundle)
    url = served(lab, {}).url()
    Path("next.toml").write_text(PinPolicy({HOST: [C, D]}).to_toml())
    assert repo("propose", url, "next.json", "--policy", "next.toml").code == 0
    before = Path("next.json").read_bytes()
    assert repo("sign", url, "next.json", "--keys", "mallory", "--root", "root.json").code == 1
    assert Path("next.json").read_bytes() == before


def test_a_signer_remembers_the_repository(repo: Callable[..., Ran], publish: Callable[..., Ran]) -> None:
    """With the first signature; another one in its place is refused from then on, and its root is followed."""
    publish({HOST: {"pins": [A, B]}})
    Path("next.toml").write_text(PinPolicy({HOST: [A, B], "b.example": PinSet.exempt()}).to_toml())
    propose = ("propose", "repository", "--policy", "next.toml")
    assert repo(*propose, "1.json").code == 0
    assert repo("sign", "repository", "1.json", "--keys", "keys").code == 0
    repo("rotate-key", "repository", "root", "--keys", "keys", "--plain")
    assert repo("merge", "repository", "1.json", "--keys", "keys").code == 0
    assert repo(*propose, "2.json").code == 0
    assert repo("sign", "repository", "2.json", "--keys", "keys").code == 0
    assert json.loads(Path("keys/root.json").read_text())["signed"]["version"] == 2

    Path("repository").rename("ours")
    assert repo("init", "repository", "--keys", "mallory", "--plain").code == 0
    Path("keys/root.json").rename("root.json")
    for path in ("signers.json", *(each.name for each in Path("mallory").glob("*.pem"))):
        (Path("keys") / path).write_bytes((Path("mallory") / path).read_bytes())  # even if the keys would sign it
    assert repo(*propose, "3.json").code == 0
    before = Path("3.json").read_bytes()
    Path("root.json").rename("keys/root.json")
    refused = repo("sign", "repository", "3.json", "--keys", "keys")
    assert (refused.code, "not the repository that was signed for before" in refused.err) == (1, True)
    assert Path("3.json").read_bytes() == before
    Path("keys/root.json").unlink()
    assert repo("sign", "repository", "3.json", "--keys", "keys").code == 0
