"""What a training is said to take."""

import jax
from ml_collections import ConfigDict

from nucseg_jax import data, devices
from nucseg_jax.data import feed_device
from nucseg_jax.training import optim, start, train
from nucseg_jax.training.estimate import Estimate, estimate, told
from nucseg_jax.training.step import Given


def bytes_of(tree: object) -> int:
    return sum(x.nbytes for x in jax.tree.leaves(tree))


def test_memory_and_steps_of_a_training(tiny_config: ConfigDict) -> None:
    tiny_config.data.pipeline, tiny_config.num_steps = "resident", 4
    found, mesh = estimate(tiny_config), devices.make_mesh()
    examples, _ = data.load(tiny_config.data).training(tiny_config.data.validation)
    sizes = train.plan_patches(tiny_config, examples).sizes
    store = feed_device.place(mesh, train.rasters_of(tiny_config, examples), sizes)
    assert found.store_bytes == bytes_of(store)
    given = Given.of(optim.table(lambda step: 0.1 + 0 * step, 4), 0)
    state = start.fresh(tiny_config, mesh, train.make_optimizer(tiny_config), given).state()
    assert found.state_bytes == found.whole_bytes == bytes_of(state)
    assert found.step_bytes > 2 * found.state_bytes  # gradients at least
    assert found.steps == 4 and found.devices == mesh.devices.size
    assert found.step_seconds is not None and found.step_seconds > 0


def test_what_is_told(tiny_config: ConfigDict) -> None:
    figures = Estimate("A (gpu)", 8, 2 * 10**9, 2 * 10**9, 95 * 10**8, 5 * 10**8, None, None, 0)
    lines = told(figures._replace(step_seconds=0.5, steps=20_000), tiny_config)
    assert "on 8 × A (gpu)" in lines[0]
    assert lines[1] == (
        "memory a device: 10.00 GB (weights and the optimizer's state 2.00 GB; images on the device 500 MB)"
    )
    assert "20,000 steps: 2.8 h" in lines[2]
    small = figures._replace(limit_bytes=8_000_000_000, step_seconds=None)
    assert not small.fits
    tiny_config.optim.accumulate = 1
    begin = "it does not fit: the device has 8.00 GB. Set "
    end = "optim.accumulate=2, or a smaller batch_size"
    blocks, parts = "model.recompute=blocks (slower steps), ", "shard=parameters, "
    assert told(small, tiny_config)[2] == begin + blocks + parts + end
    assert told(small._replace(devices=1), tiny_config)[2] == begin + blocks + end
    tiny_config.model.recompute = "blocks"
    assert told(small, tiny_config)[2] == begin + parts + end
    tiny_config.shard = "parameters"
    assert told(small, tiny_config)[2] == begin + end
