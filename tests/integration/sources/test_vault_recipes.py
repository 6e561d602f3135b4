"""The recipes of docs/vault.md: their code as it stands there, run against the vaults and a real TLS server.

Rules for whoever changes this module:

- The code is taken out of the page and never changed on the way: a vault is found through what its library reads.
- AWS is moto's server in a process of its own, HashiCorp Vault a stand-in with the answers of its KV version 2 API, the
  keyring a real backend that keeps a file, and Kubernetes a folder as the kubelet lays it out.
- What a vault holds is changed by other means than the recipe's: the API, the `keyring` command, a swapped link.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3
import hvac.exceptions
import keyring.backends.fail
import keyring.errors
import pytest
import requests
import yaml
from botocore.exceptions import BotoCoreError, ClientError
from keyrings.alt.file import PlaintextKeyring

from pinned_requests import Pin, PinMismatchError, PolicyError, PolicyStore
from pinned_requests.testing import Credential, Request, Response, TLSServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.lab import Lab

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[3] / "docs" / "vault.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (\S+)[^\n]*\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))

MOTO_START = 30.0  # seconds: it imports the models of AWS
NOTICED = 10.0  # seconds: the recipe looks at its file every second
HANGING = 0.2  # seconds: by then the recipe waits for an answer
TIMED_OUT = 20.0  # seconds: longer than the time-outs of any recipe, with its second attempt


def block(section: str, language: str) -> str:
    """Return the one fenced block of a language in a section of the page, which is known by its first word."""
    (code,) = re.findall(rf"^```{language}\n(.*?)^```", SECTIONS[section], re.DOTALL | re.MULTILINE)
    return str(code)


def policy(*credentials: Credential) -> str:
    """Return the text of a policy with the keys of these, the last one as the backup."""
    pins = [str(Pin.from_certificate(credential.certificate)) for credential in credentials]
    return f'[hosts."localhost"]\npins = {json.dumps(pins[:-1])}\nbackup_pins = {json.dumps(pins[-1:])}\n'


class SecretsManager:
    """AWS Secrets Manager, as moto's server has it."""

    section = "AWS"
    is_away = BotoCoreError
    is_empty = ClientError

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._log = folder / "log"
        self._start("0")
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        settings = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._port}",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_CONFIG_FILE": str(folder / "none"),
            "AWS_SHARED_CREDENTIALS_FILE": str(folder / "none"),
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        self._operator = boto3.Session().client("secretsmanager")

    def put(self, text: str) -> None:
        """Make the secret, or a new version of it."""
        try:
            self._operator.put_secret_value(SecretId="pins/production", SecretString=text)
        except self._operator.exceptions.ResourceNotFoundException:
            self._operator.create_secret(Name="pins/production", SecretString=text)

    def go_away(self) -> None:
        """End the process: connections are refused."""
        self._process.kill()
        self._process.wait()

    def come_back(self) -> None:
        """Start it again at the same port, with nothing in it."""
        self._start(self._port)

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Accept connections and answer nothing: the kernel does so for a stopped process."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Leave nothing behind."""
        self._operator.close()
        self.go_away()

    def _start(self, port: str) -> None:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + MOTO_START
        while time.monotonic() < deadline and self._process.poll() is None:
            if running := re.search(r"Running on http://127\.0\.0\.1:(\d+)", self._log.read_text()):
                self._port = running[1]
                return
            time.sleep(0.02)
        self.go_away()
        raise RuntimeError(f"moto's server did not start: {self._log.read_text()}")


