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
# Two processes of one thread each: trainings, networks, rendering and calibration in the one, the rest in the other, about
# as long as each other.
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
# The tests start a hundred processes, each of which would compile the package anew.
unset PYTHONDONTWRITEBYTECODE
# Their files are many and small: in memory where there is room for them, as a disk makes each one wait until it is safe.
shared_memory_kb=$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1 || true)
if [ -w /dev/shm ] && [ "${shared_memory_kb:-0}" -gt 4000000 ]; then TMPDIR=/dev/shm; fi
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/heightpose.XXXXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
report=$TMPDIR/trainings.txt
# A test that hangs where Python's own time limit is not heard ends with a traceback of all threads (SIGABRT).
limited() { if command -v timeout > /dev/null; then timeout --signal=ABRT --kill-after=30 2400 "$@"; else "$@"; fi; }
limited python -m pytest tests/train tests/models tests/ablate tests/synth tests/calibrate > "$report" 2>&1 &
trainings=$!
failed=0
limited python -m pytest --ignore tests/train --ignore tests/models --ignore tests/ablate --ignore tests/synth \
    --ignore tests/calibrate || failed=1
wait "$trainings" || failed=1
cat "$report"
exit "$failed"
