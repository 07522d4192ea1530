"""PyTorch's state dicts into the Flax networks and back, on NumPy arrays; PyTorch is not needed."""

import itertools
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from nucseg_jax.errors import UserError
from nucseg_jax.models import NETWORKS
from nucseg_jax.torch_bridge import load_state_dict, state_arrays
from nucseg_jax.torch_bridge.parameter_names import PUBLISHED, Published
from nucseg_jax.torch_bridge.weights import ConversionError
from tests.networks import empty_network, filled_network

ROOT = Path(__file__).parents[2]
WIDTH = 1 / 32
Arrays = dict[str, np.ndarray]


def random_network(name: str, **options: Any) -> nnx.Module:
    generator = np.random.default_rng(0)
    return filled_network(
        name, lambda shape: generator.standard_normal(shape, np.float32), width=WIDTH, **options
    )


def tensors(model: nnx.Module) -> Arrays:
    """Every parameter and batch statistic by its path, as it is."""
    state = nnx.to_flat_state(nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat)))
    return {".".join(map(str, path)): np.asarray(leaf[...]) for path, leaf in state}


def assert_identical(found: Arrays, expected: Arrays) -> None:
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        assert found[key].dtype == array.dtype and found[key].tobytes() == array.tobytes(), key


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda published: published.name)
def test_state_dicts_are_the_published_ones(published: Published) -> None:
    """All keys and shapes at full width, without the memory: one zero, broadcast to every shape."""
    lines = (ROOT / f"tests/golden/state_dicts/{published.name}.tsv").read_text().splitlines()[1:]
    shapes = {key: shape for key, shape, _ in (line.split("\t") for line in lines)}
    model = filled_network(published.name, lambda shape: np.broadcast_to(np.float32(0), shape), width=1.0)
    arrays = state_arrays(model)
    assert {key: "x".join(map(str, a.shape)) or "scalar" for key, a in arrays.items()} == shapes
    for names in ([pair.torch for pair in published.table], [pair.flax for pair in published.table]):
        assert [name for name, count in Counter(names).items() if count > 1] == []


@pytest.mark.parametrize("name", NETWORKS)
def test_there_and_back_changes_no_bit(name: str) -> None:
    model, copy = random_network(name), empty_network(name, width=WIDTH)
    arrays = state_arrays(model)
    ignored = load_state_dict(copy, arrays)
    assert ignored == [key for key in arrays if key.endswith(".num_batches_tracked")]
    assert_identical(tensors(copy), tensors(model))


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    return state_arrays(random_network("fcn8"))


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("counters", [True, False])
def test_data_parallel_and_old_files(prefix: str, counters: bool, arrays: Arrays) -> None:
    """DataParallel prefixes every key; PyTorch before 0.4.1 has no counters."""
    model = empty_network("fcn8", width=WIDTH)
    kept = {key: a for key, a in arrays.items() if counters or not key.endswith("tracked")}
    ignored = load_state_dict(model, {prefix + key: array for key, array in kept.items()})
    assert len(ignored) == (5 if counters else 0)
    assert_identical(state_arrays(model), arrays)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_every_floating_point_type_becomes_float32(dtype: str, arrays: Arrays) -> None:
    model = empty_network("fcn8", width=WIDTH)
    given_ = {key: array.astype(jax.numpy.dtype(dtype)) for key, array in arrays.items()}
    load_state_dict(model, given_)
    weights = {key: a for key, a in state_arrays(model).items() if not key.endswith("tracked")}
    assert_identical(weights, {key: given_[key].astype(np.float32) for key in weights})


KEYS = sorted(
    itertools.chain.from_iterable(
        [f"{pair.torch}.weight", f"{pair.torch}.bias"] for pair in PUBLISHED[0].table
    )
)


