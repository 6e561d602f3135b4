"""Signed remote policies end to end: real repositories and keys, real HTTP, real TLS, real restarts."""

from __future__ import annotations

import copy
import errno
import json
import logging
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from pinned_requests import Pin, PinMismatchError, PinnedSession, PinPolicy, PolicyError, PolicyStore
from pinned_requests.publishing import repository as repository_module
from pinned_requests.publishing import state as state_module
from pinned_requests.publishing.keys import KeyRing, SigningError
from pinned_requests.publishing.repository import Repository
from pinned_requests.publishing.state import ROLES, renew
from pinned_requests.sources.tuf import RemotePolicyError, metadata
from pinned_requests.sources.tuf.folder import PrivateFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

    from support.lab import Lab
    from support.publisher import Publisher


def test_a_session_follows_what_is_published(lab: Lab, publishing: Callable[..., Publisher]) -> None:
    """The server's key changes: refused, until the publisher has signed the new pin."""
    publisher = publishing()
    server = lab.serve(lab.honest)
    publisher.publish(PinPolicy({"localhost": [Pin.from_certificate(lab.attacker.certificate), lab.backup]}))
    store = publisher.store()
    session = lab.trusting(PinnedSession(store))
    with pytest.raises(PinMismatchError):
        session.get(server.url())
    publisher.publish(PinPolicy(lab.pins))
    store.refresh()
    assert session.get(server.url()).status_code == 200


def test_it_is_followed_in_the_background(publishing: Callable[..., Publisher], policies: Sequence[PinPolicy]) -> None:
    """With nobody calling refresh(), what is published comes into force."""
    publisher = publishing()
    publisher.publish(policies[1])
    store = publisher.store(shipped=policies[0], refresh_after=0.05)
    until(lambda: store.current == policies[1])
    publisher.publish(policies[2])
    until(lambda: store.current == policies[2])


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, for 20 seconds at most."""
    import time  # noqa: PLC0415  here only

    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_command_that_makes_one_request(lab: Lab, publishing: Callable[..., Publisher], tmp_path: Path) -> None:
    """All pins that it ships are lost: its request waits for the new ones. The next run has them, without a look."""
    publisher = publishing()
    publisher.publish(PinPolicy(lab.pins))
    lost = Pin.from_certificate(lab.attacker.certificate)
    shipped = tmp_path / "shipped.json"
    shipped.write_text(PinPolicy({"localhost": [lost, lab.backup]}).to_json())
    root = tmp_path / "root.json"
    root.write_bytes(publisher.root)
    url = publisher.server.url("", host="127.0.0.1")
    program = (
        "import sys\n"
        "from pinned_requests import PinnedSession, PolicyStore\n"
        "url, root, shipped, cache, page, bundle = sys.argv[1:]\n"
        "urls = f'{url}/metadata', f'{url}/targets'\n"
        "store = PolicyStore.from_tuf(*urls, root=root, shipped=shipped, cache_dir=cache)\n"
        "print(PinnedSession(store).get(page, verify=bundle).status_code)\n"
    )
    server = lab.serve(lab.honest)
    arguments = [url, root, shipped, tmp_path / "cache", server.url(), lab.bundle]
    for looks in (1, 0):
        before = len(publisher.server.requests)
        command = [sys.executable, "-c", program, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout == "200\n", done.stderr
        assert (len(publisher.server.requests) > before) is bool(looks)
    assert server.handshakes == 2


def test_over_tls_and_a_proxy(
    lab: Lab,
    publishing: Callable[..., Publisher],
    policies: Sequence[PinPolicy],
    start_proxy: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The session is validated and takes its proxy from the environment, as requests does."""
    publisher = publishing()
    publisher.publish(policies[1])
    server = lab.serve(lab.honest, handler=publisher._answer)
    arguments: dict[str, Any] = {"root": publisher.root, "cache_dir": publisher.base / "cache"}
    urls = server.url("/metadata"), server.url("/targets")
    with pytest.raises(RemotePolicyError) as caught:
        PolicyStore.from_tuf(*urls, **arguments)
    assert (caught.value.check, server.application_bytes) == ("network", 0)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", lab.bundle)
    assert PolicyStore.from_tuf(*urls, **arguments).current == policies[1]
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{start_proxy()}")
    store = PolicyStore.from_tuf(*urls, **{**arguments, "cache_dir": publisher.base / "other"})
    assert store.current == policies[1]
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # nobody is there: the proxy was asked, not the server
    with pytest.raises(RemotePolicyError):
        store.refresh()


