"""Every network's training step and inference, lowered for CPUs, CUDA and TPUs; no device is needed for that.

What only CPUs need is absent from the others: convolutions as matrix products, sums over blocks of rows in
loops, and barriers between cheap operations.
"""

import re
from collections.abc import Callable
from typing import Any

import jax
import pytest
from jax import export

from nucseg_jax import config as settings
from nucseg_jax import devices
from nucseg_jax.models import NETWORKS
from tests.abstract_programs import STYLES, config_of, programs

PLATFORMS = ("cpu", "cuda", "tpu")
SIDE = 64
REMATERIALISES = {"fc_densenet"}
"""Networks that compute layers again in the backward pass, with a barrier before each on every backend."""
SLOW = {"fc_densenet", "psp_segnet", "self_correction", "efficient_unet", "efficient_unet_half"}
"""They are traced for long."""


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
    for what, (function, arguments) in programs(config_of(name, side=SIDE)).items():
        texts = {platform: lowered(function, arguments, platform) for platform in PLATFORMS}
        assert only_cpus_need(texts["cpu"], name), what
        for platform in ("cuda", "tpu"):
            assert only_cpus_need(texts[platform], name) == set(), (what, platform)
            convolutions = {p: texts[p].count("stablehlo.convolution") for p in ("cpu", platform)}
            assert convolutions[platform] >= convolutions["cpu"] > 0, (what, platform)


@pytest.mark.parametrize(
    "method",
    [pytest.param(method, marks=[pytest.mark.slow] if method != "vahadane" else []) for method in STYLES],
)
def test_stain_normalisation_in_the_network_lowers_for_every_backend(method: str) -> None:
    function, arguments = programs(config_of("fcn32", side=SIDE, stain=method))["training"]
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
