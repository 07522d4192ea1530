#!/usr/bin/env bash
# N processes on this machine that train together: to try a run of several hosts without having them.
#
#   launch/local_processes.sh 2 configs/demo.py
#
# On the CPU: on a machine of GPUs one process drives them all (launch/one_host.sh). Where port 12355 is
# taken, set JAX_COORDINATOR_ADDRESS=127.0.0.1:PORT. On several machines without SLURM, start
# the command below on each, with the three JAX_ variables set by hand.
set -euo pipefail
count=${1:?usage: launch/local_processes.sh N CONFIG [--config.KEY=VALUE ...]}
config=${2:?usage: launch/local_processes.sh N CONFIG [--config.KEY=VALUE ...]}
export JAX_PLATFORMS=${JAX_PLATFORMS:-cpu}
export JAX_COORDINATOR_ADDRESS=${JAX_COORDINATOR_ADDRESS:-127.0.0.1:12355} JAX_NUM_PROCESSES=$count
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
for ((i = 0; i < count; i++)); do
    JAX_PROCESS_ID=$i "${PYTHON:-python}" -m nucseg_jax.main --distributed --config "$config" "${@:3}" &
done
for ((i = 0; i < count; i++)); do
    wait -n  # a process that fails ends the script, which ends the others
done
