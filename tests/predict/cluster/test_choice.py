"""The value of --cluster: what it may be, and one clear line for each mistake."""

from pathlib import Path

import pytest

from nucseg_jax.errors import UserError
from nucseg_jax.predict.cluster import read_choice
from nucseg_jax.predict.cluster.choice import ClusterFile
from tests.predict.test_command import predict

pytest.importorskip("distributed", reason="the extra `cluster` is not installed")


def written(folder: Path, text: str) -> Path:
    path = folder / "cluster.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("text", ["local", "tcp://node3:8786", "tls://10.0.0.1:8786"])
def test_names(text: str) -> None:
    assert read_choice(text) == text


@pytest.mark.parametrize("text", ["", "slurm", "node3:8786", "http://node3:8787/status", "tcp://"])
def test_what_is_no_cluster(text: str) -> None:
    with pytest.raises(UserError, match=f"--cluster {text}: give local, the address of a Dask scheduler"):
        read_choice(text)


def test_a_file(tmp_path: Path) -> None:
    text = "cluster: dask_jobqueue.SLURMCluster\nscale: 4\noptions: {queue: gpu, cores: 1}\n"
    path = written(tmp_path, text)
    options = {"queue": "gpu", "cores": 1}
    assert read_choice(str(path)) == ClusterFile(path, "dask_jobqueue.SLURMCluster", options, {"n": 4}, None)


def test_jobs_and_growth(tmp_path: Path) -> None:
    scaled = read_choice(str(written(tmp_path, "cluster: a.B\nscale: {jobs: 8}\n")))
    assert isinstance(scaled, ClusterFile) and scaled.scale == {"jobs": 8} and scaled.options == {}
    grown = read_choice(str(written(tmp_path, "cluster: a.B\nadapt: {maximum: 8}\n")))
    assert isinstance(grown, ClusterFile) and grown.adapt == {"maximum": 8} and grown.scale is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is no YAML"),
        ("- a", "has no keys"),
        ("cluster: a.B\noption: {}", "unknown key 'option': did you mean options"),
        ("options: {}", "cluster must be a class with its module, such as .*, got None"),
        ("cluster: SLURMCluster", "cluster must be a class with its module, .* got 'SLURMCluster'"),
        ("cluster: a.B\noptions: [1]", "options must be names and values"),
        ("cluster: a.B\nscale: 0", "scale must be a number of workers, .* got 0"),
        ("cluster: a.B\nscale: true", "scale must be a number of workers, .* got True"),
        ("cluster: a.B\nadapt: 4", "adapt must be names and values"),
        ("cluster: a.B\nscale: 4\nadapt: {maximum: 8}", "has scale and adapt"),
    ],
)
def test_a_wrong_file(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UserError, match=f"--cluster {path}: {message}"):
        read_choice(str(path))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_choice(str(tmp_path / "cluster.yaml"))


def test_it_is_read_before_anything_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slide = tmp_path / "a.tif"
    slide.touch()
    assert predict(tmp_path / "run", tmp_path / "out", slide, "--cluster", "slurm") == 2
    assert "error: --cluster slurm: give local" in capsys.readouterr().err
    assert predict(tmp_path / "run", tmp_path / "out", slide, "--cluster", "local", "--share", "1/2") == 2
    assert "error: --share 1/2 and --cluster local: give one of them" in capsys.readouterr().err
