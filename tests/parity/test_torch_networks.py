"""The PyTorch networks: the published keys and shapes, one contract, and no layer hidden by calibration."""

from pathlib import Path

import pytest

from nucseg_jax.errors import UserError

torch = pytest.importorskip("torch")
from nucseg_jax.torch_bridge.calibration import calibrate  # noqa: E402
from nucseg_jax.torch_bridge.networks import (  # noqa: E402
    NETWORKS,
    create_torch_network,
)
from nucseg_jax.torch_bridge.networks.ce2p import CE2P  # noqa: E402

STATE_DICTS = Path(__file__).parent.parent / "golden" / "state_dicts"
PARAMETERS = {
    "efficient_unet": 3_832_098,
    "efficient_unet_half": 3_825_154,
    "fc_densenet": 9_319_778,
    "fcn8": 18_643_746,
    "psp_segnet": 122_925_064,
    "segnet": 18_819_650,
    "self_correction": 66_714_676,
    "unet": 34_527_106,
}


def published(name: str) -> list[tuple[str, str, str]]:
    """(key, shape, kind) of every tensor, in order; shapes as 64x3x3x3."""
    lines = (STATE_DICTS / f"{name}.tsv").read_text().splitlines()[1:]
    return [(key, shape, kind) for key, shape, kind in (line.split("\t") for line in lines)]


def described(network: torch.nn.Module) -> list[tuple[str, str, str]]:
    parameters = dict(network.named_parameters())
    return [
        (key, "x".join(map(str, value.shape)) or "scalar", "parameter" if key in parameters else "buffer")
        for key, value in network.state_dict().items()
    ]


def all_logits(network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The logits, of `self_correction` those of its three branches concatenated."""
    if isinstance(network, CE2P):
        return torch.cat(network.branches(images), 1)
    return network(images)


@pytest.mark.parametrize("name", PARAMETERS)
def test_state_dict_and_parameter_count_are_the_published_ones(name: str) -> None:
    with torch.device("meta"):
        network = create_torch_network(name)
    assert described(network) == published(name)
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", ["fcn16", "fcn32"])
def test_coarser_fcns_have_the_keys_of_fcn8_and_other_logits(name: str) -> None:
    fcn8, coarser = (create_torch_network(n, width=1 / 16).eval() for n in ("fcn8", name))
    calibrate(fcn8, size=(64, 96))
    assert described(coarser) == described(fcn8)
    coarser.load_state_dict(fcn8.state_dict())
    images = torch.rand(1, 3, 64, 96)
    assert not torch.allclose(coarser(images), fcn8(images), atol=0.1)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_logits_have_the_images_size(name: str, training: bool) -> None:
    network = create_torch_network(name, num_classes=3, width=1 / 32).train(training)
    logits = network(torch.rand(2, 3, 64, 96))
    assert logits.shape == (2, 3, 64, 96) and torch.isfinite(logits).all()
    # Raw: a softmax or its logarithm would make the sum of exponentials one everywhere.
    assert not torch.allclose(logits.logsumexp(1), torch.zeros(2, 64, 96), atol=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_has_a_gradient(name: str) -> None:
    network = create_torch_network(name, width=1 / 32)
    calibrate(network, size=(64, 96))
    images = torch.rand(2, 3, 64, 96)
    all_logits(network, images).square().sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), key


def test_self_correction_has_three_branches_of_which_it_returns_the_fusion() -> None:
    network = create_torch_network("self_correction", num_classes=3, width=1 / 32).eval()
    images = torch.rand(1, 3, 64, 96)
    branches = network.branches(images)
    shapes = {field: tuple(value.shape) for field, value in branches._asdict().items()}
    assert shapes == {"parsing": (1, 3, 64, 96), "edge": (1, 2, 64, 96), "fusion": (1, 3, 64, 96)}
    assert torch.equal(network(images), branches.fusion)


def test_unknown_name() -> None:
    with pytest.raises(UserError, match="'fcn4'.*fc_densenet, fcn16, .*unet"):
        create_torch_network("fcn4")


@pytest.mark.parametrize("name", NETWORKS)
def test_calibration_leaves_every_layer_visible(name: str) -> None:
    network = create_torch_network(name, width=1 / 8)
    calibrate(network, size=(64, 96))
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        before = all_logits(network, images)
        span = before.max() - before.min()
        for layer, module in network.named_modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
                weight = module.weight.clone()
                module.weight.copy_(weight.flip(0, 1))
                change = (all_logits(network, images) - before).abs().max()
                module.weight.copy_(weight)
                assert change > 0.01 * span, layer


def test_calibration_is_deterministic_and_leaves_the_momentum_the_mode_and_the_global_state() -> None:
    network = create_torch_network("fc_densenet", width=1 / 16)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    before = torch.get_rng_state()
    calibrate(network, size=(64, 64))
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(module.training for module in network.modules())
    assert {m.momentum for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {0.1}

    again, other = (create_torch_network("fc_densenet", width=1 / 16) for _ in range(2))
    for copy, seed in ((again, 0), (other, 1)):
        copy.load_state_dict(state)
        calibrate(copy, size=(64, 64), seed=seed)
    for key, value in network.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
        if "norm" in key and "tracked" not in key:
            assert not torch.equal(value, state[key]), key
            assert not torch.equal(value, other.state_dict()[key]), key
