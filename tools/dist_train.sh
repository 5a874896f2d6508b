#!/usr/bin/env bash
# Train on several processes of this machine (or, with NNODES, NODE_RANK, MASTER_ADDR and PORT set, of several).
#
#   bash tools/dist_train.sh CONFIG PROCESSES [arguments of tools/train.py]
set -euo pipefail
cd "$(dirname "$0")/.."
config=${1:?a config file}
processes=${2:?the number of processes (GPUs) on this machine}
shift 2
python=python
[ ! -x "${STRUCTKD_VENV:-.venv}/bin/python" ] || python=${STRUCTKD_VENV:-.venv}/bin/python
exec "$python" -m torch.distributed.run --nnodes "${NNODES:-1}" --node-rank "${NODE_RANK:-0}" \
    --master-addr "${MASTER_ADDR:-127.0.0.1}" --master-port "${PORT:-29500}" --nproc-per-node "$processes" \
    tools/train.py "$config" --launcher pytorch "$@"