def test_a_private_ca_and_a_proxy_by_argument(
    lab: Lab,
    publishing: Callable[..., Publisher],
    policies: Sequence[PinPolicy],
    start_proxy: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are of this store alone, and win over the environment."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/absent")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # nobody is there
    publisher = publishing()
    publisher.publish(policies[1])
    server = lab.serve(lab.honest, handler=publisher._answer)
    urls = server.url("/metadata"), server.url("/targets")
    arguments: dict[str, Any] = {"root": publisher.root, "cache_dir": None, "verify": lab.bundle}
    for port in (9, start_proxy()):
        arguments["proxies"] = {"https": f"http://127.0.0.1:{port}"}
        if port == 9:
            with pytest.raises(RemotePolicyError):
                PolicyStore.from_tuf(*urls, **arguments)
    store = PolicyStore.from_tuf(*urls, **arguments)
    assert store.current == policies[1]
    assert pickle.loads(pickle.dumps(store)).refresh() is None  # noqa: S301  our own
    with pytest.raises(RemotePolicyError, match=re.escape(f"{urls[0]}/2.root.json could not be downloaded")):
        PolicyStore.from_tuf(*urls, **{**arguments, "verify": True})


def fail(*_args: object, **_kwargs: object) -> None:
    """Stand in for a write to a full disk."""
    raise OSError(errno.ENOSPC, "No space left on device")


def refuses_a_rollback(store: PolicyStore, policy: PinPolicy, publisher: Publisher, before: Path) -> None:
    """Serve the repository as it was `before`: the policy stays in force. Then serve the honest one again."""
    honest, publisher.folder = publisher.folder, before
    with pytest.raises(RemotePolicyError) as caught:
        store.refresh()
    assert caught.value.check == "rollback"
    assert store.current == policy
    publisher.folder = honest
    store.refresh()


@pytest.mark.parametrize("cache", ["none", "unusable", "full"])
def test_without_a_disk(
    publishing: Callable[..., Publisher],
    policies: Sequence[PinPolicy],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    cache: str,
) -> None:
    """The policy is verified and used in memory, which remembers versions; `last_error` says what that costs."""
    publisher = publishing()
    publisher.publish(policies[1])
    before = publisher.base / "before"
    shutil.copytree(publisher.folder, before)
    publisher.publish(policies[2])
    monkeypatch.setattr(tempfile, "_get_default_tempdir", fail)
    monkeypatch.setattr(tempfile, "tempdir", None)
    if cache == "full":
        monkeypatch.setattr(PrivateFolder, "write", fail)
    places = {"none": None, "unusable": os.devnull, "full": publisher.base / "cache"}
    store = publisher.store(cache_dir=places[cache])
    for _ in range(2):
        assert store.current == policies[2]
        assert isinstance(store.last_error, RemotePolicyError)
        assert store.last_error.check == "cache"
        assert "a restart forgets which versions were seen" in str(store.last_error)
        store.refresh()
    assert caplog.text.count("a restart forgets which versions were seen") == 1
    refuses_a_rollback(store, policies[2], publisher, before)


@pytest.mark.parametrize("failing", ["write", "opened"])
def test_a_disk_that_fails_later(
    publishing: Callable[..., Publisher],
    policies: Sequence[PinPolicy],
    monkeypatch: pytest.MonkeyPatch,
    failing: str,
) -> None:
    """The running process remembers the newest version that it has seen, not the one that is still on the disk."""
    publisher = publishing()
    publisher.publish(policies[1])
    before = publisher.base / "before"
    shutil.copytree(publisher.folder, before)
    store = publisher.store()
    publisher.publish(policies[2])
    with monkeypatch.context() as full:
        full.setattr(PrivateFolder, failing, fail)
        store.refresh()
    assert store.current == policies[2]
    refuses_a_rollback(store, policies[2], publisher, before)
    assert store.last_error is None


