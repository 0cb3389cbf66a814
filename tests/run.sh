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
# Two processes of one thread each: trainings, networks, calibration and rendering in the one, everything else in the other, about
# as long as each other.
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
report=$(mktemp)
trap 'rm -f "$report"' EXIT
python -m pytest tests/train tests/models tests/ablate tests/calibrate tests/synth > "$report" 2>&1 &
trainings=$!
failed=0
python -m pytest --ignore tests/train --ignore tests/models --ignore tests/ablate --ignore tests/calibrate --ignore tests/synth || failed=1
wait "$trainings" || failed=1
cat "$report"
exit "$failed"
