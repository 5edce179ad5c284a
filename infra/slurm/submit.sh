#!/usr/bin/env bash
# Submits a training run to Slurm, with the code as it is now.
set -euo pipefail

usage() {
  cat >&2 <<'TEXT'
usage: submit.sh OUT [flags of sbatch…] -- MODEL CORPUS [further flags of `septet train`…]

OUT is the run's folder. The code, the command and the versions of all packages are copied to
OUT/submitted/N; the job runs that copy, whenever it starts or is requeued.

SNAPSHOTS  another folder for the copies, on a disk that all nodes see; needed where OUT is a URL

example: submit.sh runs/b32 --nodes 4 --gpus-per-node 8 --time 24:00:00 -- \
           clip corpora/web --preset vit-b-32
TEXT
  exit 2
}

fail() {
  echo "submit.sh: $1" >&2
  exit 2
}

(($# >= 4)) || usage
out=$1 flags=()
shift
while (($#)) && [[ $1 != -- ]]; do
  flags+=("$1")
  shift
done
(($# >= 3)) || usage
shift
for flag in "$@"; do
  case $flag in
    --out | --out=*) fail "the run's folder is the first argument, $out; leave $flag out" ;;
    --no-resume) fail "a requeued job would begin anew each time: give another folder instead" ;;
  esac
done
if [[ $out == *://* ]]; then
  [[ -n ${SNAPSHOTS:-} ]] || fail "$out is a URL: set SNAPSHOTS to a folder that all nodes see"
else
  SNAPSHOTS=${SNAPSHOTS:-$out/submitted}
fi
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
number=1
mkdir -p "$SNAPSHOTS"
until mkdir "$SNAPSHOTS/$number" 2>/dev/null; do number=$((number + 1)); done
snapshot=$(cd "$SNAPSHOTS/$number" && pwd)

mkdir "$snapshot/code"
tar --create --directory "$root" --exclude __pycache__ \
  septet schemas preprocess pipelines trainers infra pyproject.toml |
  tar --extract --directory "$snapshot/code"
{
  printf '%q ' infra/slurm/submit.sh "$out" "${flags[@]}" -- "$@"
  echo
} >"$snapshot/command"
python -c 'from importlib.metadata import distributions
for name in sorted({f"{one.name}=={one.version}" for one in distributions()}): print(name)' \
  >"$snapshot/packages.txt"
if git -C "$root" rev-parse HEAD >"$snapshot/commit" 2>/dev/null; then
  git -C "$root" diff HEAD --binary >"$snapshot/changes.patch"
fi
exec sbatch --output "$snapshot/job-%j.log" "${flags[@]}" "$root/infra/slurm/train.sbatch" \
  "$snapshot" "$@" --out "$out"
