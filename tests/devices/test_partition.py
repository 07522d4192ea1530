"""Arrays in parts over the devices."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, PartitionSpec

from nucseg_jax import devices


def first_devices(count: int) -> Mesh:
    return Mesh(jax.devices()[:count], ("data",), axis_types=(AxisType.Auto,))


@pytest.mark.parametrize(
    ("count", "shape", "spec"),
    [
        (8, (3, 3, 32, 64), (None, None, None, "data")),
        (8, (3, 3, 64, 32), (None, None, "data")),
        (8, (7, 7, 512, 4096), (None, None, None, "data")),
        (8, (1024, 3), ("data",)),
        (8, (3, 3, 30, 64), (None, None, None, "data")),
        (8, (3, 3, 100, 48), (None, None, None, "data")),  # 100 is longer, and no multiple of 8
        (8, (3, 3, 30, 50), ()),
        (8, (64,), ()),  # small
        (8, (), ()),
        (8, (0, 4096), ()),  # nothing to cut
        (2, (3, 3, 30, 50), (None, None, None, "data")),
        (1, (3, 3, 32, 64), ()),
    ],
)
def test_an_array_is_cut_along_its_longest_axis_that_the_devices_divide(
    count: int, shape: tuple[int, ...], spec: tuple[str | None, ...]
) -> None:
    assert devices.partition(first_devices(count), shape).spec == PartitionSpec(*spec)


def test_parts_are_put_together_again() -> None:
    mesh, values = devices.make_mesh(), np.arange(16 * 128, dtype=np.float32).reshape(16, 128)
    small = np.arange(3, dtype=np.float32)
    shapes = [
        jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=devices.partition(mesh, x.shape))
        for x in (values, small)
    ]
    cut, copied = devices.place([values, small], shapes)
    assert [shard.data.shape for shard in cut.addressable_shards] == [(16, 16)] * 8
    assert devices.bytes_on_device([cut, copied]) == values.nbytes // 8 + small.nbytes
    assert devices.bytes_on_device(shapes) == values.nbytes // 8 + small.nbytes
    np.testing.assert_array_equal(devices.on_host(cut), values)
    np.testing.assert_array_equal(devices.on_host(copied), small)
    np.testing.assert_array_equal(devices.on_host(values), values)
    gathered = devices.gather([cut, copied])
    assert all(x.is_fully_replicated and len(x.sharding.device_set) == 8 for x in gathered)
    np.testing.assert_array_equal(gathered[0], values)
    assert devices.gather(gathered) is gathered


def test_a_program_cuts_and_gathers_where_it_is_told_to() -> None:
    mesh, values = devices.make_mesh(), np.arange(16 * 128, dtype=np.float32).reshape(16, 128)
    seen: dict[str, tuple[int, ...]] = {}

    def program(x: jax.Array) -> jax.Array:
        jax.debug.inspect_array_sharding(
            devices.in_parts(x), callback=lambda s: seen.update(cut=s.shard_shape(x.shape))
        )
        jax.debug.inspect_array_sharding(
            devices.whole(devices.in_parts(x)), callback=lambda s: seen.update(whole=s.shard_shape(x.shape))
        )
        return 2 * x

    result = devices.jit(mesh, program)(devices.replicate(mesh, values))
    assert seen == {"cut": (16, 16), "whole": (16, 128)}
    np.testing.assert_array_equal(result, 2 * values)
    assert devices.in_parts(values) is values and devices.whole(values) is values, "no program"
