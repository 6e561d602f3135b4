"""`docs/remote.md` says what is so: its commands and recipes are run, and its tables are complete."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest

from pinned_requests import PinPolicy, PinSet
from pinned_requests.cli import main
from pinned_requests.publishing import review
from pinned_requests.sources.tuf.errors import Check

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (Path(__file__).parents[2] / "docs" / "remote.md").read_text("utf-8")
COMMANDS = [shlex.split(line) for line in PAGE.splitlines() if re.match(r"pinned-requests repo [^|]*$", line)]
POLICY = PinPolicy({"api.example.com": PinSet.exempt()})


def invoke(*arguments: str) -> tuple[int, str]:
    """Run a command of `pinned-requests repo` in this process."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as error:
        code = main(["repo", *arguments])
    return code, error.getvalue()


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder with a policy in it, with a passphrase for all keys."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PINNED_REQUESTS_PASSPHRASE", "correct horse")
    Path("pins.toml").write_text(POLICY.to_toml(), "utf-8")


@pytest.fixture
def published() -> Path:
    """The repository, after the ceremony and the first policy of the page."""
    for _, _, *arguments in COMMANDS[: 1 + max(at for at, command in enumerate(COMMANDS) if "next.json" in command)]:
        assert invoke(*arguments) == (0, "")
    return Path("repository")


def test_the_commands_do_what_the_page_says() -> None:
    """One after the other."""
    assert len(COMMANDS) >= 15
    for _, _, *arguments in COMMANDS:
        assert invoke(*arguments) == (0, "")
    for folder in (Path("repository"), Path("served")):
        (target,) = (folder / "targets").iterdir()
        assert PinPolicy.from_json(target.read_bytes()) == POLICY
    assert all("ENCRYPTED" in path.read_text() for path in Path().glob("*/*.pem"))


def test_the_commands_for_one_room() -> None:
    """Those within the text: all keys in one place."""
    texts = re.findall(r"`(repo (?:init|publish|rotate-key) repository[^`]*)`", PAGE)
    assert len(texts) == 3
    for text in texts:
        assert invoke(*shlex.split(text)[1:]) == (0, "")
    assert {path.name.partition("-")[0] for path in Path("online").glob("*.pem")} == {"snapshot", "timestamp"}


def test_no_holder_of_the_page_signs_alone(published: Path) -> None:
    """After the ceremony of the page no folder of keys is enough for root, and any two are."""
    holders = [arguments[1] for _, _, *arguments in COMMANDS if arguments[0] == "keys"]
    assert len(holders) == 3
    for signers in (holders[:1], holders[1:2], holders[2:], holders[1:]):
        proposal = f"{'-'.join(signers)}.json"
        assert invoke("propose", str(published), proposal, "--renew", "root") == (0, "")
        for signer in signers:
            assert invoke("sign", str(published), proposal, "--keys", signer) == (0, "")
        code, error = invoke("merge", str(published), proposal, "--keys", "online")
        assert (code, "root would have 1 of the 2" in error) == ((1, True) if len(signers) == 1 else (0, False))


def block(language: str) -> str:
    """Return the recipe of the page that is in this language and about `sync`."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (found,) = (text for text in blocks if language == "nginx" or "repository" in text)
    return str(found)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_the_recipe_for_rsync(published: Path, tmp_path: Path) -> None:
    """The copy is equal, also after a second run."""
    script = block("sh").replace("pinned-requests ", f"{shlex.quote(sys.executable)} -m pinned_requests ")
    for _ in range(2):
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", script],
            check=False,
            capture_output=True,
            env={**os.environ, "DESTINATION": str(tmp_path / "copy")},
        )
        assert (done.returncode, done.stderr) == (0, b"")
    assert files(tmp_path / "copy") == files(published)


def test_the_recipe_for_buckets(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bucket has what clients need, with the timestamp cached for a minute at most."""
    boto3, moto = pytest.importorskip("boto3"), pytest.importorskip("moto")
    for name, value in (("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "x"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    with moto.mock_aws():
        bucket = boto3.client("s3")
        bucket.create_bucket(Bucket="example-pins")
        exec(block("python"), {})  # noqa: S102  the recipe of our own page
        found = {each["Key"] for each in bucket.list_objects_v2(Bucket="example-pins")["Contents"]}
        got = {name: bucket.get_object(Bucket="example-pins", Key=name) for name in found}
        assert {Path(name): each["Body"].read() for name, each in got.items()} == files(published)
        assert got["metadata/timestamp.json"]["CacheControl"] == "public, max-age=60"


def files(folder: Path) -> dict[Path, bytes]:
    """Return the files of a repository that a new client needs."""

    def is_needed(path: Path) -> bool:
        return "root" in path.name or path.name == "timestamp.json" or path.parent.name == "targets"

    newest = {kind: max(folder.glob(f"metadata/*.{kind}.json"), key=version) for kind in ("targets", "snapshot")}
    needed = [path for path in folder.rglob("*") if path.is_file() and is_needed(path)]
    return {path.relative_to(folder): path.read_bytes() for path in [*needed, *newest.values()]}


def version(path: Path) -> int:
    """Return the version of metadata, by the name of its file."""
    return int(path.name.partition(".")[0])


def tables() -> Iterator[set[str]]:
    """Yield the first columns of the tables of names in code."""
    for table in re.findall(r"(?:^\| `?[a-z-]+`? \|.*\n\|[-|]+\n)((?:^\|.*\n)+)", PAGE, re.MULTILINE):
        yield set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE))


def test_every_check_is_explained() -> None:
    """One table names all that there are."""
    assert set(get_args(Check)) in list(tables())


def test_every_refusal_is_explained() -> None:
    """Two tables name the kinds of findings for which a policy is not published."""
    explained = list(tables())
    assert review.OFFLINE in explained
    assert review.LIVE in explained
