#!/usr/bin/env bash
# Installs heightpose with every extra into .venv (kept between runs), then format, lint, types and tests.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x .venv/bin/python ] || python3 -m venv .venv
# shellcheck disable=SC1091
. .venv/bin/activate
python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
ruff format --check .
ruff check .
mypy
# One process per core, one thread each: two threads per process would only get in each other's way.
OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python -m pytest -n auto --dist loadfile
