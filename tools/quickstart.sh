#!/usr/bin/env bash
# From a fresh clone to a table and a report; nothing is downloaded but packages.
#
#   bash tools/quickstart.sh [graphs] [--work-dir DIR] [any further argument of tools/train.py]
#       a GNN teacher, a plain MLP, and the same MLP distilled in three ways, on handwritten digits: two minutes
#   bash tools/quickstart.sh points [...]
#       a LiDAR detector, one with a 16th of its weights, and that one distilled, on simulated streets: seven minutes
#   bash tools/quickstart.sh images [...]
#       a CNN teaches a small transformer with KD and TRG, on handwritten digits as images
#   bash tools/quickstart.sh modules [...]
#       m2mKD in all its phases: a transformer teaches a narrower one module by module, on the same images
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/env.sh

case "${1:-}" in
    graphs | points | images | modules) kind=$1; shift ;;
    *) kind=graphs ;;
esac
work_dir=work_dirs/quickstart
[ "$kind" = graphs ] || work_dir=${work_dir}_$kind
if [ "${1:-}" = --work-dir ]; then
    work_dir=${2:?--work-dir needs a folder}
    shift 2
fi

start=$SECONDS
if [ "$kind" = points ]; then
    structkd_env train,points
    echo "Simulating streets in KITTI's layout, then training on them"
    "$PYTHON" tools/train.py configs/points/compare/pointpillars_simulated_small.py --work-dir "$work_dir" "$@"
else
    structkd_env train
    # The digits are 1,797 small vectors: threads would cost more than they give, above all on a busy machine.
    export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
    echo "Training on the handwritten digits that come with scikit-learn"
    case $kind in
        graphs) set -- configs/graphs/compare/gnn_to_mlp_digits.py --seeds 0 1 2 "$@" ;;
        images) set -- configs/images/trg/quickstart_digits.py "$@" ;;
        modules) set -- configs/images/m2mkd/vit_digits.py --seeds 0 "$@" ;;
    esac
    "$PYTHON" tools/train.py "$@" --work-dir "$work_dir"
fi
"$PYTHON" tools/report.py "$work_dir"
echo "Quickstart took $((SECONDS - start)) s. Next: README.md, on your own data and in your own training loop."
