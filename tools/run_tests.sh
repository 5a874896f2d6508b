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

# mmdet3d needs NumPy 1, everything else is tested with NumPy 2: an environment of its own, as its users have.
mmdet3d_tests() (
    STRUCTKD_VENV=${STRUCTKD_VENV:-$structkd_root/.venv}-mmdet3d
    structkd_env train,mmdet3d,dev || exit 1
    "$PYTHON" -m pytest -n "${STRUCTKD_TEST_WORKERS:-2}" --dist loadfile --durations 5 \
        tests/engine/openmmlab tests/adapters/test_mmdet3d.py tests/third_party
)
if [ $# -gt 0 ]; then
    printf '\nArguments were given: the tests with mmdet3d installed are left out.\n'
elif "$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))'; then
    check "tests with mmdet3d" mmdet3d_tests
else
    printf '\nmmdet3d installs on Python 3.11 and 3.12 only: its tests are left out.\n'
fi

if [ -n "$failed" ]; then
    printf '\nFAILED: %s\n' "${failed#, }"
    exit 1
fi
printf '\nAll passed.\n'