class KeyValueVault:
    """A stand-in for HashiCorp Vault with one secret, version 2 of the KV engine."""

    section = "HashiCorp"
    is_away = is_empty = hvac.exceptions.VaultError

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server = TLSServer(None, handler=self._answer).start()
        monkeypatch.setenv("VAULT_ADDR", self.server.url().rstrip("/"))
        monkeypatch.delenv("VAULT_TOKEN", raising=False)
        monkeypatch.setenv("HOME", str(folder))
        self._token_file = folder / ".vault-token"
        self._versions: list[str] = []
        self._is_sealed = self._is_deleted = False
        self._answering = threading.Event()
        self._answering.set()
        self.end_token()
        self.renew_token()

    def put(self, text: str) -> None:
        """Write the next version."""
        self._versions.append(text)
        self._is_deleted = False

    def delete(self) -> None:
        """Delete the latest version; its metadata stays."""
        self._is_deleted = True

    def end_token(self) -> None:
        """Let the token in the client's file be valid no more."""
        self._token = f"hvs.{time.monotonic_ns()}"

    def renew_token(self) -> None:
        """Write the valid token into the client's file, as the Vault agent does."""
        self._token_file.write_text(self._token)

    def go_away(self) -> None:
        """Seal it."""
        self._is_sealed = True

    def come_back(self) -> None:
        """Unseal it."""
        self._is_sealed = False

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Accept requests and answer them at the end only."""
        self._answering.clear()
        try:
            yield
        finally:
            self._answering.set()

    def close(self) -> None:
        """Leave nothing behind."""
        self.server.stop()

    def _answer(self, request: Request) -> Response:
        self._answering.wait()
        if self._is_sealed:
            return self._json(503, {"errors": ["Vault is sealed"]})
        if request.header("X-Vault-Token") != self._token:
            return self._json(403, {"errors": ["permission denied"]})
        if (request.method, request.path) != ("GET", "/v1/secret/data/pins/production") or not self._versions:
            return self._json(404, {"errors": []})
        metadata = {
            "created_time": "2026-11-22T10:00:00.123456789Z",
            "custom_metadata": None,
            "deletion_time": "2026-11-22T11:00:00.123456789Z" if self._is_deleted else "",
            "destroyed": False,
            "version": len(self._versions),
        }
        secret = None if self._is_deleted else {"policy": self._versions[-1]}
        answer = {
            "request_id": "7a2c8a44-0000-0000-0000-000000000000",
            "lease_id": "",
            "renewable": False,
            "lease_duration": 0,
            "data": {"data": secret, "metadata": metadata},
            "wrap_info": None,
            "warnings": None,
            "auth": None,
        }
        return self._json(404 if self._is_deleted else 200, answer)

    @staticmethod
    def _json(status: int, value: object) -> Response:
        return Response(status, (("Content-Type", "application/json"),), json.dumps(value).encode())


class Keyring:
    """The keyring of the operating system: the backend that keeps a file, changed by the command of the page."""

    section = "The"
    is_away = keyring.errors.NoKeyringError
    is_empty = LookupError

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_DATA_HOME", str(folder))
        monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyrings.alt.file.PlaintextKeyring")  # of the command
        monkeypatch.setattr(keyring.core, "_keyring_backend", None)  # set_keyring() changes it, here for this test
        self.come_back()

    def put(self, text: str) -> None:
        """Run the page's command; stdin is the file."""
        (command,) = re.findall(r"^`keyring (set .*?) < policy.toml` writes it", SECTIONS[self.section], re.MULTILINE)
        subprocess.run([sys.executable, "-m", "keyring", *command.split()], input=text.encode(), check=True, timeout=30)

    def go_away(self) -> None:
        """Put the backend in place that keyring takes where there is none."""
        keyring.set_keyring(keyring.backends.fail.Keyring())

    def come_back(self) -> None:
        """Put the backend in place that keeps a file."""
        keyring.set_keyring(PlaintextKeyring())

    def close(self) -> None:
        """Do nothing: all is in the folder."""


