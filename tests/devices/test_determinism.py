"""`config.deterministic`: XLA's flag, set before XLA reads its flags."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nucseg_jax import devices
from nucseg_jax.cli import actions
from nucseg_jax.devices.determinism import FLAG

ROOT = Path(__file__).parent.parent.parent


def test_the_users_own_flags_stay_and_ours_comes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    given = "--xla_cpu_enable_fast_math=false --xla_gpu_deterministic_ops=false"
    monkeypatch.setenv("XLA_FLAGS", given)
    for _ in range(2):
        devices.use_deterministic_operations()
        assert os.environ["XLA_FLAGS"] == f"{given} {FLAG}"


BEGUN = """
import sys
from nucseg_jax.cli import actions
from nucseg_jax.devices import determinism
determinism.FLAG = sys.argv[1] or determinism.FLAG
actions.begin(deterministic=True)
import jax
print("sum", jax.numpy.arange(4).sum())
"""


@pytest.mark.parametrize("flag", ["", "--xla_gpu_no_such_flag=true"])
def test_xla_reads_the_flag_when_a_command_begins(flag: str) -> None:
    """It knows ours, and ends the process for one that it does not know: so it has read them."""
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    result = subprocess.run(
        [sys.executable, "-c", BEGUN, flag], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    if flag:
        assert result.returncode != 0 and "xla_gpu_no_such_flag" in result.stderr
    else:
        assert result.stdout == "sum 6\n", result.stderr


def test_training_and_evaluation_begin_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    begun = []

    class Enough(Exception):
        pass

    def begin(**options: bool) -> None:
        begun.append(options["deterministic"])
        raise Enough

    monkeypatch.setattr(actions, "begin", begin)
    for change, wanted in (((), False), (("deterministic=True",), True)):
        experiment = actions.read("demo", change, tmp_path)
        for action in (actions.train, actions.evaluate, actions.tune):
            with pytest.raises(Enough):
                action(experiment)
            assert begun.pop() is wanted
