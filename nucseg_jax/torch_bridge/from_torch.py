"""A PyTorch checkpoint → a run's folder, as evaluation and prediction take it."""

import hashlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flax import nnx

from nucseg_jax.config import check_values, flatten, get_config
from nucseg_jax.errors import UserError
from nucseg_jax.models import create_model
from nucseg_jax.models.network import InputFormat, Weights, split_network
from nucseg_jax.runs.checkpoint import Checkpoints, describe
from nucseg_jax.slides.resolution import check_given
from nucseg_jax.torch_bridge.checkpoints import read_state_dict
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
    config = get_config()
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


def evaluation_command(workdir: Path, settings: Mapping[str, Any]) -> str:
    """The command line that scores a run that `convert` wrote.

    Args:
      workdir: of the run.
      settings: dotted keys → values of its network; those that are not the defaults are named.
    """
    usual = flatten(get_config().to_dict())
    changes = [f"{key}={value}" for key, value in settings.items() if value != usual[key]]
    words = [
        "nucseg",
        "evaluate",
        "psp",
        "--workdir",
        str(workdir),
        *(["--set", *changes] if changes else []),
    ]
    return shlex.join(words)
