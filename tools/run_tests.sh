#!/usr/bin/env bash
# Everything a change must pass: format, lint, types of the public interface, tests. Runs all of them, then says what failed.
#
#   bash tools/run_tests.sh [arguments of pytest]        e.g. tests/ops -x, or -n0 --pdb to debug
#
# STRUCTKD_TEST_WORKERS   pytest processes (default 2)
# STRUCTKD_DATA           folder with real data; tests that need it say so and are skipped without it
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/env.sh
structkd_env train,points,onnx,tensorboard,dev

# One thread for each process: sums come out the same on every machine, and two workers do not fight over two cores.
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
if [ -z "${STRUCTKD_DATA:-}" ] && [ -d ../shared/data ]; then
    STRUCTKD_DATA=$(cd ../shared/data && pwd)
    export STRUCTKD_DATA
fi

failed=""
check() {  # NAME COMMAND...
    local name=$1 start=$SECONDS
    shift
    printf '\n== %s\n' "$name"
    "$@" || failed="$failed, $name"
    printf '== %s: %d s\n' "$name" $((SECONDS - start))
}
check "format" "$PYTHON" -m ruff format --check .
check "lint" "$PYTHON" -m ruff check .
check "types" "$PYTHON" -m mypy
check "tests" "$PYTHON" -m pytest -n "${STRUCTKD_TEST_WORKERS:-2}" --dist loadfile --durations 10 "$@"

if [ -n "$failed" ]; then
    printf '\nFAILED: %s\n' "${failed#, }"
    exit 1
fi
printf '\nAll passed.\n'
