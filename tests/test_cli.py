"""The console script: every verb reaches its command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nucseg_jax import cli

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from nucseg_jax.cli import main; main()"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ)


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"], ["-h"]):
        cli.main(arguments)
        printed = capsys.readouterr().out
        assert all(
            f"nucseg {verb}" in printed for verb in ("prepare", "train", "evaluate", "predict", "report")
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["segment"], "unknown verb 'segment': it must be one of prepare, train, evaluate, predict, report"),
        (["prepare"], "nucseg prepare takes one of monuseg, folder, pack, synthetic"),
        (["prepare", "coco"], "nucseg prepare takes one of monuseg"),
    ],
)
def test_wrong_verbs(arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        cli.main(arguments)


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["predict", "--help"], "--network-mpp"),
        (["report", "--help"], "--ensemble"),
        (["prepare", "synthetic", "--help"], "--images"),
    ],
)
def test_verbs_hand_on_their_arguments(
    arguments: list[str], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert not end.value.code
    assert option in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_training_and_scoring(verb: str) -> None:
    result = run(verb, "--config", "configs/demo.py", "--config.batch_sise=2")
    assert result.returncode == 1
    assert result.stderr.strip() == "error: unknown config key 'batch_sise': did you mean 'batch_size'?"


def test_scoring_finds_its_mode(tmp_path: Path) -> None:
    """`evaluate` does not train: without a checkpoint it says so."""
    result = run("evaluate", "--config", "configs/demo.py", f"--workdir={tmp_path}")
    assert result.returncode != 0 and "error: " in result.stderr and "Traceback" not in result.stderr


def test_the_script_is_declared() -> None:
    assert 'nucseg = "nucseg_jax.cli:main"' in (ROOT / "pyproject.toml").read_text()
