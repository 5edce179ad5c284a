#!/usr/bin/env bash
#SBATCH --job-name=septet
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --requeue
#SBATCH --open-mode=append
# SIGTERM comes 660 s before the end: time for a step, and for a save of at most 600 s.
#SBATCH --signal=TERM@660
# From the repository: sbatch --nodes N --time T infra/train/slurm.sh MODEL CORPUS [flags…]
# The run saves when its time is up; submitted or requeued again, it resumes exactly.
set -euo pipefail
exec srun infra/train/launch.sh "$@"
