#!/usr/bin/env bash
# From a fresh clone to a table and a report: a GNN teacher, a plain MLP, and the same MLP distilled in three ways.
#
#   bash tools/quickstart.sh [--work-dir DIR] [any further argument of tools/train.py]
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/env.sh

work_dir=work_dirs/quickstart
if [ "${1:-}" = --work-dir ]; then
    work_dir=${2:?--work-dir needs a folder}
    shift 2
fi

start=$SECONDS
structkd_env train
# The digits are 1,797 small vectors: threads would cost more than they give, above all on a busy machine.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
echo "Training on the handwritten digits that come with scikit-learn (nothing is downloaded)"
"$PYTHON" tools/train.py configs/graphs/compare/gnn_to_mlp_digits.py --work-dir "$work_dir" --seeds 0 1 2 "$@"
"$PYTHON" tools/report.py "$work_dir"
echo "Quickstart took $((SECONDS - start)) s. Next: README.md, on your own graph and in your own training loop."
