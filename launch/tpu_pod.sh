#!/usr/bin/env bash
# A slice of Cloud TPUs, of one machine or of many: the same command on each of its machines.
#
#   ZONE=us-central2-b launch/tpu_pod.sh my-tpu configs/psp.py --workdir /mnt/shared/psp \
#       --config.batch_size=64 --config.data.dir=/mnt/shared/data --config.model.dtype=bfloat16
#
# Run it where `gcloud` is set up. Each machine of the slice needs the package with its extra `tpu`
# (pip install "nucseg_jax[tpu]"; with what the pipeline tfdata takes, "nucseg_jax[tpu,data]") and, if CONFIG is a
# file, this folder of the repository under $FOLDER. The working folder and the dataset are on a file system that all
# machines share (Filestore, or a bucket that gcsfuse mounts). JAX finds the machines of a slice by itself.
# The batch is split over all chips, so its size must be a multiple of their number.
set -euo pipefail
usage="usage: ZONE=ZONE launch/tpu_pod.sh TPU CONFIG [--workdir DIR] [--config.KEY=VALUE ...]"
tpu=${1:?$usage} config=${2:?$usage} zone=${ZONE:?$usage}
# Quoted for the shell of the machines.
printf -v command '%q ' "${PYTHON:-python3}" -m nucseg_jax.main --distributed --config "$config" "${@:3}"
exec gcloud compute tpus tpu-vm ssh "$tpu" --zone="$zone" --worker=all \
    --command="cd $(printf %q "${FOLDER:-.}") && $command"
