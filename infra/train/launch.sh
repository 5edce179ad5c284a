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
ADDRESS    this machine's name or address for the others (default: its host name)
RUN_ID     a word of this run's own, where several meet at one MASTER (default: septet)
RESTARTS   how often the processes here are started anew when one ends badly or another machine
           is lost (default: 3 where there are several machines, else 0)
JOIN_TIME  seconds that machines wait for each other at a start (default: 600)
SAVE_TIME  seconds that a save may take after SIGTERM (default: 600)

Under Slurm NODES, NODE, MASTER, ADDRESS and RUN_ID are taken from the job; see infra/slurm.
TEXT
  exit 2
}

node_address() { # as Slurm itself reaches the node
  scontrol --oneliner show node "$1" | grep --only-matching --perl-regexp ' NodeAddr=\K\S+'
}

(($# >= 2)) || usage
gpus=$(nvidia-smi --list-gpus 2>/dev/null | wc -l) || gpus=0
ranks=${RANKS:-$((gpus > 0 ? gpus : 1))}
nodes=${NODES:-${SLURM_NNODES:-1}} node=${NODE:-${SLURM_NODEID:-0}}
where=(--standalone --max-restarts "${RESTARTS:-0}")
if ((nodes > 1)); then
  if [[ -z ${MASTER:-} && -n ${SLURM_JOB_NODELIST:-} ]]; then
    first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    MASTER=$(node_address "$first"):$((29500 + SLURM_JOB_ID % 1000))
    ADDRESS=${ADDRESS:-$(node_address "$SLURMD_NODENAME")}
  fi
  [[ ${MASTER:-} == *:* ]] || {
    echo "MASTER is HOST:PORT of machine 0, not '${MASTER:-}'" >&2
    exit 2
  }
  where=(--nnodes "$nodes" --rdzv-backend c10d --rdzv-endpoint "$MASTER"
    --rdzv-id "${RUN_ID:-septet${SLURM_JOB_ID:+-$SLURM_JOB_ID}}"
    --rdzv-conf "is_host=$((node == 0)),join_timeout=${JOIN_TIME:-600}"
    --max-restarts "${RESTARTS:-3}" ${ADDRESS:+--local-addr "$ADDRESS"})
  # One store for all rounds would stay with the machine that it was first on, were that lost.
  export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
fi
# torchrun kills its ranks 30 seconds after it passed SIGTERM on unless it is told to wait.
exec torchrun --shutdown-timeout "${SAVE_TIME:-600}" "${where[@]}" --nproc-per-node "$ranks" \
  -m septet train "$@"
