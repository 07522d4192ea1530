"""`nucseg export --format stablehlo`: JAX alone runs the file, and finds what the network finds."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from nucseg_jax import devices, programs
from nucseg_jax.cli import main as nucseg
from nucseg_jax.errors import FailedError, UserError
from nucseg_jax.programs import exporting
from nucseg_jax.runs.loading import load_model
from tests.untrained import write_run

SIDE = 64


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained; its network takes BGR at half the size."""
    changes = {"model__channel_order": "BGR", "model__input_scale": 0.5, "model__num_classes": 3}
    return write_run(tmp_path_factory.mktemp("run"), **changes)


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3)).astype(np.uint8)


def expected(run: Path) -> np.ndarray:
    model = load_model(run, devices.make_mesh())
    return np.asarray(model.network.predict(*model.weights, images()))


CALL = """
import sys
import jax, numpy as np
program = jax.export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
np.save(sys.argv[3], program.call(np.load(sys.argv[2])))
assert not any(name.startswith("nucseg_jax") for name in sys.modules)
"""


@pytest.mark.parametrize("platforms", [[], ["--platform", "cpu"]])
def test_the_file_computes_the_networks_logits(
    run: Path, tmp_path: Path, platforms: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "network.bin"
    asked = ["export", "--workdir", str(run), "--format", "stablehlo", "--out", str(file)]
    assert nucseg([*asked, "--side", str(SIDE), "--batch", "2", *platforms]) == 0
    printed = capsys.readouterr().out
    assert f"wrote {file}: unet, step 1\n" in printed
    assert "images   uint8 2×64×64×3, RGB" in printed and "logits   float32 2×64×64×3" in printed
    assert "checked  its logits are the network's, to " in printed
    np.save(tmp_path / "images.npy", images())
    paths = [str(tmp_path / name) for name in ("images.npy", "logits.npy")]
    subprocess.run([sys.executable, "-c", CALL, str(file), *paths], check=True, cwd=tmp_path)
    logits, wanted = np.load(tmp_path / "logits.npy"), expected(run)
    np.testing.assert_allclose(logits, wanted, rtol=0, atol=1e-5 * np.ptp(wanted))
    assert jax.export.deserialize(bytearray(file.read_bytes())).platforms == (
        ("cpu",) if platforms else ("cpu", "cuda", "tpu")
    )


def test_what_cannot_run_here_is_written_and_said(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "network.bin"
    asked = ["export", "--workdir", str(run), "--format", "stablehlo", "--out", str(file), "--side", "64"]
    assert nucseg([*asked, "--platform", "tpu", "--platform", "cuda"]) == 0
    assert "not here: this machine has none of its platforms" in capsys.readouterr().out
    assert jax.export.deserialize(bytearray(file.read_bytes())).platforms == ("cuda", "tpu")


def test_a_file_that_computes_something_else_is_not_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    correct = exporting.stablehlo.runner

    def wrong(content: bytes) -> Any:
        found = correct(content)
        assert found is not None
        return lambda images: found(images) * 1.001

    monkeypatch.setattr(exporting.stablehlo, "runner", wrong)
    model = load_model(run, devices.make_mesh())
    with pytest.raises(FailedError, match=r"network.bin: not written. Its logits differ .* may by 0.0001"):
        programs.export(model, tmp_path / "network.bin", programs.Wanted("stablehlo", side=SIDE))
    assert list(tmp_path.iterdir()) == []


def test_by_default_it_takes_the_tiles_that_inference_shows(run: Path) -> None:
    """Of a U-Net at half the size, which sees 240 pixels around: the largest that is kept, and these."""
    model = load_model(run, devices.make_mesh())
    assert programs.shape_of(model, programs.Wanted("onnx")) == (1, 1536, 1536, 3)


def test_mistakes(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "network.bin"
    file.touch()
    base = ["export", "--format", "stablehlo", "--out", str(tmp_path / "new.bin")]
    of_run = [*base, "--workdir", str(run)]
    for wrong, message in {
        tuple(base): "give a run's folder as --workdir, or an installed model's name as --model",
        (*of_run, "--model", "he"): "give a run's folder as --workdir, or",
        (*base, "--model", "he", "--step", "3"): "--step 3: he has one step only",
        (*of_run, "--platform", "gpu"): "--platform gpu: must be one of cpu, cuda, tpu",
        (*of_run, "--format", "onnx", "--platform", "cpu"): "--platform cpu: ONNX models are for no platform",
        (*of_run, "--side", "96"): "--side 96: the network sees images at scale 0.5",
        (*of_run, "--batch", "0"): "--batch must be at least 1, got 0",
        (*of_run, "--out", str(file)): f"{file}: is there already",
        (*of_run, "--out", str(tmp_path / "no" / "a.bin")): "its folder does not exist",
    }.items():
        assert nucseg(list(wrong)) == 2, wrong
        assert message in capsys.readouterr().err, wrong


def test_onnx_has_no_stain_normalisation(tmp_path: Path) -> None:
    target = {"mean": [60.0, 20.0, -10.0], "std": [10.0, 5.0, 5.0]}
    description = {"where": "model", "method": "reinhard", **target}
    run = write_run(tmp_path / "run", stain=description, stain__where="model", data__stain="none")
    model = load_model(run, devices.make_mesh())
    with pytest.raises(
        UserError, match="--format onnx: this network normalises stains .* --format stablehlo"
    ):
        programs.export(model, tmp_path / "a.onnx", programs.Wanted("onnx", side=SIDE))
