#!/bin/sh
# Runs the tests in a virtual environment of their own, which is removed afterwards.
# $PYTHON selects the interpreter (default: python3); arguments go to pytest.
set -eu

cd "$(dirname "$0")/.."
venv=$(mktemp -d)
trap 'rm -rf "$venv"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Compiled once, and nothing of it into the source tree: the tests start hundreds of interpreters. So pip need not compile.
unset PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX="$venv/pycache" PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '%s\n' "$*" >&2; }

say "Making a virtual environment with $("${PYTHON:-python3}" --version) and installing the tests' dependencies (a minute or two) …"
"${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/python" -m pip install -qq --no-compile --upgrade 'pip>=25.1' # the first with --group
"$venv/bin/python" -m pip install -qq --no-compile --editable '.[cli,remote,testing]' --group dev
say "Running the tests (several minutes; skipped ones say why at the end) …"
"$venv/bin/python" -W error -m pytest -q -rs -n auto "$@"
