"""Strict by default: eight simulated devices, no silent rank promotion, warnings are errors (pyproject)."""

import os
from pathlib import Path

# Before anything imports JAX: these are read once.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".jax_cache"))
# Even the smallest: each test compiles many of 50 ms.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import jax
import pytest
from hypothesis import settings
from jax.sharding import AxisType, Mesh
from ml_collections import ConfigDict

from configs import demo
from data_prep import folder, synthetic
from nucseg_jax import data
from nucseg_jax.data import feed_host
from nucseg_jax.data.patches import PatchPlan
from nucseg_jax.data.rasters import Batch, rasters

# The first example of a test compiles; a deadline would measure that.
settings.register_profile("default", deadline=None)
settings.load_profile("default")

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def one_device() -> Mesh:
    return Mesh(jax.devices()[:1], ("data",), axis_types=(AxisType.Auto,))


@pytest.fixture
def tiny_config(tiny_dataset: Path) -> ConfigDict:
    """The demo's experiment made small enough for a test: U-Net of 4 channels, 32-pixel patches."""
    config = demo.get_config()
    config.data.dir = str(tiny_dataset)
    config.batch_size = 8
    config.model.width = 1 / 16
    config.data.crop_size = 32
    return config


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the prepared dataset folder/synthetic_none: 3 training and 1 test image of 96×96."""
    root = tmp_path_factory.mktemp("tiny")
    synthetic.write_dataset(root / "source", images=4, test=1, size=96, seed=0)
    folder.main(["--source", str(root / "source"), "--out", str(root / "data"), "--name", "synthetic"])
    return root / "data"


@pytest.fixture
def tissue_batch(tiny_config: ConfigDict) -> Batch:
    """Eight 32-pixel patches of the tiny dataset."""
    examples = data.load(tiny_config.data).splits["train"]
    plan = PatchPlan(0, tuple(e.label_map.shape for e in examples), crop=32, random_crops=8)
    return next(feed_host.batches(rasters(examples), plan, batch_size=8, rows=slice(0, 8), first=0, last=1))
