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
python -m pytest