@pytest.fixture(scope="module")
def target() -> nnx.Module:
    return random_network("fcn8")


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.sampled_from(KEYS), st.sampled_from(["drop", "rename", "reshape", "nan"])),
        min_size=1,
        max_size=8,
        unique_by=lambda fault: fault[0],
    )
)
def test_every_fault_is_named_and_nothing_is_loaded(
    arrays: Arrays, target: nnx.Module, faults: list[tuple[str, str]]
) -> None:
    before, changed = tensors(target), dict(arrays)
    expected: dict[str, set[str]] = {
        "not in the network": set(),
        "missing in the file": set(),
        "of another shape": set(),
        "infinite or NaN": set(),
    }
    for key, fault in faults:
        array = changed.pop(key)
        if fault in ("drop", "rename"):
            expected["missing in the file"].add(key)
        if fault == "rename":
            expected["not in the network"].add(f"renamed.{key}")
            changed[f"renamed.{key}"] = array
        if fault == "reshape":
            expected["of another shape"].add(key)
            changed[key] = array[None]
        if fault == "nan":
            expected["infinite or NaN"].add(key)
            changed[key] = np.where(np.arange(array.size).reshape(array.shape) == 0, np.nan, array)
    with pytest.raises(ConversionError) as error:
        load_state_dict(target, changed)
    assert named(str(error.value)) == {title: keys for title, keys in expected.items() if keys}
    assert_identical(tensors(target), before)


def named(message: str) -> dict[str, set[str]]:
    """The keys under each heading of a message."""
    found: dict[str, set[str]] = {}
    keys: set[str] = set()
    for line in message.splitlines()[1:]:
        if line.startswith(" " * 4):
            keys.add(line.split()[0].removesuffix(":"))
        elif line.startswith(" " * 2):
            keys = found[line.strip().removesuffix(":")] = set()
    return found


def test_the_wrong_class_count_lists_shapes_and_advises(target: nnx.Module) -> None:
    before, three = tensors(target), state_arrays(random_network("fcn8", num_classes=3))
    with pytest.raises(ConversionError) as error:
        load_state_dict(target, three)
    lines = str(error.value).splitlines()
    assert "    classifier.weight: 3×1×1×1 in the file, 2×1×1×1 in the network" in lines
    assert "    classifier.bias: 3 in the file, 2 in the network" in lines
    assert "class count" in lines[-1]
    assert_identical(tensors(target), before)


@pytest.mark.parametrize("name", [p.name for p in PUBLISHED if p.name != "fcn8"])
def test_another_networks_state_dict_is_recognised(name: str, target: nnx.Module) -> None:
    table = next(published.table for published in PUBLISHED if published.name == name)
    other = {f"module.{pair.torch}.weight": np.zeros(1) for pair in table}
    with pytest.raises(ConversionError, match=f"The keys are those of {name}"):
        load_state_dict(target, other)


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300])
def test_values_beyond_float32_are_refused(value: float, arrays: Arrays, target: nnx.Module) -> None:
    with pytest.raises(ConversionError, match="infinite or NaN:\n    bn1.bias"):
        load_state_dict(target, arrays | {"bn1.bias": np.full_like(arrays["bn1.bias"], value, np.float64)})


def test_integers_are_no_weights(arrays: Arrays, target: nnx.Module) -> None:
    with pytest.raises(ConversionError, match="bn1.bias"):
        load_state_dict(target, arrays | {"bn1.bias": np.zeros_like(arrays["bn1.bias"], np.int64)})


def test_an_empty_state_dict_misses_every_key(arrays: Arrays, target: nnx.Module) -> None:
    with pytest.raises(ConversionError) as error:
        load_state_dict(target, {})
    assert named(str(error.value)) == {
        "missing in the file": {key for key in arrays if not key.endswith("tracked")}
    }


def test_a_network_of_ones_own_has_no_table() -> None:
    with pytest.raises(UserError, match="no PyTorch counterpart of Linear"):
        load_state_dict(nnx.Linear(1, 1, rngs=nnx.Rngs(0)), {})


def test_conversion_needs_no_pytorch() -> None:
    script = """
import sys
sys.modules["torch"] = None  # makes every import of it fail
import numpy as np
from nucseg_jax.torch_bridge import load_state_dict, state_arrays
from tests.networks import empty_network
with np.load("tests/golden/fcn8.npz") as file:
    weights = {key[11:]: file[key] for key in file.files if key.startswith("state_dict/")}
model = empty_network("fcn8", width=1 / 16)
load_state_dict(model, weights)
assert all(np.array_equal(state_arrays(model)[key], array) for key, array in weights.items())
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
