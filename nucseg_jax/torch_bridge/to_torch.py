"""A run's checkpoint → a file that PyTorch's `load_state_dict` takes, under the published keys."""

from pathlib import Path

from flax import nnx

from nucseg_jax import devices
from nucseg_jax.models import create_model
from nucseg_jax.runs import loading, stain_target
from nucseg_jax.runs.model import LoadedModel
from nucseg_jax.torch_bridge.checkpoints import write_state_dict
from nucseg_jax.torch_bridge.weights import state_arrays


def export(workdir: Path, out: Path, step: int | None = None) -> LoadedModel:
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
    loaded = loading.load_model(workdir, devices.make_mesh(), step)
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


def input_of(loaded: LoadedModel) -> str:
    """How a network takes images, for people."""
    order, scale = loaded.info["channel_order"], loaded.info.get("input_scale", 1.0)
    in_network = stain_target.in_network(loaded.info.get("stain"))
    stain = in_network.name if in_network else loaded.info["config"]["data"]["stain"]
    return f"images as {order} divided by 255, at scale {scale:g}, stain {stain}"
