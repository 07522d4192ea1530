"""Time, memory and FLOP utilisation of a forward pass in inference mode, beside PyTorch's.

python -m benchmarks.inference [NETWORK …] [--dtype bfloat16 tf32] [--peers eager channels_last compile]

From uint8 images on the device to float32 logits on the device, with the running batch statistics. Ours and
the peers run in turn in one process; "ours ÷ peer" is the median (quartiles) of the pairs' ratios, below 1
where ours is faster. Memory and utilisation as in `benchmarks.train_step`, for one forward pass.
"""

from collections.abc import Sequence

from benchmarks import compare, ours, peers


def main(argv: Sequence[str] | None = None) -> None:
    compare.run("inference", __doc__, ours.inference, peers.inference, argv)


if __name__ == "__main__":
    main()
