"""Commands whose folder cannot be written say so in one line."""

from pathlib import Path

import pytest

from data_prep import synthetic
from tests.nightly.processes import python
from tests.small_disk import run_on_read_only_disk
from tests.untrained import write_run


def training(folder: Path, data_dir: Path, tmp_path: Path) -> list[str]:
    changes = {"data.dir": data_dir, "model.width": 1 / 16, "data.crop_size": 32, "batch_size": 8}
    options = [f"--config.{key}={value}" for key, value in changes.items()]
    return python("-m", "nucseg_jax.main", "--config", "configs/demo.py", "--workdir", folder, *options)


def preparation(folder: Path, data_dir: Path, tmp_path: Path) -> list[str]:
    source = tmp_path / "source"
    synthetic.write_dataset(source, images=2, test=1, size=64, seed=0)
    return python("-m", "data_prep.folder", "--source", source, "--out", folder, "--name", "mine")


def prediction(folder: Path, data_dir: Path, tmp_path: Path) -> list[str]:
    run = write_run(tmp_path / "run")
    image = "nucseg_jax/pretrained/sample.png"
    return python("-m", "nucseg_jax.predict", image, "--workdir", run, "--out", folder)


def evaluation(folder: Path, data_dir: Path, tmp_path: Path) -> list[str]:
    return [*training(folder, data_dir, tmp_path), "--mode", "eval"]


@pytest.mark.parametrize("command", [training, preparation, prediction, evaluation])
def test_a_folder_that_cannot_be_written(command, tiny_dataset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "read_only"
    folder.mkdir()
    status, printed = run_on_read_only_disk(folder, command(folder, tiny_dataset, tmp_path))
    errors = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert status in (1, 2) and len(errors) == 1, printed
    assert str(folder) in errors[0] and "Traceback" not in printed, printed
