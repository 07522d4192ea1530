"""Every network's training step and inference, lowered for CPUs, CUDA and TPUs; no device is needed for that.

What only CPUs need is absent from the others: convolutions as matrix products, sums over blocks of rows in
loops, and barriers between cheap operations.
"""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export
from ml_collections import ConfigDict

from nucseg_jax import config as settings
from nucseg_jax import devices
from nucseg_jax.models import NETWORKS, design_model
from nucseg_jax.models.network import InputFormat, Weights, split_network
from nucseg_jax.stain import NORMALIZERS
from nucseg_jax.stain.normalization import LabStatistics, NoStyle, Stains, Style
from nucseg_jax.training import augmentation, train
from nucseg_jax.training.objectives import DEPTH
from nucseg_jax.training.step import Given, TrainState

PLATFORMS = ("cpu", "cuda", "tpu")
SIDE = 64
REMATERIALISES = {"fc_densenet"}
"""Networks that compute layers again in the backward pass, with a barrier before each on every backend."""
SLOW = {"fc_densenet", "psp_segnet", "efficient_unet", "efficient_unet_half"}
"""They are traced for long; each kind of layer is in one of the others, or in the recipe `he_fast`."""
STYLES: dict[str, Style] = {
    "vahadane": Stains(np.eye(2, 3, dtype=np.float32), np.ones(2, np.float32)),
    "macenko": Stains(np.eye(2, 3, dtype=np.float32), np.ones(2, np.float32)),
    "reinhard": LabStatistics(np.ones(3, np.float32), np.ones(3, np.float32)),
    "identity": NoStyle(),
}


def abstract(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def config_of(name: str) -> ConfigDict:
    """The network as narrow as it can be, with the loss that teaches all of its branches."""
    config = settings.get_config()
    config.model.name, config.model.width, config.data.crop_size = name, 1 / 32, SIDE
    config.optim.loss = "ce2p" if name == "self_correction" else "cross_entropy"
    return config


def programs(config: ConfigDict) -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """The training step and inference, and the shapes of their arguments."""
    chosen = config.model
    model, _ = design_model(
        chosen.name,
        num_classes=chosen.num_classes,
        width=chosen.width,
        dtype=chosen.dtype,
        rngs=nnx.Rngs(params=0, dropout=0),
    )
    stain = None
    if config.stain.where == "model":
        stain = NORMALIZERS[config.stain.method]()
        stain.target = STYLES[config.stain.method]
    changes = augmentation.image_changes(config, None)
    network, params, batch_stats = split_network(model, InputFormat(stain=stain), changes)
    params, batch_stats = abstract((params, batch_stats))
    optimizer = train.make_optimizer(config)
    given = Given(jax.ShapeDtypeStruct((9,), jnp.float32), jax.ShapeDtypeStruct((2,), jnp.uint32))
    step: Any = jax.ShapeDtypeStruct((), jnp.int32)
    average = Weights(params, batch_stats) if config.optim.average_decay else None
    state = TrainState(step, params, batch_stats, jax.eval_shape(optimizer.init, params), given, average)
    window = augmentation.window_size(config)
    batch = {
        "image": jax.ShapeDtypeStruct((2, window, window, 3), jnp.uint8),
        "label_map": jax.ShapeDtypeStruct((2, window, window), jnp.int32),
    }
    if config.model.boundary == "distance":
        batch[DEPTH] = jax.ShapeDtypeStruct((2, window, window), jnp.uint8)
    images = jax.ShapeDtypeStruct((2, SIDE, SIDE, 3), jnp.uint8)
    return {
        "training": (train.make_step(config, network, optimizer), (state, batch)),
        "inference": (network.probabilities, (params, batch_stats, images)),
    }


def lowered(function: Callable[..., Any], arguments: tuple[Any, ...], platform: str) -> str:
    """The program in StableHLO, checked by `jax.export` to hold nothing that is not portable."""
    with devices.traced_for(platform):
        # A function of its own for each: `jit` keeps what it has traced.
        exported = export.export(jax.jit(lambda *x: function(*x)), platforms=[platform])(*arguments)
    assert exported.platforms == (platform,)
    return exported.mlir_module()


def only_cpus_need(text: str, network: str) -> set[str]:
    """What a program has of that: the resizing's products are at the highest precision and everybody's."""
    products = re.findall(r"stablehlo\.dot_general.*", text)
    found = {
        "products": any("HIGHEST" not in product for product in products),
        "loops": "stablehlo.while" in text,
        "barriers": "optimization_barrier" in text and network not in REMATERIALISES,
        "single values": re.search(r'"stablehlo\.gather".*slice_sizes = array<i64: 1(, 1)*>', text),
    }
    return {what for what, there in found.items() if there}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in sorted(NETWORKS)],
)
def test_every_network_lowers_for_every_backend(name: str) -> None:
    for what, (function, arguments) in programs(config_of(name)).items():
        texts = {platform: lowered(function, arguments, platform) for platform in PLATFORMS}
        assert only_cpus_need(texts["cpu"], name), what
        for platform in ("cuda", "tpu"):
            assert only_cpus_need(texts[platform], name) == set(), (what, platform)
            convolutions = {p: texts[p].count("stablehlo.convolution") for p in ("cpu", platform)}
            assert convolutions[platform] >= convolutions["cpu"] > 0, (what, platform)


@pytest.mark.parametrize("method", sorted(STYLES))
def test_stain_normalisation_in_the_network_lowers_for_every_backend(method: str) -> None:
    config = config_of("fcn32")
    config.stain.where, config.stain.method, config.data.stain = "model", method, "none"
    function, arguments = programs(config)["training"]
    for platform in PLATFORMS:
        found = only_cpus_need(lowered(function, arguments, platform), "fcn32")
        assert "products" not in found or platform == "cpu"


@pytest.mark.parametrize("name", ["he_fast", pytest.param("he", marks=pytest.mark.slow)])
def test_the_recipes_lower_for_accelerators_in_bfloat16(name: str) -> None:
    """Those of the models that ship: augmentation, depths, AdamW, the moving average of the weights."""
    config = settings.load(name)[1]
    config.model.width, config.model.dtype, config.data.crop_size = 1 / 32, "bfloat16", SIDE
    function, arguments = programs(config)["training"]
    for platform in ("cuda", "tpu"):
        text = lowered(function, arguments, platform)
        assert "bf16" in text and not only_cpus_need(text, config.model.name) & {"products", "barriers"}
