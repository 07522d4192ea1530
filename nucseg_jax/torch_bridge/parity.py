"""The same images through PyTorch and Flax: the difference after every layer, and the time of each."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from nucseg_jax.errors import MissingExtraError, UserError, shown

try:
    import torch
    from torch import nn
except ImportError as error:
    raise MissingExtraError("torch", error) from error

from nucseg_jax.models import create_model
from nucseg_jax.slides import read_image
from nucseg_jax.torch_bridge.calibration import calibrate, weaken_residuals
from nucseg_jax.torch_bridge.checkpoints import read_state_dict
from nucseg_jax.torch_bridge.networks import create_torch_network
from nucseg_jax.torch_bridge.parameter_names import table_of
from nucseg_jax.torch_bridge.weights import as_array, load_state_dict, without_prefix


class LayerDifference(NamedTuple):
    """One layer's outputs in both frameworks.

    Attributes:
      name: in PyTorch; a layer that is applied several times has several rows.
      shape: [B,H,W,C].
      difference: the largest absolute one.
      span: range of PyTorch's values, maximum - minimum.
    """

    name: str
    shape: tuple[int, ...]
    difference: float
    span: float

    @property
    def relative(self) -> float:
        """The difference as a part of the range."""
        return self.difference / self.span if self.span else float(self.difference > 0)


def compare(model: nnx.Module, network: nn.Module, images: np.ndarray) -> list[LayerDifference]:
    """Run both networks and compare the outputs of each layer with weights, and the logits at the end.

    Args:
      model, network: of the same name and with the same weights; both are put in inference mode.
      images: float32[B,H,W,3] in [0, 1].

    Returns:
      A row a layer in PyTorch's order of execution; the last one is "logits".
    """
    theirs, order = _torch_outputs(network, images)
    flax_path = {pair.torch: pair.flax for pair in table_of(model)} | {"logits": ""}
    ours = _flax_outputs(model, images, set(flax_path.values()))
    counts = dict.fromkeys(theirs, 0)
    rows = []
    for name in order:
        index = counts[name]
        counts[name] += 1
        value = ours[flax_path[name]][index]
        # FC-DenseNet in PyTorch crops the last row and column off after its transposed convolutions.
        expected = theirs[name][index][:, : value.shape[1], : value.shape[2]]
        rows.append(
            LayerDifference(
                name if len(theirs[name]) == 1 else f"{name} ({index + 1})",
                value.shape,
                float(np.abs(value - expected).max()),
                float(np.ptp(expected)),
            )
        )
    return rows


def _torch_outputs(network: nn.Module, images: np.ndarray) -> tuple[dict[str, list[np.ndarray]], list[str]]:
    """Outputs [B,H,W,C] of each layer with weights by name, a call each; the names in order of execution."""
    outputs: dict[str, list[np.ndarray]] = {}
    order: list[str] = []

    def keep(name: str) -> Callable[[nn.Module, Any, torch.Tensor], None]:
        def hook(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            outputs.setdefault(name, []).append(_nhwc(output))
            order.append(name)

        return hook

    layers = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d)
    modules = [(name, module) for name, module in network.named_modules() if isinstance(module, layers)]
    hooks = [module.register_forward_hook(keep(name)) for name, module in modules]
    network.eval()
    with torch.no_grad():
        logits = network(torch.from_numpy(images).permute(0, 3, 1, 2))
    for hook in hooks:
        hook.remove()
    return outputs | {"logits": [_nhwc(logits)]}, [*order, "logits"]


def _nhwc(x: torch.Tensor) -> np.ndarray:
    return x.permute(0, 2, 3, 1).numpy()


def _flax_outputs(model: nnx.Module, images: np.ndarray, paths: set[str]) -> dict[str, list[np.ndarray]]:
    """Outputs [B,H,W,C] of the modules at dotted paths, a call each; the whole network's path is empty."""
    model.eval()

    @nnx.jit
    def forward(model: nnx.Module, images: jax.Array) -> nnx.State:
        return nnx.capture(model, nnx.Intermediate, method_outputs=nnx.Intermediate)(images)[1]

    captured = nnx.to_flat_state(forward(model, jnp.asarray(images)))
    return {
        name: [np.asarray(x) for x in leaf.get_value()]
        for path, leaf in captured
        if path[-1] == "__call__" and (name := ".".join(map(str, path[:-1]))) in paths
    }


