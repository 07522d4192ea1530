"""The compilation cache: on by default, the same bits with it and without, silent where it cannot be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nucseg_jax.devices import compilation_cache
from tests.untrained import write_run

COUNT = """
import collections, jax, jax.monitoring, sys
from nucseg_jax.devices import compilation_cache

events = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: events.update([event.split("/")[-1]]))
compilation_cache.enable()
"""
SINE = (
    COUNT
    + """
jax.jit(jax.numpy.sin).lower(jax.ShapeDtypeStruct((2,), "float32")).compile()
assert "tensorflow" not in sys.modules
print(events["cache_hits"], events["cache_misses"], "-")
"""
)
# Two steps of a narrow U-Net.
TRAIN = (
    COUNT
    + """
import functools
import numpy as np
from flax import nnx
from nucseg_jax import devices
from nucseg_jax.models import create_model
from nucseg_jax.models.network import Weights, split_network
from nucseg_jax.runs.restoring import parameter_digest
from nucseg_jax.training import optim
from nucseg_jax.training.objectives import OBJECTIVES
from nucseg_jax.training.step import Given, compile_step, initial_state, train_step

mesh = devices.make_mesh()
optimizer = optim.sgd(momentum=0.9, weight_decay=0.0)
given = Given.of(optim.table(lambda step: 0.1, 1), seed=0)
model = create_model("unet", width=1 / 16, rngs=nnx.Rngs(params=0, dropout=0))
network, *weights = split_network(model)
state = initial_state(mesh, Weights(*weights), optimizer, given)
options = {"objective": OBJECTIVES["cross_entropy"], "loss_scale": 1.0, "accumulate": 1}
step = compile_step(mesh, functools.partial(train_step, network=network, optimizer=optimizer, **options))
image = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
batch = devices.split_batch(mesh, {"image": image, "label_map": image[..., 0].astype(np.int32) // 128})
for _ in range(2):
    state, loss = step(state, batch)
print(events["cache_hits"], events["cache_misses"], parameter_digest(state.params))
"""
)


# A trained network in Python, as nobody but nucseg_jax has set JAX up.
SEGMENT = """
import collections, jax.monitoring, sys
import numpy as np
from nucseg_jax import Segmenter

events = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: events.update([event.split("/")[-1]]))
segmenter = Segmenter.load(sys.argv[1], network_mpp=0.25)
found = segmenter(np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8), mpp=0.25)
print(events["cache_hits"], events["cache_misses"], found.max())
"""


def run(code: str, *arguments: str, **environment: str) -> tuple[int, int, str]:
    """(cache hits, cache writes, digest of the parameters) of a process in which a warning is an error."""
    inherited = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    # One device, as a user has it; every program is kept, however fast it compiled.
    ours = {
        "XLA_FLAGS": "",
        "PYTHONWARNINGS": "error::UserWarning",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=inherited | ours | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "cache" not in done.stderr, done.stderr
    hits, misses, digest = done.stdout.split()
    return int(hits), int(misses), digest


@pytest.mark.slow
def test_the_next_process_reads_what_one_compiled_and_gets_the_same_bits(tmp_path: Path) -> None:
    hits, written, compiled = run(TRAIN, XDG_CACHE_HOME=str(tmp_path))
    folder = tmp_path / "nucseg_jax" / "xla"
    assert folder.stat().st_mode & 0o777 == 0o700
    entries = list(folder.glob("*-cache"))
    assert len(entries) == written > hits
    # What is left of a process that was killed while it wrote.
    killed = next(e for e in entries if "train_step" in e.name)
    killed.write_bytes(killed.read_bytes()[:100])
    killed.with_name(killed.name.replace("-cache", "-atime")).unlink()

    again, rewritten, read = run(TRAIN, XDG_CACHE_HOME=str(tmp_path))
    assert (again, rewritten, read) == (hits + written - 1, 1, compiled)
    assert run(TRAIN, XDG_CACHE_HOME=str(tmp_path), JAX_ENABLE_COMPILATION_CACHE="0") == (0, 0, compiled)


def test_a_segmenter_in_python_reads_what_an_earlier_one_compiled(tmp_path: Path) -> None:
    workdir = str(write_run(tmp_path / "run"))
    hits, written, found = run(SEGMENT, workdir, XDG_CACHE_HOME=str(tmp_path))
    assert written > hits
    assert run(SEGMENT, workdir, XDG_CACHE_HOME=str(tmp_path)) == (hits + written, 0, found)


def test_jaxs_own_setting_is_left_alone(tmp_path: Path) -> None:
    home, own = tmp_path / "home", tmp_path / "own"
    home.mkdir()
    assert run(SINE, XDG_CACHE_HOME=str(home), JAX_COMPILATION_CACHE_DIR=str(own))[1] == 1
    assert list(own.glob("*-cache")) and not list(home.iterdir())


@pytest.mark.parametrize("home", ["/proc/none", "FILE"])
def test_a_folder_that_cannot_be_made_is_no_reason_to_say_anything(home: str, tmp_path: Path) -> None:
    (tmp_path / "FILE").write_text("")
    assert run(SINE, XDG_CACHE_HOME=str(tmp_path / home))[:2] == (0, 0)


def test_the_folder_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    for relative in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", relative)
        assert compilation_cache.default_folder() == Path("/home/someone/.cache/nucseg_jax/xla")


def test_the_key_tells_cpus_apart() -> None:
    """What a home folder on several machines relies on; here one CPU passes itself off as an older one."""
    code = (
        "import jax; from jax._src.lib import xla_client; "
        "print(xla_client.get_topology_for_devices(jax.devices()).fingerprint())"
    )

    def fingerprint(flags: str) -> str:
        environment = os.environ | {"XLA_FLAGS": flags}
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert fingerprint("") == fingerprint("") != fingerprint("--xla_cpu_max_isa=SSE4_2")
