"""Time, memory and FLOP utilisation of a training step of the recipes that ship, beside PyTorch's.

python -m benchmarks.shipped_train_step [he-fast] [he] [--peers eager channels_last compile augmented]

The step of configs/he_fast.py and configs/he.py in float32, from patches: uint8 images on the device, forward
pass in training mode, cross-entropy and Dice on depths, gradients, AdamW with a rate of its own for the
encoder, the moving average of the weights. Both do the same, from the same weights, which are drawn.
PyTorch's AdamW is its fused one. "augmented" is our step with the recipe's augmentation, which PyTorch's
users do in their loaders: "ours ÷ peer" is then the part of it that the step itself takes. Each peer's first
loss must be ours: "difference" is the part of it that they differ by. Times, memory and utilisation are those
of `benchmarks.train_step`, but a sample of short steps takes half a second. The last lines have the fastest
peer.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from benchmarks import ours, peers, shipped
from benchmarks.measure import Side, use_precision
from benchmarks.ours import Case, Ours
from configs import he, he_fast
from nucseg_jax.config import get_config
from nucseg_jax.data.rasters import DEPTH
from nucseg_jax.models.network import forward_flops
from nucseg_jax.training import augmentation, optim, start, train
from nucseg_jax.training.cycles import Cycles
from nucseg_jax.training.losses import DICE_PIXELS
from nucseg_jax.training.step import Given, compile_step

RECIPES = {"he-fast": he_fast.get_config, "he": he.get_config}
AUGMENTED = "augmented"
PEERS = (*peers.PEERS, AUGMENTED)

_STEPS_PER_EPOCH = 250.0  # what the recipes count their epochs in
_SCHEDULED = 1000  # steps whose rates are made before PyTorch's clock starts


def recipe(case: Case) -> ConfigDict:
    """A model's experiment with the case's images."""
    config = RECIPES[case.name]()
    config.data.crop_size, config.batch_size = case.size, case.batch
    return config


def from_patches(config: ConfigDict) -> ConfigDict:
    """The same without augmentation."""
    config.augment.update(get_config().augment)  # the defaults change nothing
    config.stain.update(augment_scale=0.0, augment_shift=0.0, augment_residual=0.0)
    return config


def arrays(case: Case) -> dict[str, np.ndarray]:
    """A random batch with a random `depth` uint8[B,S,S] of its nuclei."""
    batch = case.arrays()
    depth = np.random.default_rng(1).integers(1, 256, batch["label_map"].shape).astype(np.uint8)
    return batch | {DEPTH: depth * (batch["label_map"] > 0).astype(np.uint8)}


def training(case: Case) -> Ours:
    """Our step from patches."""
    return _side(case, from_patches(recipe(case)))


def peer(case: Case, name: str, platform: str) -> Side:
    """PyTorch's step, or our own with augmentation."""
    if name != AUGMENTED:
        return torch_step(case, name, platform)
    config = recipe(case)
    windows = replace(case, size=augmentation.window_size(config))
    return replace(_side(windows, config).side, result=None)


def _side(case: Case, config: ConfigDict) -> Ours:
    """Our step as training makes it, on images of the case."""
    use_precision(case.dtype)
    optimizer = train.make_optimizer(config)
    begun = start.fresh(config, ours.one_device(), optimizer, given_of(config))
    network, state = begun.network, begun.state()
    crop = config.data.crop_size  # windows are larger, and of any size
    flops = forward_flops(network, *state.weights, (case.batch, crop, crop, 3))
    step = compile_step(ours.one_device(), train.make_step(config, network, optimizer))
    return ours.training_side(step, state, arrays(case), flops)


def given_of(config: ConfigDict) -> Given:
    """The recipe's learning rates and seed."""
    schedule = train.learning_rates(config, Cycles.of(config, _STEPS_PER_EPOCH), _STEPS_PER_EPOCH)
    return Given.of(optim.table(schedule, _SCHEDULED), config.seed)


def torch_step(case: Case, name: str, platform: str) -> Side:
    """The same step in PyTorch.

    Args:
      case: of `training`.
      name: one of peers.PEERS.
      platform: JAX's name of it.
    """
    torch = peers.prepare(case)
    config = from_patches(recipe(case))
    device, order = peers.device_of(platform), peers.memory_order(name)
    given = given_of(config)
    fresh = start.fresh(config, ours.one_device(), train.make_optimizer(config), given)
    network = shipped.torch_twin(config.model, fresh.state().weights).to(device, memory_format=order)
    optimizer = adamw(network, config)
    rates = given.rates.tolist()
    values = [tensor.detach() for tensor in network.state_dict().values() if tensor.is_floating_point()]
    averages = [tensor.clone() for tensor in values]
    forward = torch.compile(network) if name == "compile" else network
    batch = {key: torch.from_numpy(array).to(device) for key, array in arrays(case).items()}
    images = batch["image"].permute(0, 3, 1, 2).contiguous(memory_format=order)
    losses: list[Any] = []

    def step() -> None:
        count = len(losses)
        set_rate(optimizer, rates[min(count, _SCHEDULED - 1)])
        optimizer.zero_grad(set_to_none=True)
        with peers.autocast(case, device):
            logits = forward(images.float() / 255.0)
        loss = cross_entropy_dice(logits.float(), batch["label_map"], batch[DEPTH])
        loss.backward()
        optimizer.step()
        kept = min(config.optim.average_decay, (1.0 + count) / (10.0 + count))
        torch._foreach_lerp_(averages, values, 1.0 - kept)
        losses.append(loss.detach())

    return replace(peers.side_of(step, device), result=lambda: losses[-1].cpu().numpy())


def cross_entropy_dice(logits: Any, label_maps: Any, depth: Any) -> Any:
    """The recipe's loss in PyTorch (`training.objectives.cross_entropy_dice`).

    Args:
      logits: float32[B,3,S,S].
      label_maps: int32[B,S,S].
      depth: uint8[B,S,S].
    """
    import torch

    nucleus = (label_maps > 0).float()
    inside = nucleus * depth.float() / 255.0
    truth = torch.stack([1.0 - nucleus, inside, nucleus - inside], 1)
    probabilities, target = logits.softmax(1)[:, 1:], truth[:, 1:]
    shared = 2.0 * (probabilities * target).sum((0, 2, 3))
    total = (probabilities**2 + target**2).sum((0, 2, 3))
    dice = 1.0 - ((shared + DICE_PIXELS) / (total + DICE_PIXELS)).mean()
    return torch.nn.functional.cross_entropy(logits, truth) + dice


def adamw(network: Any, config: ConfigDict) -> Any:
    """PyTorch's AdamW: decay on kernels alone, and another rate for the encoder (`set_rate`).

    Args:
      network: a PyTorch module.
      config: the experiment.
    """
    import torch

    factor = config.optim.encoder_learning_rate / config.optim.learning_rate
    groups: dict[tuple[float, float], list[Any]] = {}
    for key, parameter in network.named_parameters():
        decay = config.optim.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((decay, factor if key.startswith("encoder.") else 1.0), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": decay, "factor": factor}
            for (decay, factor), parameters in groups.items()
        ],
        fused=True,
    )


def set_rate(optimizer: Any, rate: float) -> None:
    """Give the optimizer of `adamw` the learning rate of its next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


def main(argv: Sequence[str] | None = None) -> None:
    configs = {name: make() for name, make in RECIPES.items()}
    shipped.run(
        "shipped_train_step",
        __doc__,
        training,
        peer,
        argv,
        shapes={name: (config.batch_size, config.data.crop_size) for name, config in configs.items()},
        peers=PEERS,
        default_peers=("eager", "channels_last", AUGMENTED),
    )


if __name__ == "__main__":
    main()
