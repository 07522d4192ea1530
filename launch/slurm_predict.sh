#!/usr/bin/env bash
# Many slides over many machines: each task of the array takes every n-th line of a list.
#
#   sbatch --array=0-7 --gpus=1 launch/slurm_predict.sh RUN slides.txt OUT [--mpp 0.25 ...]
#
# The list has one slide a line; it, the run, the slides and OUT are on a file system that all machines share.
# Tasks know nothing of each other: a slide's folder in OUT appears when complete. Submitted again, with any
# size of array, the job does what is missing. A task ends with an error if slides of its share have failed.
#SBATCH --job-name=nucseg_predict
#SBATCH --requeue
#SBATCH --output=%x-%A_%a.log
set -euo pipefail
usage="usage: sbatch --array=0-N launch/slurm_predict.sh RUN LIST OUT [ARGUMENT ...]"
run=${1:?$usage} list=${2:?$usage} out=${3:?$usage}
share=$(mktemp)
trap 'rm -f "$share"' EXIT
# Counted from the array's least index, so that --array=1-8 does, too.
awk -v n="${SLURM_ARRAY_TASK_COUNT:-1}" -v k="$((${SLURM_ARRAY_TASK_ID:-0} - ${SLURM_ARRAY_TASK_MIN:-0}))" \
    'NF && $1 !~ /^#/ && i++ % n == k' "$list" >"$share"
if [[ ! -s $share ]]; then
    echo "no slide is left for task ${SLURM_ARRAY_TASK_ID:-0}"
    exit 0
fi
"${PYTHON:-python}" -m nucseg_jax.predict --workdir "$run" --list "$share" --out "$out" "${@:4}"
