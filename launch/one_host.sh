#!/usr/bin/env bash
# One machine with any number of GPUs: one process drives them all, no launcher needed.
#
#   launch/one_host.sh configs/psp.py --config.batch_size=16 --config.model.dtype=bfloat16
#
# The batch is split over the GPUs, so its size must be a multiple of their number. To use some of them:
# CUDA_VISIBLE_DEVICES=0,1. To try it without a GPU, simulate eight devices on the CPU:
# XLA_FLAGS=--xla_force_host_platform_device_count=8
set -euo pipefail
config=${1:?usage: launch/one_host.sh CONFIG [--config.KEY=VALUE ...]}
exec "${PYTHON:-python}" -m nucseg_jax.main --config "$config" "${@:2}"
