#!/usr/bin/env bash
# Many slides over many machines: each task of the array takes every n-th slide of a list.
#
#   sbatch --array=0-7 --gpus=1 launch/slurm_predict.sh slides.txt OUT [--workdir RUN --mpp 0.25 ...]
#
# The list has one slide a line; it, the slides, the run (if one is given) and OUT are on a file system that all machines share.
# A slide's folder in OUT appears when complete. The job may be submitted again, with any size of array, even while
# other tasks run: it does the slides that are missing. A slide that another task works on is not done twice: a task
# waits for it at the end, and does it itself if the other gives up. The array is a range, as 0-7, and no list. What
# a killed task has left is deleted by the next one that works on its slide; on another machine, after a day. A task
# ends without an error when all slides of its share are done, and with one if any of them has failed.
# Eight cores for one GPU: they read the slide, and cut the nuclei out of what the GPU finds.
#SBATCH --job-name=nucseg_predict
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --requeue
#SBATCH --output=%x-%A_%a.log
set -euo pipefail
usage="usage: sbatch --array=0-N launch/slurm_predict.sh LIST OUT [ARGUMENT ...]"
list=${1:?$usage} out=${2:?$usage}
count=${SLURM_ARRAY_TASK_COUNT:-1}
# Counted from the array's least index, by its step, so that --array=1-8 and 0-14:2 do, too.
number=$(((${SLURM_ARRAY_TASK_ID:-0} - ${SLURM_ARRAY_TASK_MIN:-0}) / ${SLURM_ARRAY_TASK_STEP:-1} + 1))
exec "${PYTHON:-python}" -m nucseg_jax.predict --list "$list" --share "$number/$count" --out "$out" \
    "${@:3}"