class MountedSecret:
    """A Kubernetes Secret in a volume, as the kubelet's atomic writer lays it out."""

    section = "A"
    is_away = is_empty = FileNotFoundError

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._volume = folder
        self._count = 0
        monkeypatch.setenv("PIN_POLICY_FILE", str(folder / "policy.toml"))

    def put(self, text: str) -> None:
        """Write a new folder, swap the link to it by a rename, and remove the old folder."""
        self._count += 1
        data, new = self._volume / "..data", self._volume / f"..2026_11_22_10_00_00.{self._count:010}"
        new.mkdir()
        (new / "policy.toml").write_text(text)
        old = data.readlink() if data.is_symlink() else None
        (self._volume / "..data_tmp").symlink_to(new.name)
        (self._volume / "..data_tmp").rename(data)
        if old is None:
            (self._volume / "policy.toml").symlink_to("..data/policy.toml")
        else:
            (self._volume / old / "policy.toml").unlink()
            (self._volume / old).rmdir()

    def go_away(self) -> None:
        """Take the link away: the volume is not what it was."""
        (self._volume / "..data").rename(self._volume / "hidden")

    def come_back(self) -> None:
        """Put the link back."""
        (self._volume / "hidden").rename(self._volume / "..data")

    def close(self) -> None:
        """Do nothing: all is in the folder."""


Vault = SecretsManager | KeyValueVault | Keyring | MountedSecret
VAULTS = [SecretsManager, KeyValueVault, Keyring, MountedSecret]


class Recipe(NamedTuple):
    """What the code of the page has made, and the server that its session talks to."""

    store: PolicyStore
    session: requests.Session
    server: TLSServer
    now: Credential  # what the server presents and the vault holds
    next: Credential  # a key that the vault does not hold
    backup: Credential

    def get(self) -> int:
        """Make a request with the recipe's session and return the status."""
        return self.session.get(self.server.url(), timeout=10).status_code


def run(section: str) -> dict[str, Any]:
    """Run the code of a section of the page and return its names."""
    names: dict[str, Any] = {"__name__": "recipe"}
    exec(compile(block(section, "python"), "docs/vault.md", "exec"), names)  # noqa: S102 - our own text
    return names


@pytest.fixture
def vault(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vault]:
    """Open a vault with nothing in it."""
    opened = request.param(tmp_path, monkeypatch)
    yield opened
    opened.close()


@pytest.fixture
def recipe(vault: Vault, lab: Lab) -> Recipe:
    """Run the recipe with the server's key and a backup in the vault."""
    now, following, backup = (lab.root.issue("localhost") for _ in range(3))
    vault.put(policy(now, backup))
    names = run(vault.section)
    return Recipe(names["store"], lab.trusting(names["session"]), lab.serve(now), now, following, backup)


@pytest.mark.parametrize("vault", VAULTS, indirect=True)
def test_a_rotated_key(vault: Vault, recipe: Recipe) -> None:
    """After a refresh the old key is refused and the new one accepted, on the session and its open connection."""
    assert recipe.get() == 200
    vault.put(policy(recipe.next, recipe.backup))
    recipe.store.refresh()
    with pytest.raises(PinMismatchError):
        recipe.get()
    recipe.server.settle()
    assert len(recipe.server.requests) == 1
    recipe.server.credential = recipe.next
    assert recipe.get() == 200


@pytest.mark.parametrize("vault", VAULTS, indirect=True)
def test_a_vault_that_is_down(vault: Vault, recipe: Recipe) -> None:
    """The last good policy stays, and still refuses; once the vault is back, so is its policy."""
    before = recipe.store.current
    vault.go_away()
    with pytest.raises(vault.is_away) as caught:
        recipe.store.refresh()
    # The store's thread may have tried once more: the recipe for a file looks every second.
    assert type(recipe.store.last_error) is caught.type
    assert recipe.store.current == before
    assert recipe.get() == 200
    recipe.server.credential = recipe.next
    recipe.session.close()
    with pytest.raises(PinMismatchError):
        recipe.get()

    vault.come_back()
    vault.put(policy(recipe.next, recipe.backup))
    recipe.store.refresh()
    assert recipe.store.last_error is None
    assert recipe.get() == 200


