"""The table of what devices hold and send."""

from benchmarks import sharding
from nucseg_jax import devices


def test_what_a_device_holds_and_sends() -> None:
    mesh = devices.make_mesh()
    plan = sharding.plan_of("unet", "parameters", mesh, width=1 / 16, size=32)
    assert plan.sent.keys() == {"all-reduce", "all-gather"}
    # An eighth of the parameters and of as large a momentum; small ones are whole, and are not gathered.
    expected = 2 * plan.sent["all-gather"] / 8
    assert expected < plan.state_bytes < 1.3 * expected
    assert plan.state_bytes < plan.sent["all-gather"] < plan.sent["all-reduce"] < plan.step_bytes
