#!/usr/bin/env bash
# Several machines under SLURM, one process a machine; JAX finds the others through SLURM's variables.
#
#   sbatch --nodes=4 --gpus-per-node=8 launch/slurm.sh configs/psp.py --config.batch_size=64
#
# Cores and memory are for a machine of eight GPUs: two cores a GPU, which cut the patches, and room for the images.
# Give sbatch others for other machines: --cpus-per-task=4 --mem=16G with one GPU. Without a word SLURM gives
# one core for all GPUs of a machine, which then wait for patches.
# The working folder (checkpoints) and the prepared dataset ($TFDS_DATA_DIR) must be on a file system that
# all machines share. A job that was cut off goes on from its last checkpoint when submitted again.
#SBATCH --job-name=nucseg_jax
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --mem=64G
#SBATCH --requeue
#SBATCH --output=%x-%j.log
set -euo pipefail
# One process drives all GPUs of its machine; JAX would give each SLURM task one GPU only.
JAX_LOCAL_DEVICE_IDS=$(seq -s, 0 $((${SLURM_GPUS_ON_NODE:-1} - 1)))
export JAX_LOCAL_DEVICE_IDS
# Since release 22.05 srun does not take the job's number of cores for its own.
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
config=${1:?usage: sbatch launch/slurm.sh CONFIG [--config.KEY=VALUE ...]}
exec srun --kill-on-bad-exit=1 "${PYTHON:-python}" -m nucseg_jax.main --distributed --config "$config" "${@:2}"