def test_roots_that_followed_are_not_fetched_again(
    publishing: Callable[..., Publisher], policies: Sequence[PinPolicy]
) -> None:
    """Each look asks for the next root alone, however many there were."""
    publisher = publishing()
    for _ in range(3):
        publisher.rotate("root")
    publisher.publish(policies[1])
    store = publisher.store()
    for again in (store, publisher.store()):
        seen = len(publisher.server.requests)
        again.refresh()
        asked = [request.path for request in publisher.server.requests[seen:]]
        assert asked == ["/metadata/5.root.json", "/metadata/timestamp.json"]


def test_the_number_of_the_policy(publishing: Callable[..., Publisher], policies: Sequence[PinPolicy]) -> None:
    """It is that of the signed targets, also after a restart; a shipped policy has none."""
    publisher = publishing()
    publisher.publish(policies[1])
    publisher.publish(policies[2])
    store = publisher.store()
    assert store.version == "3"
    publisher.server.stop()
    assert publisher.store().version == "3"
    assert publisher.store(shipped=policies[0]).version == "3"
    shipped = publisher.store(shipped=policies[0], cache_dir=publisher.base / "other")
    assert shipped.version == PolicyStore(policies[0]).version


def test_the_log_is_quiet(
    publishing: Callable[..., Publisher], policies: Sequence[PinPolicy], caplog: pytest.LogCaptureFixture
) -> None:
    """What python-tuf says at INFO, of each key that has not signed, is kept out; other threads' records are not."""
    publisher = publishing(targets=(2, 2))
    publisher.publish(policies[1])
    alone = json.loads(publisher.newest(".targets.json").read_bytes())
    alone["signatures"][0]["sig"] = "00"
    publisher.forge(publisher.newest(".targets.json"), json.dumps(alone).encode())
    caplog.set_level("INFO")
    with pytest.raises(RemotePolicyError):
        publisher.store()
    with metadata.quiet():
        logging.getLogger("tuf.api._payload").info("of this thread")
        thread = threading.Thread(target=logging.getLogger("tuf.api._payload").info, args=("of another thread",))
        thread.start()
        thread.join()
    logging.getLogger("tuf.api._payload").info("afterwards")
    assert [r.getMessage() for r in caplog.records if r.name.startswith("tuf")] == ["of another thread", "afterwards"]


