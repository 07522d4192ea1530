"""A PyTorch checkpoint → a run's folder, as `--mode eval` takes it.

python -m nucseg_jax.torch_bridge.convert --model psp_segnet --checkpoint FILE.pth --workdir DIR
"""

import argparse
import hashlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from flax import nnx

from configs import default
from nucseg_jax.checkpoint import Checkpoints, describe
from nucseg_jax.errors import UserError
from nucseg_jax.models import NETWORKS, create_model
from nucseg_jax.models.functional import CHANNEL_ORDERS, InputFormat, Weights, split_network
from nucseg_jax.run_checks import check_values
from nucseg_jax.slides.resolution import check_given
from nucseg_jax.torch_bridge.files import read_state_dict
from nucseg_jax.torch_bridge.weights import load_state_dict

AUTHORS_INPUT_SCALE = {"unet": 0.5, "fc_densenet": 0.5}
"""The paper's authors fed patches of 512 pixels: to these two networks at 256, to the others as they are."""


def convert(
    name: str,
    checkpoint: Path,
    workdir: Path,
    *,
    num_classes: int = 2,
    width: float = 1.0,
    input_format: InputFormat,
    stain: str = "vahadane",
    crop_size: int = 512,
    mpp: float | None = None,
) -> list[str]:
    """Write `WORKDIR/checkpoints/0` with the weights of a PyTorch checkpoint and how they take images.

    Args:
      name: the network, one of `create_model`'s.
      checkpoint: a file of `torch.save` that holds the network's state dict.
      workdir: a folder without checkpoints.
      num_classes, width: of the network.
      input_format: how its images were fed.
      stain: the stain normalisation of its training images, `data.stain`.
      crop_size: side of its training patches in pixels, `data.crop_size`.
      mpp: µm a pixel of its training images, before `input_format` scales them; None: not known.

    Returns:
      The keys that were ignored.

    Raises:
      UserError: the file is no such checkpoint, or the folder holds a run; nothing is written then.
    """
    if any(path.exists() and not path.is_dir() for path in (workdir, *workdir.parents)):
        raise UserError(f"cannot write {workdir}: it, or a folder above it, is a file")
    model = create_model(name, num_classes=num_classes, width=width, rngs=nnx.Rngs(params=0, dropout=0))
    ignored = load_state_dict(model, read_state_dict(checkpoint))
    config = default.get_config()
    config.model.name = name
    config.model.num_classes = num_classes
    config.model.width = width
    config.model.channel_order = input_format.channel_order
    config.model.input_scale = input_format.scale
    config.data.stain = stain
    config.data.crop_size = crop_size
    check_values(config, devices=1)
    source = {"file": checkpoint.name, "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest()}
    resolution = None
    if mpp is not None:
        resolution = {"image_mpp": check_given(mpp), "network_mpp": mpp, "source": "given by --mpp"}
    info = describe(config, {}, None, resolution) | {"converted_from": source}
    _, params, batch_stats = split_network(model, input_format)
    with Checkpoints(workdir, keep=1) as checkpoints:
        if checkpoints.latest is not None:
            raise UserError(f"{workdir} already holds checkpoints: name another --workdir")
        checkpoints.save(0, Weights(params, batch_stats), info)
    return ignored


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m nucseg_jax.torch_bridge.convert", description=__doc__)
    parser.add_argument("--model", required=True, choices=sorted(NETWORKS))
    parser.add_argument("--checkpoint", required=True, type=Path, help="file of torch.save")
    parser.add_argument("--workdir", required=True, type=Path, help="folder to write")
    parser.add_argument("--num-classes", type=int, default=2)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument(
        "--channel-order", choices=CHANNEL_ORDERS, default="BGR", help="default: BGR, as the authors fed"
    )
    parser.add_argument(
        "--input-scale", type=float, help="default: as the authors fed: 0.5 for unet, fc_densenet; else 1"
    )
    parser.add_argument("--stain", choices=("vahadane", "macenko", "reinhard", "none"), default="vahadane")
    parser.add_argument("--crop-size", type=int, default=512)
    parser.add_argument(
        "--mpp", type=float, metavar="UM", help="µm a pixel of its training images (default: not recorded)"
    )
    args = parser.parse_args(argv)
    scale = AUTHORS_INPUT_SCALE.get(args.model, 1.0) if args.input_scale is None else args.input_scale
    try:
        input_format = InputFormat(args.channel_order, scale)
        ignored = convert(
            args.model,
            args.checkpoint,
            args.workdir,
            num_classes=args.num_classes,
            width=args.width,
            input_format=input_format,
            stain=args.stain,
            crop_size=args.crop_size,
            mpp=args.mpp,
        )
    except UserError as error:
        sys.exit(f"error: {error}")
    print("\n  ".join([f"ignored {len(ignored)} keys", *ignored]))
    print(
        f"wrote {args.workdir}/checkpoints/0: {args.model}, images as {input_format.channel_order} divided "
        f"by 255, at scale {input_format.scale:g}, stain {args.stain}. Score it with:"
    )
    command = "python -m nucseg_jax.main --config configs/default.py --mode eval --workdir"
    print(" ".join([f"  {command} {shlex.quote(str(args.workdir))}", *_overrides(args)]))


def _overrides(args: argparse.Namespace) -> list[str]:
    """The config's flags where the network is not the default config's."""
    values = {
        "model.name": (args.model, "psp_segnet"),
        "model.num_classes": (args.num_classes, 2),
        "model.width": (args.width, 1.0),
        "data.stain": (args.stain, "vahadane"),
        "data.crop_size": (args.crop_size, 512),
    }
    return [f"--config.{key}={value}" for key, (value, usual) in values.items() if value != usual]


if __name__ == "__main__":
    main()
