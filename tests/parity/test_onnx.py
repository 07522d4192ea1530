"""ONNX models of `nucseg export` in ONNX Runtime: the logits of every network, in either channel order."""

from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from nucseg_jax import devices
from nucseg_jax.cli import main as nucseg
from nucseg_jax.runs.loading import load_model
from tests.untrained import write_run

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
from nucseg_jax.models import NETWORKS, create_model  # noqa: E402
from nucseg_jax.models.network import InputFormat, Weights, split_network  # noqa: E402
from nucseg_jax.programs import onnx_file  # noqa: E402
from nucseg_jax.torch_bridge import load_state_dict  # noqa: E402
from tests.parity.pairs import relative_error, report, torch_network  # noqa: E402

SIDE, WIDTH, BAR = 96, 1 / 16, 1e-4


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("order", "scale"), [("RGB", 1.0), ("BGR", 2 / 3)])
def test_logits_of_every_network(name: str, order: str, scale: float) -> None:
    model = create_model(name, width=WIDTH, rngs=nnx.Rngs(params=0, dropout=0))
    network = torch_network(name, width=WIDTH, size=(SIDE, SIDE), calm=True)
    load_state_dict(model, network.state_dict())
    functional, params, batch_stats = split_network(model, InputFormat(order, scale))
    images = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3)).astype(np.uint8)
    described = {"name": name, "num_classes": 2, "width": WIDTH}
    info = {"config": {"model": {**described, "channel_order": order, "input_scale": scale}}}
    content = onnx_file.model(info, Weights(params, batch_stats), images.shape, {})
    found = onnx_file.runner(content)(images)
    errors = relative_error(found, np.asarray(jax.jit(functional.predict)(params, batch_stats, images)))
    beyond = (errors.max(-1) > BAR).mean()
    report(f"{name} {order} at {scale:g}", {"max": errors.max(), "beyond": beyond})
    # SegNet: two nearly equal values of a pooling window may change places.
    assert beyond <= (0.02 if name == "segnet" else 0)


def test_a_runs_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In float32, also of a run in bfloat16, with what one must know of it in its metadata."""
    run, file = write_run(tmp_path / "run", model__dtype="bfloat16"), tmp_path / "network.onnx"
    asked = ["export", "--workdir", str(run), "--format", "onnx", "--out", str(file), "--side", "64"]
    assert nucseg(asked) == 0
    assert "checked  its logits are the network's, to " in capsys.readouterr().out
    properties = {entry.key: entry.value for entry in onnx.load(file).metadata_props}
    assert properties["network"] == "unet" and properties["step"] == "1"
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.uint8)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits"], {"images": images})
    model = load_model(run, devices.make_mesh())
    expected = np.asarray(model.network.predict(*model.weights, images))
    assert relative_error(found, expected).max() < 0.05  # the run's own are in bfloat16