def seconds(run: Callable[[], object], repeats: int = 3) -> float:
    """Median time of a call, after one that is not counted."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def read_images(paths: Sequence[Path], white: int | None = None) -> np.ndarray:
    """RGB images of one size → float32[B,H,W,3] in [0, 1].

    Args:
      paths: of the files.
      white: the value that is white in images of 16 bits; None: as the pixels of each say.

    Raises:
      UserError: a file that is no RGB image, or images of several sizes.
    """
    images = []
    for path in paths:
        pixels, _, notes = read_image(path, white=white)
        for note in notes:
            print(shown(f"{path}: {note}"))
        images.append(pixels.astype(np.float32) / 255.0)
    if len({image.shape for image in images}) > 1:
        raise UserError(f"images of one size are needed, got {[image.shape[:2] for image in images]}")
    return np.stack(images)


def report(
    name: str,
    checkpoint: Path | None,
    files: Sequence[Path] | None,
    size: tuple[int, int],
    *,
    white: int | None = None,
    num_classes: int,
    width: float,
) -> None:
    """Print the difference after every layer, and the time of each framework.

    Args:
      name: the network.
      checkpoint: PyTorch weights; None: random ones that show every layer.
      files: images of one size; None: a random image.
      size: (height, width) of the random image.
      white: as of `read_images`.
      num_classes, width: of the network.

    Raises:
      UserError: no such network; a file cannot be read or does not fit.
    """
    options: dict[str, Any] = {"num_classes": num_classes, "width": width}
    if min(size) < 1:
        raise UserError(f"--size must be positive, got {size[0]}×{size[1]}")
    torch.manual_seed(0)
    model = create_model(name, **options, rngs=nnx.Rngs(params=0, dropout=0))
    network = create_torch_network(name, **options)
    if checkpoint:
        state_dict = without_prefix(read_state_dict(checkpoint))
        load_state_dict(model, state_dict)
        network.load_state_dict({key: torch.tensor(as_array(x)) for key, x in state_dict.items()})
    else:
        weaken_residuals(network)
        calibrate(network)
        load_state_dict(model, network.state_dict())
    images = (
        read_images(files, white) if files else np.random.default_rng(0).random((1, *size, 3), np.float32)
    )
    nnx.eval_shape(lambda model, x: model(x), model, images)  # refuses images of a wrong size by name
    rows = compare(model, network, images)
    column = max(len(row.name) for row in rows)
    print(f"{'layer':<{column}}  {'shape':<20}{'max |Δ|':>10}{'range':>10}{'Δ/range':>10}")
    for row in rows:
        shape = "×".join(map(str, row.shape))
        print(
            f"{row.name:<{column}}  {shape:<20}{row.difference:>10.1e}{row.span:>10.3g}{row.relative:>10.1e}"
        )
    tensor, array = torch.from_numpy(images).permute(0, 3, 1, 2), jnp.asarray(images)
    forward = nnx.jit(lambda model, x: model(x))

    def run_torch() -> None:
        with torch.no_grad():
            network(tensor)

    device = f"{jax.devices()[0].device_kind}, {torch.get_num_threads()} PyTorch threads"
    print(
        f"forward, median of 3: PyTorch {seconds(run_torch):.3f} s (CPU), "
        f"Flax {seconds(lambda: jax.block_until_ready(forward(model, array))):.3f} s ({device})"
    )
