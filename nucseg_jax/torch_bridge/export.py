"""A run's checkpoint → a file that PyTorch's `load_state_dict` takes, under the published keys.

python -m nucseg_jax.torch_bridge.export --workdir DIR --out FILE.pth
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from flax import nnx

from nucseg_jax import checkpoint, sharding
from nucseg_jax.errors import UserError
from nucseg_jax.models import create_model
from nucseg_jax.stain import experiment
from nucseg_jax.torch_bridge.files import write_state_dict
from nucseg_jax.torch_bridge.weights import state_arrays


def export(workdir: Path, out: Path, step: int | None = None) -> checkpoint.LoadedModel:
    """Write the weights of a checkpoint as a PyTorch state dict.

    Args:
      workdir: a run's folder.
      out: the file.
      step: which checkpoint; None: the best on the validation images, or the last.

    Returns:
      The checkpoint that was written.

    Raises:
      CheckpointError: no such checkpoint.
    """
    loaded = checkpoint.load_model(workdir, sharding.make_mesh(), step)
    config = loaded.info["config"]["model"]
    model = create_model(
        config["name"],
        num_classes=config["num_classes"],
        width=config["width"],
        rngs=nnx.Rngs(params=0, dropout=0),
    )
    nnx.update(model, loaded.params, loaded.batch_stats)
    write_state_dict(out, state_arrays(model))
    return loaded


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m nucseg_jax.torch_bridge.export", description=__doc__)
    parser.add_argument("--workdir", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--step", type=int, help="default: the best on the validation images, or the last")
    args = parser.parse_args(argv)
    try:
        loaded = export(args.workdir, args.out, args.step)
    except UserError as error:
        sys.exit(f"error: {error}")
    order, scale = loaded.info["channel_order"], loaded.info.get("input_scale", 1.0)
    in_network = experiment.in_network(loaded.info.get("stain"))
    stain = in_network.name if in_network else loaded.info["config"]["data"]["stain"]
    print(
        f"wrote {args.out}: step {loaded.step} of {args.workdir}. It takes images as {order} divided by 255, "
        f"at scale {scale:g}, stain {stain}"
    )


if __name__ == "__main__":
    main()
