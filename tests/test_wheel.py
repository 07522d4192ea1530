"""The wheel, built, installed in an environment of its own and used outside of the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from data_prep import pack
from nucseg_jax.pretrained import SUFFIX, names

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    _run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(ROOT)], folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def commands(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of an environment that has the wheel."""
    environment = tmp_path_factory.mktemp("environment")
    _run([sys.executable, "-m", "venv", str(environment)], environment)
    commands = environment / "bin"
    constraints = ["-c", str(ROOT / "constraints.txt")]
    _run([str(commands / "pip"), "install", "--quiet", str(wheel), *constraints], environment)
    return commands


def test_it_claims_one_name_and_has_all(wheel: Path) -> None:
    files = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in files if ".dist-info" not in name} == {"nucseg_jax"}
    wanted = {
        *(path.relative_to(ROOT).as_posix() for path in (ROOT / "nucseg_jax").rglob("*.py")),
        *(f"nucseg_jax/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "configs").glob("*.py")),
        *(f"nucseg_jax/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "data_prep").glob("*.py")),
        *(f"nucseg_jax/data_prep/splits/{name}.json" for name in ("paper", "kumar", "challenge2018")),
        *(
            f"nucseg_jax/pretrained/models/{name}.{kind}"
            for name in names()
            for kind in ("json", "safetensors")
        ),
        "nucseg_jax/pretrained/sample.png",
        "nucseg_jax/napari_plugin/napari.yaml",
        "nucseg_jax/data_prep/manifests/he.json",
    }
    assert wanted <= set(files)
    texts = {Path(name).name for name in files if ".dist-info/licenses/" in name}
    assert texts == {"LICENSE", "LICENSE-WEIGHTS", "NOTICE"}
    models = sum(i.compress_size for i in zipfile.ZipFile(wheel).infolist() if i.filename.endswith(SUFFIX))
    assert 0 < models < 25e6


def test_it_finds_nuclei_at_once(commands: Path, tmp_path: Path) -> None:
    """Nothing but the install: the command without a run, and the README's lines."""
    sample = _run(
        [str(commands / "python"), "-c", "from nucseg_jax import pretrained as p; print(p.SAMPLE)"], tmp_path
    )
    found = _run([str(commands / "nucseg"), "predict", sample.strip(), "--out", "nuclei"], tmp_path)
    assert " nuclei, " in found
    assert (tmp_path / "nuclei" / "sample" / "nuclei.geojson").exists()
    code = (
        "from nucseg_jax import Segmenter, sample\n"
        "print(Segmenter.from_pretrained()(sample(), mpp=0.25).max())"
    )
    assert 100 < int(_run([str(commands / "python"), "-c", code], tmp_path)) < 1000


def test_it_prepares_trains_and_predicts(commands: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    """By names, without a checkout; what needs TensorFlow is packed before."""
    pack.main(
        [
            *("--data-dir", str(tiny_dataset), "--dataset", "folder", "--split", "synthetic"),
            *("--out", str(tmp_path / "packed")),
        ]
    )
    nucseg = str(commands / "nucseg")
    assert _run([nucseg, "--version"], tmp_path).startswith("nucseg_jax ")
    drawn = ["--out", "source", "--images", "2", "--test", "1", "--size", "64"]
    assert "wrote 1 train and 1 test images" in _run([nucseg, "prepare", "synthetic", *drawn], tmp_path)

    changes = {
        "num_steps": 2,
        "batch_size": 2,
        "model.width": 1 / 16,
        "data.dir": "packed",
        "data.crop_size": 32,
        "data.pipeline": "resident",
    }
    pairs = [f"{key}={value}" for key, value in changes.items()]
    trained = _run([nucseg, "train", "demo", "--workdir", "run", "--set", *pairs], tmp_path)
    assert "steps 0 to 2 of batch 2" in trained and "params sha256 " in trained

    (image,) = (tmp_path / "source" / "Tissue Images").glob("*-001.tif")
    found = _run([nucseg, "predict", str(image), "--workdir", "run", "--out", "nuclei"], tmp_path)
    assert " nuclei, " in found
    assert (tmp_path / "nuclei" / image.stem / "nuclei.geojson").exists()


def _run(command: list[str], folder: Path) -> str:
    """What a command prints that must succeed, with nothing of this process's environment for Python."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "XLA"))}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout
