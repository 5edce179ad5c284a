#!/usr/bin/env bash
# Starts `septet train` on every GPU of this machine, and of others where there are several.
set -euo pipefail

usage() {
  cat >&2 <<'TEXT'
usage: launch.sh MODEL CORPUS [further flags of `septet train`…]

RANKS      processes on this machine (default: its GPUs, or 1 without any)
NODES      machines (default: 1); each runs this command
NODE       this machine's number, from 0
MASTER     host:port of machine 0, which the others reach it by
SAVE_TIME  seconds that a save may take after SIGTERM (default: 600)

Under Slurm NODES, NODE and MASTER are taken from the job; see README.md.
TEXT
  exit 2
}

(($# >= 2)) || usage
gpus=$(nvidia-smi --list-gpus 2>/dev/null | wc -l) || gpus=0
ranks=${RANKS:-$((gpus > 0 ? gpus : 1))}
nodes=${NODES:-${SLURM_NNODES:-1}} node=${NODE:-${SLURM_NODEID:-0}}
where=(--standalone)
if ((nodes > 1)); then
  if [[ -z ${MASTER:-} && -n ${SLURM_JOB_NODELIST:-} ]]; then
    MASTER=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1):29500
  fi
  [[ ${MASTER:-} == *:* ]] || {
    echo "MASTER is HOST:PORT of machine 0, not '${MASTER:-}'" >&2
    exit 2
  }
  where=(--nnodes "$nodes" --node-rank "$node" --master-addr "${MASTER%:*}"
    --master-port "${MASTER##*:}")
fi
# torchrun kills its ranks 30 seconds after it passed SIGTERM on unless it is told to wait.
exec torchrun --shutdown-timeout "${SAVE_TIME:-600}" "${where[@]}" --nproc-per-node "$ranks" \
  -m septet train "$@"
