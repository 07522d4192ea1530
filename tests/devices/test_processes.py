"""What several processes share out and gather: with two real ones."""

import sys

import pytest

from nucseg_jax import devices
from tests.several_processes import outputs_of, started_together

SHARED = """
import jax, numpy as np
from nucseg_jax import devices

devices.join_processes()
mine = devices.share(range(5))
print(list(mine))
print(devices.of_all_processes([("x" * i, i / 3) for i in mine]) == [("x" * i, i / 3) for i in range(5)])
print(devices.of_all_processes(devices.share([7])), devices.from_first(lambda: jax.process_index()))
everywhere = devices.replicate(devices.make_mesh(), {"a": np.arange(3.0)})
own = devices.on_own_mesh(devices.own_mesh(), everywhere)
print(float((own["a"] * 2).sum()), own["a"].is_fully_addressable, len(own["a"].devices()))
"""


def test_one_process_has_all_of_it() -> None:
    assert devices.of_all_processes(devices.share([3, 1, 2])) == [3, 1, 2]
    assert devices.from_first(lambda: "found") == "found"
    assert devices.own_mesh() == devices.make_mesh()


@pytest.mark.slow
def test_two_processes_share_items_and_both_get_all_results() -> None:
    processes = started_together([sys.executable, "-c", SHARED], devices=2)
    outputs = outputs_of(processes, timeout_s=120)
    assert [process.returncode for process in processes] == [0, 0], outputs
    for output, mine in zip(outputs, ("[0, 2, 4]", "[1, 3]"), strict=True):
        lines = [line for line in output.splitlines() if not line.startswith("[Gloo]")]
        assert lines == [mine, "True", "[7] 0", "6.0 True 2"], output