@pytest.mark.parametrize("vault", VAULTS, indirect=True)
@pytest.mark.parametrize(
    "text", ["no policy", '[hosts."localhost"]\npins = ["sha256/', '[hosts."localhost"]\npin = []']
)
def test_a_vault_that_holds_no_policy(vault: Vault, recipe: Recipe, text: str) -> None:
    """What cannot be read is a failed load, and the last good policy stays."""
    before = recipe.store.current
    vault.put(text)
    with pytest.raises((PolicyError, LookupError, BotoCoreError, ClientError)):
        recipe.store.refresh()
    assert recipe.store.last_error is not None
    assert recipe.store.current == before
    assert recipe.get() == 200


@pytest.mark.parametrize("vault", VAULTS, indirect=True)
def test_an_empty_vault(vault: Vault) -> None:
    """The recipe fails where it makes its store: there is no session without pins."""
    with pytest.raises(vault.is_empty):
        run(vault.section)


@pytest.mark.parametrize("vault", [SecretsManager, KeyValueVault], indirect=True)
def test_a_vault_that_hangs(vault: Vault, recipe: Recipe) -> None:
    """The recipe's time-out ends the load; until then, requests are made as ever."""
    failures: list[Exception] = []

    def refresh() -> None:
        try:
            recipe.store.refresh()
        except Exception as e:  # noqa: BLE001 - whichever the library raises is looked at below
            failures.append(e)

    with vault.hanging():
        loading = threading.Thread(target=refresh)
        loading.start()
        time.sleep(HANGING)
        assert recipe.get() == 200
        assert loading.is_alive()
        loading.join(TIMED_OUT)
        assert not loading.is_alive()
    assert [type(failure).__name__ for failure in failures] in (["ReadTimeout"], ["ReadTimeoutError"])
    assert recipe.store.last_error is failures[0]
    assert recipe.get() == 200


@pytest.mark.parametrize("vault", [KeyValueVault], indirect=True)
def test_a_token_that_ends(vault: KeyValueVault, recipe: Recipe) -> None:
    """A load with it fails, and the next one takes the renewed token out of the file."""
    vault.end_token()
    with pytest.raises(hvac.exceptions.Forbidden):
        recipe.store.refresh()
    vault.renew_token()
    recipe.store.refresh()
    assert recipe.store.last_error is None


@pytest.mark.parametrize("vault", [KeyValueVault], indirect=True)
def test_a_deleted_version(vault: KeyValueVault, recipe: Recipe) -> None:
    """The answer for it has the shape of a secret, but is a failed load."""
    vault.delete()
    with pytest.raises(hvac.exceptions.InvalidPath):
        recipe.store.refresh()
    assert recipe.get() == 200


@pytest.mark.parametrize("vault", [KeyValueVault], indirect=True)
def test_a_vault_that_refuses_connections(vault: KeyValueVault, recipe: Recipe) -> None:
    """Nobody listens any more: the last good policy stays."""
    vault.server.stop()
    with pytest.raises(requests.ConnectionError):
        recipe.store.refresh()
    assert recipe.get() == 200


@pytest.mark.parametrize("vault", [MountedSecret], indirect=True)
def test_a_swapped_link_is_noticed(vault: MountedSecret, recipe: Recipe) -> None:
    """The store sees it by itself, within the interval of the recipe."""
    vault.put(policy(recipe.next, recipe.backup))
    recipe.server.credential = recipe.next
    recipe.session.close()
    before, deadline = recipe.store.current, time.monotonic() + NOTICED
    while recipe.store.current is before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert recipe.get() == 200


def test_the_manifest() -> None:
    """The pod has the file where the variable says, from a volume of the Secret, mounted whole."""
    secret, pod = yaml.safe_load_all(block("A", "yaml"))
    (container,) = pod["spec"]["containers"]
    (variable,), (mount,) = container["env"], container["volumeMounts"]
    assert variable["name"] in block("A", "python")
    folder, _, name = variable["value"].rpartition("/")
    assert mount == {"name": "pins", "mountPath": folder, "readOnly": True}
    assert pod["spec"]["volumes"] == [{"name": "pins", "secret": {"secretName": secret["metadata"]["name"]}}]
    text = secret["stringData"][name]
    (shown,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert text == shown
    assert PolicyStore(lambda: text).current.lookup("api.example.com") is not None
