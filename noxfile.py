"""The checks of this project: `nox -l` lists them, `nox -s NAME` runs one, `nox -R -s NAME` runs it again quickly.

Rules for maintainers:

- A session needs nothing but the interpreter and what it installs. What else a machine needs (nginx, other Pythons)
  is prepared by `.ci/run`, which calls these sessions.
- What a session installs stands in `pyproject.toml`, as an extra or a dependency group.
"""

from __future__ import annotations

import os
import re
import shutil
import tarfile
import zipfile
from pathlib import Path

import nox

PROJECT = nox.project.load_toml()
PYTHONS = ["3.11", "3.12", "3.13", "3.14", "3.15"]
EXTRAS = "[cli,remote,testing]"
WHEEL_LIMIT = 400_000  # bytes

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "venv"
nox.options.sessions = ["lint", "types", "tests", "docs"]
nox.options.error_on_missing_interpreters = False


def install(session: nox.Session, *what: str, groups: tuple[str, ...] = ("dev",)) -> None:
    """Install `what` together with dependency groups. What is used is compiled then, which is a small part of it."""
    session.install("--no-compile", *what, *nox.project.dependency_groups(PROJECT, *groups))


def run_tests(session: nox.Session, *arguments: str) -> None:
    """Run pytest as `tests/run.sh` does; what stands behind `--` on nox's command line goes to pytest."""
    # Compiled once, and not into the source tree: the tests start hundreds of interpreters.
    cache = str(Path(session.create_tmp(), "pycache").resolve())
    session.run(
        *("python", "-W", "error", "-m", "pytest", "-q", "-rs", "-n", "auto", *arguments, *session.posargs),
        env={"PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""},
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff, with every rule on, and its formatter; the workflows by their schema, and by zizmor."""
    session.install("ruff>=0.12", "check-jsonschema>=0.31", "zizmor>=1.10")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    workflows = sorted(str(each) for each in Path(".github/workflows").glob("*.yml"))
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)
    session.run("check-jsonschema", "--builtin-schema", "vendor.dependabot", ".github/dependabot.yml")
    session.run("zizmor", "--offline", "--quiet", ".github")


@nox.session
@nox.parametrize("version", [PYTHONS[0], PYTHONS[-1]], ids=[PYTHONS[0], PYTHONS[-1]])
def types(session: nox.Session, version: str) -> None:
    """Check types for the oldest and the newest Python, because of branches on `sys.version_info`.

    mypy --strict checks the project, and pyright a user's program.
    """
    install(session, "-e", f".{EXTRAS}", groups=("lint", "docs"))
    cache = f"--cache-dir={session.create_tmp()}/mypy"
    session.run("mypy", "--python-version", version, cache)
    programs = ("noxfile.py", "docs/conf.py", "docs/_extensions", "docs/manual_page.py")
    session.run("mypy", "--python-version", version, cache, *programs)
    session.run("pyright", "--pythonversion", version, "tests/typing")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Every test; `nox -s tests-3.13 -- -m "not slow"` leaves out those that say the same on every Python."""
    install(session, "-e", f".{EXTRAS}")
    run_tests(session)


@nox.session
def coverage(session: nox.Session) -> None:
    """Branch coverage of a run of the tests with `--cov`, whose file is $COVERAGE_FILE: all of the core, 95 % else."""
    session.install("coverage[toml]>=7.10")
    report = ("coverage", "report")
    session.run(*report, "--include=*/pinned_requests/core/*", "--fail-under=100")
    session.run(*report, "--omit=*/pinned_requests/core/*", "--fail-under=95")


@nox.session
def lowest(session: nox.Session) -> None:
    """Test with the lowest declared versions of requests, urllib3 and cryptography."""
    constraints = Path(session.create_tmp(), "lowest.txt").resolve()
    exact = [requirement.replace(">=", "==") for requirement in PROJECT["project"]["dependencies"]]
    constraints.write_text("\n".join(exact) + "\n", "utf-8")
    session.log("with %s", " ".join(exact))
    install(session, "-c", str(constraints), "-e", f".{EXTRAS}")
    run_tests(session)


@nox.session
def wheel(session: nox.Session) -> None:
    """Build into $DIST, look at what was built, and run tests on it, without src/."""
    folder = Path(session.create_tmp()).resolve()
    distributions, unpacked = Path(os.environ.get("DIST", folder / "dist")).resolve(), folder / "unpacked"
    for old in (distributions, unpacked):
        shutil.rmtree(old, ignore_errors=True)

    install(session, groups=("release",))
    session.run("python", "-m", "build", "--outdir", str(distributions), silent=True)
    (built,), (source,) = distributions.glob("*.whl"), distributions.glob("*.tar.gz")
    session.run("twine", "check", "--strict", str(built), str(source))
    check_wheel(session, built)

    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
    (folder / source.name.removesuffix(".tar.gz")).rename(unpacked)
    shutil.rmtree(unpacked / "src")
    install(session, f"{built}{EXTRAS}")
    with session.chdir(unpacked):
        # `check_wheel()` has shown that it holds the files that all other runs test.
        run_tests(session, "-m", "not slow", "tests/unit", "tests/integration/cli/test_demo.py")


def check_wheel(session: nox.Session, built: Path) -> None:
    """Check that the wheel is small, holds all of src/ and nothing else, and that its page needs no clone."""
    size = built.stat().st_size
    with zipfile.ZipFile(built) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    (description,) = (text.decode() for name, text in packed.items() if name.endswith(".dist-info/METADATA"))
    files = (path for path in Path("src").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    missing = [str(path) for path in files if packed.get(path.relative_to("src").as_posix()) != path.read_bytes()]
    own = r"pinned_requests/|pytest_pinned_requests\.py$|pinned_requests-[^/]+\.(dist-info/|data/data/share/man/)"
    ours = re.compile(own)
    strangers = [name for name in packed if not ours.match(name) or re.search(r"(^|/)(tests/|test_|conftest)", name)]
    clone_only = re.findall(r"\]\((?!https://|#)[^)]*\)|sh tests/run\.sh", description)
    session.log("%s: %d files, %d bytes", built.name, len(packed), size)
    if size > WHEEL_LIMIT or strangers or missing or clone_only:
        session.error(f"the wheel has {size} bytes (limit {WHEEL_LIMIT}), {strangers=}, {missing=}, {clone_only=}")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site (every warning is an error, links within are checked), and run the doctests of the docstrings."""
    install(session, "-e", f".{EXTRAS}", groups=("docs",))
    out = Path(os.environ.get("DOCS_OUT", Path(session.create_tmp(), "site"))).resolve()
    options = ("--fail-on-warning", "--nitpicky", "--fresh-env", "--quiet", "-d", f"{session.create_tmp()}/doctrees")
    session.run("sphinx-build", *options, "-b", "html", "docs", str(out))
    session.run("sphinx-build", *options, "-b", "doctest", "docs", f"{session.create_tmp()}/doctest")
    session.log("open %s", out / "index.html")


@nox.session
def clients(session: nox.Session) -> None:
    """Run the snippets of docs/clients.md, each with its client, and the attacks that need one (gevent, websockets)."""
    install(session, "-e", f".{EXTRAS}", groups=("dev", "clients"))
    attacks = ("tests/attacks/test_tls_context.py", "tests/attacks/test_tls_lab.py")
    run_tests(session, "tests/integration/tls/test_clients.py", *attacks)


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Measure against other clients; `nox -s benchmarks -- --only kept-alive` takes a minute, all of it an hour.

    It measures the package as users install it, so `-R` measures what was installed before.
    """
    install(session, ".[cli,testing]", groups=("bench",))
    session.run("python", "-m", "benchmarks", *(session.posargs or ("--quick",)))


@nox.session
def sbom(session: nox.Session) -> None:
    """Write what an installation of the wheel with all extras consists of, as CycloneDX, into `sbom.json`."""
    install(session, groups=("release",))
    target = Path(session.create_tmp(), "installed").resolve()
    session.run("python", "-m", "venv", str(target))
    session.run(str(target / "bin/python"), "-m", "pip", "install", f".{EXTRAS}", external=True, silent=True)
    session.run(
        *("cyclonedx-py", "environment", str(target), "--pyproject", "pyproject.toml", "--mc-type", "library"),
        *("--output-reproducible", "--output-format", "JSON", "--output-file", "sbom.json"),
    )
