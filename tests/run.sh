#!/bin/sh
# Runs the tests in a virtual environment of their own, which is removed afterwards.
# $PYTHON selects the interpreter (default: python3); arguments go to pytest.
set -eu

cd "$(dirname "$0")/.."
venv=$(mktemp -d)
trap 'rm -rf "$venv"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Compiled once, and nothing of it into the source tree: the tests start hundreds of interpreters.
unset PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX="$venv/pycache"

"${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/python" -m pip install -qq --disable-pip-version-check --editable '.[dev]'
"$venv/bin/python" -W error -m pytest -q -n auto "$@"
