#!/usr/bin/env bash
# Three data iterations end to end: 10 %, +40 % and +50 % of what is to be annotated, the second and third aimed by what
# the dashboard advised, each trained, judged on children never trained on, and shown on one page. docs/story.md.
#
#   bash eval/story.sh                                   renders its own data by seed
#   bash eval/story.sh --data nursery --testset eval/testsets/nursery-stills
#
#   --out DIR         everything is written here (story)
#   --data DIR        a data set to draw from; rendered where not given
#   --testset DIR     a frozen test set, repeat for several; rendered where not given
#   --count N         stills to render (1000); --tests N test stills (120), --clips N test clips of known length (24)
#   --seed N          of the rendering (7100); the test sets get the two seeds after it
#   --annotate P      how many per cent of the data set's children are annotated in all (60): with 100 the third chunk
#                     would be all that is left, and no advice could change it
#   --config FILE     configs/story.yaml; --epochs N replaces its epochs
#   --start-from FILE weights that every training starts from; none by default
#   --nice N          of all commands (0)
#   --dry-run         print the commands, run none
#
# The same command goes on after an interruption: what is finished is not done again.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/.." && pwd)

OUT=story DATA= TESTSETS=() COUNT=1000 TESTS=120 CLIPS=24 SEED=7100 ANNOTATE=60 CONFIG=$ROOT/configs/story.yaml
EPOCHS=() START=() NICE=0 DRY=
need() { [ $# -ge 2 ] || { echo "error: $1 needs a value. See the head of $0" >&2; exit 2; }; }
while [ $# -gt 0 ]; do
  case "$1" in
    --dry-run) DRY=1; shift; continue ;;
    -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    --out | --data | --testset | --count | --tests | --clips | --seed | --annotate | --config | --epochs | \
      --start-from | --nice) need "$@" ;;
    *) echo "error: unknown option '$1'. See the head of $0" >&2; exit 2 ;;
  esac
  case "$1" in
    --out) OUT=$2 ;;
    --data) DATA=$2 ;;
    --testset) TESTSETS+=("$2") ;;
    --count) COUNT=$2 ;;
    --tests) TESTS=$2 ;;
    --clips) CLIPS=$2 ;;
    --seed) SEED=$2 ;;
    --annotate) ANNOTATE=$2 ;;
    --config) CONFIG=$2 ;;
    --epochs) EPOCHS=(--epochs "$2") ;;
    --start-from) START=(--start-from "$2") ;;
    --nice) NICE=$2 ;;
  esac
  shift 2
done

HEIGHTPOSE=${HEIGHTPOSE:-}
if [ -z "$HEIGHTPOSE" ]; then
  HEIGHTPOSE=heightpose
  [ ! -x "$ROOT/.venv/bin/heightpose" ] || HEIGHTPOSE=$ROOT/.venv/bin/heightpose
fi

# Run one verb of heightpose, or print it.
run() {
  printf '+ heightpose' >&2
  printf ' %q' "$@" >&2
  echo >&2
  # HEIGHTPOSE may be several words, such as "python -m heightpose.cli.main".
  # shellcheck disable=SC2086
  [ -n "$DRY" ] || nice -n "$NICE" $HEIGHTPOSE "$@"
}

# Whether a step's result is there already.
is_done() { [ -e "$1" ]; }

[ -n "$DRY" ] || mkdir -p "$OUT"

# 1. The data set and the test sets. An interrupted rendering goes on by itself.
if [ -z "$DATA" ]; then
  DATA=$OUT/nursery
  is_done "$DATA/annotations.json" || run synth --out "$DATA" --count "$COUNT" --seed "$SEED"
fi
if [ ${#TESTSETS[@]} -eq 0 ]; then
  is_done "$OUT/stills/annotations.json" ||
    run synth --out "$OUT/stills" --count "$TESTS" --seed $((SEED + 1)) --split test
  is_done "$OUT/stills/testset.yaml" || run data freeze "$OUT/stills" --name story-stills --version 1
  TESTSETS=("$OUT/stills")
  if [ "$CLIPS" -gt 0 ]; then
    is_done "$OUT/clips/testset.yaml" ||
      run synth --out "$OUT/clips" --clips --easy --frames 6 --size 560x420 --samples 6 --count "$CLIPS" --seed $((SEED + 2))
    TESTSETS+=("$OUT/clips")
  fi
fi
HELD_OUT=() PICTURES=()
for testset in "${TESTSETS[@]}"; do
  HELD_OUT+=(--testset "$testset")
  [ ! -d "$testset" ] || PICTURES+=(--pictures "$testset")
done

# A share of the pool's children in per cent, out of a share of what is annotated in all.
share() { awk -v part="$1" -v all="$ANNOTATE" 'BEGIN { printf "%g%%", part * all / 100 }'; }

# page [ADVICE]: the dashboard of everything so far.
page() {
  local advice=()
  [ $# -eq 0 ] || advice=(--advice "$1")
  run dashboard --runs "$OUT/runs" --runs "$OUT/results" --out "$OUT/dashboard.html" "${PICTURES[@]}" "${advice[@]}" \
    --title "Three data iterations"
}

# iteration NAME PART NOTE OPTIONS...: draw a chunk, train on all so far, judge.
iteration() {
  local name=$1 part=$2 note=$3 resume=() testset
  is_done "$OUT/iterations/$name.json" ||
    run data iteration new "$name" --root "$OUT/iterations" --data "$DATA" --share "$(share "$part")" "${@:4}"
  ! is_done "$OUT/runs/$name/last.ckpt" || resume=(--resume)
  is_done "$OUT/runs/$name/metrics.json" ||
    run train "$CONFIG" --iteration "$name" --iterations-root "$OUT/iterations" --out "$OUT/runs/$name" \
      --note "$note" "${EPOCHS[@]}" "${START[@]}" "${resume[@]}"
  for testset in "${TESTSETS[@]}"; do
    local result
    result=$OUT/results/$name-$(basename "$testset")
    is_done "$result/result.json" || run eval --testset "$testset" --run "$OUT/runs/$name" --out "$result"
  done
}

# Advice once given stays, as what was drawn by it came of it.
iteration poc 10 "proof of concept, 10 %" "${HELD_OUT[@]}"
is_done "$OUT/advice-1.json" || page "$OUT/advice-1.json"
iteration second 40 "+40 %, as advised" --advice "$OUT/advice-1.json"
is_done "$OUT/advice-2.json" || page "$OUT/advice-2.json"
iteration third 50 "+50 %, as advised" --advice "$OUT/advice-2.json"
page "$OUT/advice-3.json"
[ -n "$DRY" ] || echo "Open $OUT/dashboard.html"