def test_an_application_in_a_zip_archive(
    publishing: Callable[..., Publisher], policies: Sequence[PinPolicy], tmp_path: Path
) -> None:
    """`root` and `shipped` are what `importlib.resources` gives there, which is not a path."""
    publisher = publishing()
    archive = tmp_path / "application.pyz"
    url = publisher.server.url("", host="127.0.0.1")
    program = (
        "from importlib.resources import files\n"
        "from pinned_requests import PolicyStore\n"
        "package = files('sdk')\n"
        f"store = PolicyStore.from_tuf('{url}/metadata', '{url}/targets', root=package / 'root.json',\n"
        f"    shipped=package / 'pins.toml', cache_dir={str(tmp_path / 'cache')!r})\n"
        "print(list(store.current.hosts))\n"
    )
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("__main__.py", program)
        file.writestr("sdk/__init__.py", "")
        file.writestr("sdk/root.json", publisher.root)
        file.writestr("sdk/pins.toml", policies[0].to_toml())
    done = subprocess.run([sys.executable, archive], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "['shipped.example.com']\n"


def test_a_thief_who_drives_up_version_numbers(
    publishing: Callable[..., Publisher], policies: Sequence[PinPolicy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With other keys for timestamp and snapshot, clients forget what was signed with the stolen ones."""
    publisher = publishing()
    publisher.publish(policies[1])
    honest = publisher.folder
    stolen = publisher.base / "stolen"
    shutil.copytree(honest, stolen)
    with monkeypatch.context() as patch:
        patch.setattr(repository_module, "renew", far_ahead)
        Repository(stolen, publisher.ring).refresh(("snapshot",), {})
    publisher.folder = stolen
    store = publisher.store()
    publisher.folder = honest
    publisher.publish(policies[2])
    with pytest.raises(RemotePolicyError):
        store.refresh()
    publisher.rotate("snapshot")
    publisher.rotate("timestamp")
    store.refresh()
    assert store.current == policies[2]


def far_ahead(signed: Root | Timestamp | Snapshot | Targets, days: int | None) -> None:
    """Leave a million versions out."""
    signed.version += 1_000_000
    renew(signed, days)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("is_lost", [False, True])
def test_the_rotation_of_a_key(
    publishing: Callable[..., Publisher], policies: Sequence[PinPolicy], role: str, *, is_lost: bool
) -> None:
    """Clients follow over the change of any key, also those that come late, also if the old key is lost."""
    publisher = publishing()
    publisher.publish(policies[1])
    early = publisher.store()
    if is_lost:
        (old,) = (publisher.base / "alice").glob(f"{role}-*.pem")
        lose(publisher, old.name)
    if is_lost and role == "root":
        with pytest.raises(SigningError):
            publisher.rotate(role)  # a lost root key cannot be replaced: that is why there should be more than one
        return
    publisher.rotate(role)
    publisher.publish(policies[2])
    early.refresh()
    late = publisher.store(cache_dir=publisher.base / "late")
    assert early.current == late.current == policies[2]
    assert early.last_error is late.last_error is None
    # A client that ships the new root needs no step between.
    newest = publisher.newest(".root.json")
    assert publisher.store(root=newest, cache_dir=publisher.base / "new").current == policies[2]
    # With a cache that is full of older roots, too.
    assert publisher.store(root=newest).current == policies[2]


def lose(publisher: Publisher, name: str) -> None:
    """Forget a key."""
    import json  # noqa: PLC0415  here only

    path = publisher.base / "alice" / "signers.json"
    uris = {key: uri for key, uri in json.loads(path.read_text()).items() if not uri.endswith(name)}
    path.write_text(json.dumps(uris))
    publisher.ring = KeyRing(publisher.key_folders, lambda _: "")
    publisher.repository = Repository(publisher.folder, publisher.ring)


def test_two_keys_must_sign(publishing: Callable[..., Publisher], policies: Sequence[PinPolicy]) -> None:
    """Both sign, and it is taken; with one of them nothing is written at all."""
    publisher = publishing(root=(2, 2), targets=(2, 2))
    publisher.publish(policies[1])
    assert publisher.store().current == policies[1]
    before = sorted(publisher.folder.rglob("*"))
    alone = Repository(publisher.folder, KeyRing(publisher.key_folders[:1], lambda _: ""))
    with pytest.raises(SigningError):
        alone.publish("pins.json", policies[2], {})
    with pytest.raises(SigningError):
        alone.rotate_key("timestamp", lambda: publisher.key_folders[0].generate("timestamp", None), None, {})
    assert sorted(publisher.folder.rglob("*")) == before
    alone.refresh((), {})  # the online keys are all that this takes
    assert publisher.store().current == policies[1]


@pytest.mark.parametrize("change", ["publish", "rotate targets", "rotate snapshot", "rotate timestamp", "rotate root"])
def test_a_change_that_is_cut_short_breaks_nothing(
    publishing: Callable[..., Publisher],
    policies: Sequence[PinPolicy],
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    """After each single file of a change the repository is whole, for clients old and new; and it can be done again."""
    publisher = publishing()
    publisher.publish(policies[1])
    old = publisher.store()
    write = repository_module.write  # type: ignore[attr-defined]  # imported there

    class CutShortError(Exception):
        pass

    for at in range(5):
        left = iter(range(at))

        def some(path: Path, data: bytes, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise CutShortError
            write(path, data)

        done = True
        with monkeypatch.context() as patch:
            patch.setattr(repository_module, "write", some)
            try:
                if change == "publish":
                    publisher.publish(policies[2])
                else:
                    publisher.rotate(change.partition(" ")[2])
            except CutShortError:
                done = False
        old.refresh()
        new = publisher.store(cache_dir=publisher.base / f"cache-{at}")
        assert new.current == old.current == (policies[2] if done and change == "publish" else policies[1])
        if done:
            return
    pytest.fail("no change writes as many files")


def test_a_restart_without_network(publishing: Callable[..., Publisher], policies: Sequence[PinPolicy]) -> None:
    """The cache holds the last good policy, and no server is asked for it."""
    publisher = publishing()
    publisher.rotate("root")
    publisher.publish(policies[1])
    publisher.store()
    publisher.server.stop()
    seen = len(publisher.server.requests)
    store = publisher.store(shipped=policies[0])
    assert (store.last_error, store.current) == (None, policies[1])
    assert publisher.store().current == policies[1]  # without a shipped policy, too
    with pytest.raises(RemotePolicyError) as caught:
        store.refresh()
    assert caught.value.check == "network"
    assert store.current == policies[1]
    assert len(publisher.server.requests) == seen


def test_the_first_start_without_network(publishing: Callable[..., Publisher], policies: Sequence[PinPolicy]) -> None:
    """The shipped policy is in force; without one there is no store."""
    publisher = publishing()
    publisher.server.stop()
    store = publisher.store(shipped=policies[0])
    assert (store.last_error, store.current) == (None, policies[0])
    with pytest.raises(RemotePolicyError) as caught:
        publisher.store()
    assert caught.value.check == "network"


def test_a_cache_that_has_expired(
    publishing: Callable[..., Publisher], policies: Sequence[PinPolicy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was good stays in force over a restart, loudly, unless the application has come with a newer policy."""
    publisher = publishing()
    with monkeypatch.context() as patch:
        patch.setattr(state_module, "days_of", lambda signed: 1 / 20_000 if signed.type == "timestamp" else 1)
        publisher.publish(policies[1])  # for 4.3 seconds
    publisher.store(shipped=policies[0]).refresh()
    publisher.server.stop()
    until(lambda: publisher.store(shipped=policies[0]).last_error is not None)
    same = publisher.store(shipped=policies[0])
    assert (same.last_error.check, same.current) == ("freeze", policies[1])  # in this order: a use asks the network
    newer = publisher.store(shipped=policies[2])
    assert (newer.last_error.check, newer.current) == ("freeze", policies[2])


def test_the_age_of_a_cached_policy_counts(publishing: Callable[..., Publisher], policies: Sequence[PinPolicy]) -> None:
    """Restarts do not make a policy younger: `max_age` counts from when it came."""
    publisher = publishing()
    publisher.publish(policies[1])
    publisher.store()
    publisher.server.stop()
    until(lambda: publisher.store(max_age=0.5).current != policies[1])  # it refuses


def test_two_repositories_in_one_cache(publishing: Callable[..., Publisher], policies: Sequence[PinPolicy]) -> None:
    """Each has a place of its own: neither is taken for the other, nor makes it forget."""
    one, other = publishing(), publishing()
    one.publish(policies[1])
    other.publish(policies[2])
    shared = one.base / "cache"
    assert one.store().current == policies[1]
    assert other.store(cache_dir=shared).current == policies[2]
    one.server.stop()
    other.server.stop()
    assert one.store(shipped=policies[0]).current == policies[1]
    assert other.store(cache_dir=shared, shipped=policies[0]).current == policies[2]


def test_processes_share_a_cache(publishing: Callable[..., Publisher], policies: Sequence[PinPolicy]) -> None:
    """Several processes update at once, again and again, and none of them fails."""
    publisher = publishing()
    publisher.publish(policies[1])
    (publisher.base / "root.json").write_bytes(publisher.root)
    url = publisher.server.url("", host="127.0.0.1")
    program = f"""
from pinned_requests import PolicyStore
store = PolicyStore.from_tuf("{url}/metadata", "{url}/targets", root={str(publisher.base / "root.json")!r},
                             cache_dir={str(publisher.base / "cache")!r})
for _ in range(10):
    store.refresh()
"""
    processes = [subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) for _ in range(3)]
    for at in range(3):
        publisher.publish(policies[at % 3])
    assert [(process.communicate(timeout=60)[1], process.returncode) for process in processes] == [(b"", 0)] * 3


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda store: pickle.loads(pickle.dumps(store))])  # noqa: S301 - our own
def test_copies_and_pickles(
    publishing: Callable[..., Publisher], policies: Sequence[PinPolicy], again: Callable[[PolicyStore], PolicyStore]
) -> None:
    """A copy has the policy, and follows on its own."""
    publisher = publishing()
    publisher.publish(policies[1])
    other = again(publisher.store())
    assert other.current == policies[1]
    publisher.publish(policies[2])
    other.refresh()
    assert other.current == policies[2]


