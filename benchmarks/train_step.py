"""Time, memory and FLOP utilisation of a training step, beside PyTorch's.

python -m benchmarks.train_step [NETWORK …] [--dtype bfloat16 tf32] [--peers eager channels_last compile]

A step: uint8 images on the device, forward pass in training mode, cross-entropy, gradients, SGD with
momentum; the same in both. Ours and the peers run in turn in one process; "ours ÷ peer" is the median
(quartiles) of the pairs' ratios, below 1 where ours is faster. Memory: on GPUs the peak of each framework's
allocator; on CPUs XLA's plan. Utilisation: three times the FLOPs of the plain forward pass (recomputation is
not counted), over the step's time, as a part of the rate of a large matrix product in the same dtype,
measured in the same process. On GPUs PyTorch has `cudnn.benchmark` on, autocast for bfloat16,
and TensorFloat-32 unless --dtype float32.
"""

from collections.abc import Sequence

from benchmarks import compare, ours, peers


def main(argv: Sequence[str] | None = None) -> None:
    compare.run("train_step", __doc__, ours.training, peers.training, argv)


if __name__ == "__main__":
    main()
