"""What the README shows is run: its code against the lab's attackers and honest servers, and its commands in a copy."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from pinned_requests import Pin, PinMismatchError, pinning_error

if TYPE_CHECKING:
    from pinned_requests.testing import MITMLab

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")
HOST = "api.example.com"
WAIT = 280.0  # seconds: it installs


def code(word: str, language: str = "python") -> str:
    """Return the one block of code in which `word` occurs."""
    (found,) = (text for kind, text in FENCE.findall(README) if kind == language and word in text)
    return str(found)


def command(name: str) -> str:
    """Return the one line of the block below a comment."""
    match = re.search(rf"^<!-- {name} command -->\n```\n([^\n]+)\n```", README, re.MULTILINE)
    assert match is not None
    return match[1]


def run(text: str, **names: Any) -> dict[str, Any]:
    """Run code of the README, and return its names."""
    exec(compile(text, "README.md", "exec"), names)  # noqa: S102 - our own text
    return names


def with_pins(text: str, pins: tuple[Pin, ...]) -> str:
    """Return the code with other pins, one after the other."""
    mine = iter(pins)
    return re.sub(r"sha256/(?:…|[A-Za-z0-9+/]{43}=)", lambda _: str(next(mine)), text)


def test_session_and_the_error_that_it_shows(mitm_lab: MITMLab) -> None:
    """A man in the middle makes the six lines raise what stands below them: the message, and the pins to the letter."""
    shown = code("PinMismatchError", "").splitlines()
    with mitm_lab.impersonate(HOST) as attack, pytest.raises(PinMismatchError) as refusal:
        run(code("import PinnedSession"))
    attack.assert_rejected()
    assert isinstance(refusal.value, requests.exceptions.SSLError)
    raised = f"pinned_requests.PinMismatchError: {refusal.value}".splitlines()
    assert (raised[:2], raised[-4:]) == (shown[:2], shown[-4:])
    assert re.fullmatch(r"    sha256/\S{44}  CN=api\.example\.com", raised[2])
    assert re.fullmatch(r"    sha256/\S{44}  CN=api\.example\.com", shown[2])


def test_session_reaches_its_server(mitm_lab: MITMLab) -> None:
    """With the pins of the server, the six lines get their answer."""
    with mitm_lab.honest(HOST, {"/v1/things": "[]"}) as server:
        run(with_pins(code("import PinnedSession"), (*server.pins, *server.backup_pins)))
        assert [request.path for request in server.requests] == ["/v1/things"]


def test_any_other_client(mitm_lab: MITMLab) -> None:
    """The context refuses the attacker, and accepts the server."""
    server = mitm_lab.honest(HOST)
    text = with_pins(code("PinnedSSLContext"), (*server.pins, *server.backup_pins))
    with server:
        connection = run(text)["connection"]
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        connection.close()
    with mitm_lab.impersonate(HOST) as attack:
        connection = run(text)["connection"]
        with pytest.raises(OSError, match="holds none of its pins") as refusal:
            connection.request("GET", "/")
        connection.close()
    assert pinning_error(refusal.value) is not None
    attack.assert_rejected()


class Client:
    """A client, as the README's test uses it."""

    session: type[requests.Session] = requests.Session

    def list_things(self) -> None:
        """Ask for something, with a secret."""
        with self.session() as session:
            session.get(f"https://{HOST}/things", headers={"Authorization": "Bearer secret"}, timeout=10)


def test_test_of_your_own_client(mitm_lab: MITMLab) -> None:
    """The five lines pass a client that pins, and fail one that does not."""

    class Pinned(Client):
        def list_things(self) -> None:
            run(code("import PinnedSession"))

    names = {"pytest": pytest, "requests": requests}
    test = "test_my_client_refuses_a_man_in_the_middle"
    run(code(test), **names, MyClient=Pinned)[test](mitm_lab)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        run(code(test), **names, MyClient=Client)[test](mitm_lab)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md"])
def test_links(page: str) -> None:
    """Every relative link leads to a file."""
    path = ROOT / page
    links = LINK.findall(path.read_text("utf-8"))
    assert links
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_two_clicks() -> None:
    """What a stranger looks for is linked from the README itself."""
    wanted = {
        *("docs/get-a-pin.md", "docs/rotation.md", "docs/testing.md", "docs/clients.md", "docs/reference/errors.md"),
        "SECURITY.md",
    }
    assert wanted <= set(LINK.findall(README))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["demo", "install"])
def test_commands(name: str, tmp_path: Path) -> None:
    """The lines to install and to see the demo work in a fresh copy, and say what they do.

    The test command is not run here: it would run this.
    """
    for part in ("pyproject.toml", "README.md", "LICENSE", "src"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, tmp_path / part)
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "python3").symlink_to(sys.executable)
    line = f"PATH={tools}:$PATH; {command(name)}"
    if name == "install":
        line += " && .venv/bin/pinned-requests --help && (cd bin && ../.venv/bin/pytest -c /dev/null --fixtures)"
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    expected = ("Installing …\n", "The attacker got 0 bytes") if name == "demo" else ("Usage: ", "mitm_lab")
    assert all(text in done.stdout for text in expected)


def test_test_command() -> None:
    """It is a file of the repository; CI runs it as it stands here."""
    shell, script = command("test").split()
    assert (shell, (ROOT / script).is_file()) == ("sh", True)
