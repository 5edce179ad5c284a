#!/usr/bin/env bash
# Builds the workers' image, pushes it, and starts a build on Dataflow.
set -euo pipefail

usage() {
  cat >&2 <<'TEXT'
usage: launch.sh --project NAME --region NAME --bucket gs://BUCKET --image IMAGE
                 [further flags of this script] RECIPE [further flags of `septet build`…]

  --image IMAGE   where the workers' image goes, as europe-docker.pkg.dev/PROJECT/septet/septet:1
  --extras LIST   extras of Septet that the recipe's stages need, as train,ocr
  --skip-image    the image is there already
  --max-workers N        of a job; without it the service's own limit
  --autoscaling KIND     THROUGHPUT_BASED (the service's own choice) or NONE
  --machine TYPE         of workers, as n2-standard-8
  --column-machine TYPE  of workers of the jobs that make columns, as g2-standard-8
  --column-accelerator TYPE:COUNT   their GPUs, as nvidia-l4:1; the service installs the driver

CONTAINER is the tool that builds images (default: podman, else docker).
TEXT
  exit 2
}

project='' region='' bucket='' image='' extras='' build_image=1
beam=() # flags for Beam, of which a value that is none fails in `septet build`
while (($#)); do
  case $1 in
    --project) project=${2:-} ;;
    --region) region=${2:-} ;;
    --bucket) bucket=${2:-} ;;
    --image) image=${2:-} ;;
    --extras) extras=${2:-} ;;
    --max-workers) beam+=("--beam=--max_num_workers=${2:-}") ;;
    --autoscaling) beam+=("--beam=--autoscaling_algorithm=${2:-}") ;;
    --machine) beam+=("--beam=--worker_machine_type=${2:-}") ;;
    --column-machine) beam+=("--beam=--column_machine_type=${2:-}") ;;
    --column-accelerator) beam+=("--beam=--column_accelerator=${2:-}") ;;
    --skip-image)
      build_image=0
      shift
      continue
      ;;
    --*) usage ;;
    *) break ;;
  esac
  shift 2 || usage
done
[[ -n $project && -n $region && -n $bucket && -n $image && $# -gt 0 ]] || usage
[[ $bucket == gs://* ]] || {
  echo "--bucket is gs://NAME, not $bucket" >&2
  exit 2
}

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
if ((build_image)); then
  container=${CONTAINER:-$(command -v podman || command -v docker || true)}
  [[ -n $container ]] || {
    echo "no podman or docker on PATH; set CONTAINER, or push the image elsewhere and --skip-image" >&2
    exit 2
  }
  "$container" build -f "$checkout/infra/dataflow/Containerfile" --build-arg "EXTRAS=$extras" \
    -t "$image" "$checkout"
  "$container" push "$image"
fi

recipe=$1
shift
exec septet build "$recipe" --runner dataflow \
  "--beam=--project=$project" "--beam=--region=$region" \
  "--beam=--temp_location=$bucket/temp" "--beam=--staging_location=$bucket/staging" \
  "--beam=--sdk_container_image=$image" "${beam[@]}" "$@"
