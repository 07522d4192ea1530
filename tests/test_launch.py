"""What `launch/` starts, on which cores, with which memory: the commands are replaced by ones that print."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from nucseg_jax.config import load

LAUNCH = Path(__file__).parent.parent / "launch"
PRINTER = '#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n'


@pytest.fixture
def fakes(tmp_path: Path) -> Path:
    """A folder with a Python, an srun and a gcloud, which print their arguments."""
    for name in ("python", "srun", "gcloud"):
        (tmp_path / name).write_text(PRINTER)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def printed(fakes: Path, script: str, *arguments: str, **environment: str) -> list[str]:
    """What a script's last command is given."""
    path = f"{fakes}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        [str(LAUNCH / script), *arguments],
        env={**os.environ, "PATH": path, "PYTHON": "python", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.splitlines()


@pytest.mark.parametrize("script", sorted(LAUNCH.glob("*.sh")), ids=lambda path: path.name)
def test_every_script_is_sound_bash_and_says_how_it_is_used(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)
    environment = {key: value for key, value in os.environ.items() if key != "ZONE"}
    wrong = subprocess.run([str(script)], env=environment, capture_output=True, text=True)
    assert wrong.returncode == 1 and "usage: " in wrong.stderr and script.name in wrong.stderr


def test_one_host(fakes: Path) -> None:
    given = ["configs/psp.py", "--config.batch_size=16"]
    assert printed(fakes, "one_host.sh", *given) == ["-m", "nucseg_jax.main", "--config", *given]


def test_slurm_starts_a_process_a_machine_on_all_of_its_devices(fakes: Path) -> None:
    (fakes / "srun").write_text(PRINTER + 'echo "$JAX_LOCAL_DEVICE_IDS of $SRUN_CPUS_PER_TASK cores"\n')
    slurm = {"SLURM_GPUS_ON_NODE": "4", "SLURM_CPUS_PER_TASK": "12"}
    found = printed(fakes, "slurm.sh", "my config.py", "--config.batch_size=8", **slurm)
    started = ["python", "-m", "nucseg_jax.main", "--distributed", "--config", "my config.py"]
    assert found == ["--kill-on-bad-exit=1", *started, "--config.batch_size=8", "0,1,2,3 of 12 cores"]


@pytest.mark.parametrize(("script", "cores"), [("slurm.sh", 16), ("slurm_predict.sh", 8)])
def test_slurm_is_asked_for_cores_and_memory(script: str, cores: int) -> None:
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(.+)$", (LAUNCH / script).read_text(), re.MULTILINE))
    assert asked["cpus-per-task"] == str(cores) and re.fullmatch(r"\d+G", asked["mem"])


def test_a_tpu_slice_gets_one_command_for_all_of_its_machines(fakes: Path) -> None:
    """Bash reads the command there once more."""
    given = ["my-tpu", "my config.py", "--workdir", "/mnt/a b"]
    found = printed(fakes, "tpu_pod.sh", *given, ZONE="us-central2-b", FOLDER="/")
    assert found[:-1] == [
        *("compute", "tpus", "tpu-vm", "ssh", "my-tpu"),
        *("--zone=us-central2-b", "--worker=all"),
    ]
    command = found[-1].removeprefix("--command=")
    environment = {**os.environ, "PATH": f"{fakes}{os.pathsep}{os.environ['PATH']}"}
    read = subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, check=True
    )
    assert read.stdout.splitlines() == [
        *("-m", "nucseg_jax.main", "--distributed", "--config", "my config.py"),
        *("--workdir", "/mnt/a b"),
    ]


def test_kubernetes_pods_know_each_other_and_ask_for_cores_and_memory() -> None:
    documents: list[dict[str, Any]] = list(yaml.safe_load_all((LAUNCH / "kubernetes.yaml").read_text()))
    service, job = documents
    assert (service["kind"], job["kind"]) == ("Service", "Job")
    name, spec = job["metadata"]["name"], job["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    variables = {entry["name"]: entry for entry in container["env"]}
    assert spec["completionMode"] == "Indexed" and spec["completions"] == spec["parallelism"]
    assert variables["JAX_NUM_PROCESSES"]["value"] == str(spec["completions"])
    # The first pod's name under the service, which is there before the pod is ready.
    assert service["spec"]["selector"] == {"job-name": name} and service["spec"]["clusterIP"] == "None"
    assert pod["subdomain"] == service["metadata"]["name"] and service["spec"]["publishNotReadyAddresses"]
    host, _, port = variables["JAX_COORDINATOR_ADDRESS"]["value"].partition(":")
    assert host == f"{name}-0.{pod['subdomain']}" and port.isdigit()
    index = variables["JAX_PROCESS_ID"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert index == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    assert container["command"] == ["python", "-m", "nucseg_jax.main", "--distributed"]
    options = dict(argument.removeprefix("--").split("=") for argument in container["args"])
    assert load(options["config"])[0] == options["config"]
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    mounts, volumes = ({x["name"] for x in part} for part in (container["volumeMounts"], pod["volumes"]))
    assert mounts == volumes