def test_an_error_pickles(publishing: Callable[..., Publisher]) -> None:
    """With its check and its text."""
    publisher = publishing()
    with pytest.raises(RemotePolicyError) as caught:  # nothing has been published yet
        publisher.store()
    error = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own
    assert (error.check, str(error)) == ("target", str(caught.value))


@pytest.mark.parametrize(
    "wrong",
    [
        {"metadata_url": "ftp://example.com/"},
        {"metadata_url": "https://user:secret@example.com/"},
        {"metadata_url": "https://example.com/?sig=1"},
        {"metadata_url": "https://[/"},
        {"targets_url": None},
        {"root": b"{}"},
        {"target": "../pins.json"},
        {"target": "pins.json?x"},
        {"target": ""},
        {"shipped": {"*": []}},
        {"shipped": b"{}"},
        {"shipped": 3},
        {"verify": False},
        {"verify": "/absent"},
        {"proxies": "http://127.0.0.1"},
        {"proxies": {"https": 3}},
        {"refresh_after": 0},
    ],
)
def test_a_wrong_argument(publishing: Callable[..., Publisher], wrong: dict[str, Any]) -> None:
    """It is said by the constructor."""
    publisher = publishing()
    arguments: dict[str, Any] = {
        "metadata_url": "https://example.com/metadata",
        "targets_url": "https://example.com/targets",
        "root": publisher.root,
        "cache_dir": publisher.base / "cache",
        "shipped": {"example.com": {"exempt": True}},
        **wrong,
    }
    with pytest.raises(PolicyError):
        PolicyStore.from_tuf(arguments.pop("metadata_url"), arguments.pop("targets_url"), **arguments)


def test_a_root_that_is_other_metadata(publishing: Callable[..., Publisher], policies: Sequence[PinPolicy]) -> None:
    """Neither metadata of another role nor a root whose own keys did not sign it is a root of trust."""
    publisher = publishing()
    for root in (
        publisher.newest("timestamp.json").read_bytes(),
        publisher.newest("targets.json"),
        publisher.root.replace(b'"version":1', b'"version":2'),
    ):
        with pytest.raises(PolicyError):
            publisher.store(root=root, shipped=policies[0])


def test_nothing_of_it_is_imported_before_it_is_needed() -> None:
    """`import pinned_requests` is as cheap as ever."""
    program = "import sys, pinned_requests; print({'tuf', 'securesystemslib', 'filelock'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "set()\n"


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra."""
    monkeypatch.setitem(sys.modules, "tuf.ngclient", None)
    for name in ("client", "metadata"):
        monkeypatch.delitem(sys.modules, f"pinned_requests.sources.tuf.{name}", raising=False)
    with pytest.raises(ImportError, match=r"pinned-requests\[remote\]"):
        PolicyStore.from_tuf("https://example.com", "https://example.com", root=b"", cache_dir="")
