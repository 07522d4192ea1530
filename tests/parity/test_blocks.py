"""Every block and every layer of the Flax networks gives what PyTorch's gives for the same input."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

torch = pytest.importorskip("torch")
from torch.nn import functional as F  # noqa: E402

from nucseg_jax.models import (  # noqa: E402
    NETWORKS,
    efficientnet,
    layers,
    resampling,
)
from nucseg_jax.models.batch_norm import BatchNorm  # noqa: E402
from nucseg_jax.models.fc_densenet import DOWN_LAYERS  # noqa: E402
from nucseg_jax.models.resnet import RESNET101_BLOCKS  # noqa: E402
from nucseg_jax.torch_bridge.parameter_names import Kind  # noqa: E402
from nucseg_jax.torch_bridge.weights import LAYOUTS  # noqa: E402
from nucseg_jax.training.losses import cross_entropy  # noqa: E402
from tests.parity.pairs import (  # noqa: E402
    as_flax,
    flax_network,
    relative_error,
    report,
    torch_network,
)

WIDTH = 1 / 8
SIZE = (128, 96)
BAR = 1e-5


class Call(NamedTuple):
    """What a PyTorch module was given and what it returned."""

    inputs: tuple[Any, ...]
    output: Any


class Step(NamedTuple):
    """A Flax block by its path, tensors to give it, tensors to expect; `call` where it takes more."""

    path: str
    inputs: tuple[torch.Tensor, ...]
    expected: Any
    call: Callable[..., Any] = lambda block, *inputs: block(*inputs)


Calls = Mapping[str, Call]
Steps = Iterator[Step]


def same(calls: Calls, name: str, path: str) -> Step:
    return Step(path, *calls[name])


def fcn(calls: Calls, skips: int) -> Steps:
    encoder = calls["pretrained_net"]
    yield Step("encoder", *encoder)
    for i in range(5):
        # PyTorch's module adds the skip between the two layers.
        inputs = calls[f"deconv{i + 1}"].inputs + ((encoder.output[3 - i],) if i < skips else ())
        yield Step(f"up.{i}", inputs, calls[f"bn{i + 1}"].output)
    yield same(calls, "classifier", "classifier")


def fc_densenet(calls: Calls) -> Steps:
    def block(name: str, path: str, count: int) -> Steps:
        yield same(calls, name, path)
        for i in range(count):
            yield same(calls, f"{name}.layers.{i}", f"{path}.layers.{i}")

    yield same(calls, "firstconv", "first")
    for i, count in enumerate(DOWN_LAYERS):
        yield from block(f"denseBlocksDown.{i}", f"down.{i}", count)
        yield same(calls, f"transDownBlocks.{i}", f"transitions_down.{i}")
    yield from block("bottleneck.bottleneck", "bottleneck", 15)
    for i, count in enumerate(DOWN_LAYERS[::-1]):
        (x, skip), joined = calls[f"transUpBlocks.{i}"]
        yield Step(
            f"transitions_up.{i}", (x, skip), joined, lambda up, x, skip: jnp.concatenate([up(x), skip], -1)
        )
        yield from block(f"denseBlocksUp.{i}", f"up.{i}", count)
    yield same(calls, "finalConv", "classifier")


def unet(calls: Calls) -> Steps:
    for i in range(5):
        yield same(calls, f"Conv{i + 1}", f"encoder.{i}")
    for i in range(4):
        yield same(calls, f"Up{5 - i}", f"up.{i}")
        yield same(calls, f"Up_conv{5 - i}", f"decoder.{i}")
    yield same(calls, "Conv_1x1", "classifier")


def segnet(calls: Calls) -> Steps:
    for i in range(5):
        features = calls[f"encoders.{i}.features"]
        yield Step(f"encoder.{i}", *features)
        pooled, positions, size = calls[f"encoders.{i}"].output
        yield Step(
            "",
            (features.output,),
            (pooled, in_window(positions, size[1])),
            lambda _, x: resampling.max_pool_2x2_with_positions(x),
        )
    for i in range(5):
        (x, positions, size), output = calls[f"decoders.{i}"]
        yield Step(
            f"decoder.{i}",
            (x, in_window(positions, size[1])),
            output,
            lambda block, x, position: block(resampling.unpool_2x2(x, position)),
        )
    yield same(calls, "classifier", "classifier")


def in_window(positions: torch.Tensor, width: int) -> torch.Tensor:
    """PyTorch's positions in the flattened image → positions 0 ... 3 in their own 2×2 windows."""
    return (positions // width % 2 * 2 + positions % 2).to(torch.uint8)


def resnet_stages(calls: Calls) -> Steps:
    for stage, count in enumerate(RESNET101_BLOCKS):
        for i in range(count):
            yield same(calls, f"layer{stage + 1}.{i}", f"encoder.stages.{stage}.{i}")


def stem(calls: Calls, last_norm: str) -> Steps:
    (images,), output = calls["conv1"].inputs, F.relu(calls[last_norm].output)
    yield Step("encoder.stem", (images,), output)
    (pooled,) = calls["layer1"].inputs
    yield Step("", (output,), pooled, lambda _, x: resampling.max_pool(x, 3, stride=2, padding=1))


def pooling_branches(calls: Calls, name: str, path: str) -> Steps:
    for i in range(4):
        (x,), output = calls[f"{name}.{i}"]
        yield Step(f"{path}.branches.{i}", (x,), output)


def merge(module: Any, x: jax.Array) -> jax.Array:
    """Give the concatenated maps apart, as the module takes them."""
    parts = jnp.split(x, 2 * np.arange(4, 8) * x.shape[-1] // 16, axis=-1)
    return module(parts, x.shape[1:3])


def psp_segnet(calls: Calls) -> Steps:
    yield from stem(calls, "bn0")
    yield from resnet_stages(calls)
    yield from pooling_branches(calls, "ppm.features", "ppm")
    (x,), output = calls["conv_after_ppm"]
    yield Step("conv_after_ppm", (x,), output, merge)
    for i, fuse in enumerate(["fs1", "fs2", "fs4", "fs5", None]):
        (x, size), output = calls[f"upsample{i + 1}"]
        yield Step(f"up.{i}", (x,), output, lambda up, x, size=tuple(size): up(x, size))
        if fuse:
            yield same(calls, fuse, f"fuse.{i}")
    yield same(calls, "out5.0", "classifier")
    yield same(calls, "out5.1", "smooth")


def self_correction(calls: Calls) -> Steps:
    yield from stem(calls, "bn3")
    yield from resnet_stages(calls)
    yield from pooling_branches(calls, "context_encoding.stages", "context.ppm")
    yield same(calls, "context_encoding", "context")
    yield same(calls, "decoder", "parsing")
    yield Step("edge", *calls["edge"], lambda edge, *features: edge(features))
    yield same(calls, "fusion", "fusion")


def efficient_unet(calls: Calls) -> Steps:
    (images,), _ = calls["encoder._conv_stem"]
    yield Step("encoder.stem", (images,), F.relu6(calls["encoder._bn0"].output))
    places = [(i, j) for i, stage in enumerate(efficientnet.STAGES) for j in range(stage.blocks)]
    for number, (i, j) in enumerate(places):
        yield same(calls, f"encoder._blocks.{number}", f"encoder.stages.{i}.{j}")
    for i in range(sum(name.count(".") == 1 and name.startswith("decoder.") for name in calls)):
        yield same(calls, f"decoder.{i}", f"decoder.{i}")
    yield same(calls, "classifier", "classifier")


STEPS: dict[str, Callable[[Calls], Steps]] = {
    "fcn8": lambda calls: fcn(calls, 2),
    "fcn16": lambda calls: fcn(calls, 1),
    "fcn32": lambda calls: fcn(calls, 0),
    "fc_densenet": fc_densenet,
    "unet": unet,
    "segnet": segnet,
    "psp_segnet": psp_segnet,
    "self_correction": self_correction,
    "efficient_unet": efficient_unet,
    "efficient_unet_half": efficient_unet,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_blocks(name: str) -> None:
    network = torch_network(name, width=WIDTH, size=SIZE)
    with torch.no_grad():
        steps = list(STEPS[name](record(network, torch.rand(2, 3, *SIZE))))

    @nnx.jit
    def outputs(model: nnx.Module, inputs: list[Any]) -> list[Any]:
        return [step.call(at(model, step.path), *x) for step, x in zip(steps, inputs, strict=True)]

    inputs = [as_flax(step.inputs) for step in steps]
    found = outputs(flax_network(network, name, width=WIDTH), inputs)
    figures: dict[str, float] = {}
    for step, outputs_of_step in zip(steps, found, strict=True):
        expected = jax.tree.leaves(as_flax(step.expected))
        for x, y in zip(jax.tree.leaves(outputs_of_step), expected, strict=True):
            if y.dtype == np.uint8:
                np.testing.assert_array_equal(x, y)  # positions, ties included
            else:
                label = step.path or "pooling"
                figures[label] = max(figures.get(label, 0.0), relative_error(x, y).max())
    worst = sorted(figures, key=lambda label: -figures[label])[:3]
    report(f"{name}, {len(steps)} blocks, worst", {label: figures[label] for label in worst})
    assert not {label: error for label, error in figures.items() if error > BAR}


def record(network: torch.nn.Module, images: torch.Tensor) -> dict[str, Call]:
    """Run the network once, in eval mode: the last call of every module by its name."""
    calls: dict[str, Call] = {}

    def hook(name: str) -> Callable[..., None]:
        def keep(_: torch.nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            calls[name] = Call(inputs, output)

        return keep

    for name, module in network.named_modules():
        module.register_forward_hook(hook(name))
    network(images)
    return calls


def at(model: nnx.Module, path: str) -> Any:
    """The block at a dotted path of attributes and list positions."""
    block: Any = model
    for part in filter(None, path.split(".")):
        block = block[int(part)] if part.isdigit() else getattr(block, part)
    return block


def assert_close(found: jax.Array, expected: torch.Tensor) -> None:
    """Within BAR of the range of `expected`, [B,C,h,w]."""
    y = as_flax(expected)
    np.testing.assert_allclose(found, y, rtol=0, atol=BAR * np.ptp(y))


def give_weights(module: nnx.Module, kind: Kind, source: torch.nn.Module) -> None:
    """Convert the weights of one layer."""
    for name, layout in LAYOUTS[kind].items():
        if (value := getattr(source, name, None)) is not None:
            getattr(module, layout.name)[...] = jnp.array(layout.to_flax(value.detach().numpy()))


SIZES = [(16, 12), (15, 9)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "bias"),
    [
        (1, 1, 1, True),
        (1, 2, 1, False),
        (3, 1, 1, True),
        (3, 2, 1, False),
        (3, 1, 2, False),
        (3, 2, 2, False),
        (5, 1, 1, True),
        (7, 2, 1, False),
    ],
)
def test_convolution(kernel: int, stride: int, dilation: int, bias: bool, size: tuple[int, int]) -> None:
    padding = dilation * (kernel // 2)
    source = torch.nn.Conv2d(4, 6, kernel, stride, padding, dilation, bias=bias)
    conv = layers.Conv(4, 6, kernel, stride=stride, dilation=dilation, bias=bias, rngs=nnx.Rngs(0))
    give_weights(conv, Kind.CONV, source)
    x = torch.randn(2, 4, *size)
    assert_close(conv(as_flax(x)), source(x))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("zeros_before", "padding", "output_padding"), [(1, 1, 1), (2, 0, 0)])
def test_transposed_convolution(
    zeros_before: int, padding: int, output_padding: int, size: tuple[int, int]
) -> None:
    source = torch.nn.ConvTranspose2d(4, 6, 3, 2, padding=padding, output_padding=output_padding)
    conv = layers.TransposedConv(4, 6, zeros_before=zeros_before, rngs=nnx.Rngs(0))
    give_weights(conv, Kind.TRANSPOSED, source)
    x = torch.randn(2, 4, *size)
    # Without output padding PyTorch makes one more row and column, which FC-DenseNet cuts off.
    expected = source(x)[:, :, : 2 * size[0], : 2 * size[1]]
    assert_close(conv(as_flax(x)), expected)


# A mean that dwarfs the deviation, a deviation that eps matters beside.
@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (100.0, 1.0), (0.0, 0.01)])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(training: bool, mean: float, deviation: float) -> None:
    source = torch.nn.BatchNorm2d(6).train(training)
    with torch.no_grad():
        for tensor in (source.weight, source.running_var):
            tensor.uniform_(0.5, 2)
        source.running_var *= deviation**2
        source.bias.normal_()
        source.running_mean.normal_(mean, deviation)
    norm = BatchNorm(6, rngs=nnx.Rngs(0))
    norm.set_attributes(use_running_average=not training)
    give_weights(norm, Kind.NORM, source)
    x = mean + deviation * torch.randn(2, 6, 8, 5)
    before = source.running_var.clone()
    assert_close(norm(as_flax(x)), source(x))
    np.testing.assert_allclose(norm.mean[...], source.running_mean, rtol=1e-6, atol=1e-6)
    # The batch's share of the running variance divides by n here, by n - 1 in PyTorch.
    share = (source.running_var - 0.9 * before) * (79 / 80)
    expected = 0.9 * before + share if training else before
    np.testing.assert_allclose(norm.var[...], expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("size", SIZES)
def test_max_pool_3x3_pads_with_minus_infinity(size: tuple[int, int]) -> None:
    x = torch.randn(2, 4, *size) - 5
    found = resampling.max_pool(as_flax(x), 3, stride=2, padding=1)
    np.testing.assert_array_equal(found, as_flax(F.max_pool2d(x, 3, 2, 1)))


@pytest.mark.parametrize("size", [(16, 12), (31, 24), (5, 30), (4, 3), (1, 1), (8, 6)])
def test_resizing(size: tuple[int, int]) -> None:
    x = torch.randn(2, 4, 8, 6)
    expected = F.interpolate(x, size=size, mode="bilinear", align_corners=True)
    assert_close(resampling.resize_bilinear(as_flax(x), size), expected)


@pytest.mark.parametrize("bins", [1, 2, 3, 6])
@pytest.mark.parametrize("size", [(16, 12), (8, 5), (7, 20)])
def test_adaptive_pooling(size: tuple[int, int], bins: int) -> None:
    x = torch.randn(2, 4, *size)
    assert_close(resampling.adaptive_average_pool(as_flax(x), bins), F.adaptive_avg_pool2d(x, bins))


def test_pooling_with_positions_and_unpooling_settle_ties_alike() -> None:
    x = torch.randint(0, 3, (2, 4, 16, 12)).float()  # of three values: most windows have a tie
    pooled, positions = F.max_pool2d(x, 2, return_indices=True)
    found, found_positions = resampling.max_pool_2x2_with_positions(as_flax(x))
    np.testing.assert_array_equal(found, as_flax(pooled))
    np.testing.assert_array_equal(found_positions, as_flax(in_window(positions, 12)))
    y = torch.randn(2, 4, 8, 6)
    unpooled = resampling.unpool_2x2(as_flax(y), found_positions)
    np.testing.assert_array_equal(unpooled, as_flax(F.max_unpool2d(y, positions, 2)))


def test_nearest_upsampling() -> None:
    x = torch.randn(2, 4, 5, 6)
    np.testing.assert_array_equal(
        resampling.upsample_nearest(as_flax(x)), as_flax(F.interpolate(x, scale_factor=2))
    )


def test_cross_entropy() -> None:
    logits, labels = 5 * torch.randn(2, 3, 8, 6), torch.randint(0, 3, (2, 8, 6))
    found = cross_entropy(as_flax(logits), labels.int().numpy())
    np.testing.assert_allclose(found, F.cross_entropy(logits, labels), rtol=1e-6, atol=0)
