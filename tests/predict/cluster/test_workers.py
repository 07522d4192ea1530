"""Real worker processes: as many results as without them, whatever happens to the workers."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nucseg_jax import __version__
from nucseg_jax.io.locks import lock_beside
from tests.io.test_locks import Holder
from tests.predict.cluster import misbehaving
from tests.predict.cluster.misbehaving import lines
from tests.predict.test_command import predict, tissue, without_names, write_tiff
from tests.untrained import write_run

distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
starting = pytest.importorskip("nucseg_jax.predict.cluster.starting")
submission = pytest.importorskip("nucseg_jax.predict.cluster.submission")

LOST = r"its worker was lost \(killed, or its machine was\)"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"), instances__method="components")


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "log"
    folder.mkdir()
    monkeypatch.setenv(misbehaving.FOLDER, str(folder))
    return folder


def slides(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        write_tiff(folder / f"{name}.tif", tissue())
    return folder


def cluster_file(folder: Path, *, workers: int = 2, memory: str = "8GB") -> Path:
    path = folder / "cluster.yaml"
    path.write_text(
        "cluster: distributed.LocalCluster\n"
        f"options: {{n_workers: {workers}, threads_per_worker: 1, memory_limit: {memory}, "
        f"dashboard_address: '127.0.0.1:0', preload: [{misbehaving.MODULE}]}}\n"
    )
    return path


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_same_results_and_the_same_command_goes_on(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = slides(tmp_path / "slides", "a", "b")
    (here / "broken.svs").write_bytes(b"nothing")
    alone, out = tmp_path / "alone", tmp_path / "out"
    assert predict(run, alone, here / "a.tif", "--formats", "csv") == 0
    capsys.readouterr()

    assert predict(run, out, here, "--formats", "csv", "--cluster", "local") == 1
    printed = capsys.readouterr()
    assert re.search(r"^dashboard: http://127.0.0.1:\d+/status$", printed.out, re.MULTILINE)
    assert printed.out.count(" nuclei, ") == 2 and f"{here / 'a.tif'}: " in printed.out
    assert f"error: 1 failed:\n  {here / 'broken.svs'}: " in printed.err
    assert "Traceback" not in printed.err and "distributed" not in printed.err
    assert names_in(out) == ["a", "b"]
    assert without_names(out / "a" / "nuclei.csv") == without_names(alone / "a" / "nuclei.csv")

    (here / "broken.svs").unlink()
    assert predict(run, out, here, "--formats", "csv", "--cluster", "local") == 0
    printed = capsys.readouterr()
    assert "2 of 2 finished already" in printed.out and "dashboard" not in printed.out


@pytest.mark.slow
def test_killed_workers_poison_and_a_slow_slide(
    run: Path, tmp_path: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = slides(tmp_path / "slides", "a", "b", "c", "once", "poison", "slow")
    out = tmp_path / "out"
    cluster = "--cluster", cluster_file(tmp_path)
    assert predict(run, out, here, "--formats", "csv", *cluster) == 1
    printed = capsys.readouterr()
    assert re.search(f"{here / 'once.tif'}: {LOST}; it is begun again, 1 of 2", printed.out)
    for number in (1, 2):
        assert re.search(f"{here / 'poison.tif'}: {LOST}; it is begun again, {number} of 2", printed.out)
    message = "3 workers were lost at it (the last was killed, or its machine was)"
    assert f"{here / 'poison.tif'}: failed: {message}" in printed.out
    assert printed.err.endswith(f"error: 1 failed:\n  {here / 'poison.tif'}: {message}\n")
    assert "Traceback" not in printed.err
    assert names_in(out) == ["a", "b", "c", "once", "slow"], "what the killed workers left is gone"
    assert {name: lines(log, f"{name}.done") for name in ("a", "b", "c", "once", "slow")} == dict.fromkeys(
        ("a", "b", "c", "once", "slow"), 1
    ), "nothing is done twice"
    assert [lines(log, f"{name}.begun") for name in ("a", "once", "poison")] == [1, 2, 3]

    (here / "poison.tif").rename(here / "d.tif")
    assert predict(run, out, here, "--formats", "csv", *cluster) == 0
    assert "5 of 6 finished already" in capsys.readouterr().out
    assert names_in(out) == ["a", "b", "c", "d", "once", "slow"]
    assert lines(log, "d.begun") == 1 and lines(log, "a.begun") == 1


@pytest.mark.slow
def test_the_others_do_not_wait_for_a_slow_slide(run: Path, tmp_path: Path, log: Path) -> None:
    here = slides(tmp_path / "slides", "a", "b", "c", "d")
    write_tiff(here / "slow.tif", tissue(100, 130))  # the largest: it is begun first
    assert predict(run, tmp_path / "out", here, "--formats", "csv", "--cluster", cluster_file(tmp_path)) == 0
    times = {path.name: float(path.read_text().split()[1]) for path in log.iterdir()}
    assert times["slow.begun"] <= min(times[f"{name}.begun"] for name in "bcd")
    assert max(times[f"{name}.done"] for name in "abcd") < times["slow.done"]


@pytest.mark.slow
def test_a_worker_that_is_out_of_memory(
    run: Path, tmp_path: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = slides(tmp_path / "slides", "a", "b", "hungry")
    cluster = cluster_file(tmp_path, workers=1, memory="2GB")
    assert predict(run, tmp_path / "out", here, "--formats", "csv", "--cluster", cluster) == 1
    printed = capsys.readouterr()
    assert (
        f"{here / 'hungry.tif'}: its worker was lost (out of memory); it is begun again, 2 of 2"
        in printed.out
    )
    assert f"{here / 'hungry.tif'}: 3 workers were lost at it (the last was out of memory)" in printed.err
    assert names_in(tmp_path / "out") == ["a", "b"] and lines(log, "hungry.begun") == 3


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_without_a_trace(run: Path, tmp_path: Path, log: Path, number: int) -> None:
    here = slides(tmp_path / "slides", "slow1", "slow2", "slow3")
    out = tmp_path / "out"
    # A shell's background job, as tests may be, ignores SIGINT.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from nucseg_jax.cli import door; door('predict')"
    command = [sys.executable, "-c", code, "--workdir", run, "--workers", "0", "--out", out]
    command += [here, "--cluster", cluster_file(tmp_path)]
    process = subprocess.Popen(
        list(map(str, command)),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while process.poll() is None and len(list(log.glob("*.begun"))) < 2:
        time.sleep(0.1)
    os.killpg(process.pid, number)  # as a terminal does
    _, said = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert "stopped" in said and "The same command goes on" in said and "Traceback" not in said
    assert not out.exists()


@pytest.mark.slow
def test_a_slide_that_another_process_gives_up(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(submission, "_WAIT_S", 0.5)
    here, out = slides(tmp_path / "slides", "a", "b"), tmp_path / "out"
    out.mkdir()
    holder = Holder(lock_beside(out / "a"))

    def give_up() -> None:
        while not (out / "b" / "summary.json").exists():
            time.sleep(0.1)
        time.sleep(1.0)
        holder.__exit__()

    threading.Thread(target=give_up).start()
    assert predict(run, out, here, "--formats", "csv", "--cluster", "local") == 0
    assert names_in(out) == ["a", "b"] and (out / "a" / "nuclei.csv").exists()
    waiting = f"waiting for process {holder.process.pid} on "
    assert capsys.readouterr().out.count(waiting) == 1


@pytest.mark.slow
def test_a_full_disk_stops_all(
    run: Path, tmp_path: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = slides(tmp_path / "slides", "a", "slow")
    write_tiff(here / "full.tif", tissue(100, 130))  # the largest: it is begun first
    cluster = cluster_file(tmp_path, workers=1)
    assert predict(run, tmp_path / "out", here, "--formats", "csv", "--cluster", cluster) == 1
    expected = f"error: {here / 'full.tif'}: cannot be finished, because the disk is full\n"
    assert capsys.readouterr().err.endswith(expected)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_results_that_do_not_show_here_are_not_done(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each machine has an --out of its own."""
    monkeypatch.setattr(submission, "_SEEN_S", 0.5)
    monkeypatch.setattr(submission, "state_of", lambda folder: None)
    here, out = slides(tmp_path / "slides", "a"), tmp_path / "out"
    assert predict(run, out, here, "--formats", "csv", "--cluster", "local") == 1
    message = f"{socket.gethostname()} has written {out / 'a'}, which does not show here: share --out"
    assert capsys.readouterr().err.endswith(f"error: 1 failed:\n  {here / 'a.tif'}: {message}\n")


@pytest.mark.slow
def test_the_workers_of_an_address(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here, out = slides(tmp_path / "slides", "a"), tmp_path / "out"
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None, silence_logs=60
    ) as cluster:
        arguments = here, "--formats", "csv", "--cluster", cluster.scheduler_address
        assert predict(run, out, *arguments, "--workers", "1") == 1
        why = "it may start no processes: start it with DASK_DISTRIBUTED__WORKER__DAEMON=False"
        assert re.search(f"the worker tcp://.* cannot be used: {why}", capsys.readouterr().err)
        assert predict(run, out, *arguments) == 0
        assert names_in(out) == ["a"]
        with distributed.Client(cluster, set_as_default=False) as client:
            plugins = client.run(lambda dask_worker: list(dask_worker.plugins))
            assert list(plugins.values()) == [["shuffle"]], "Dask's own; nothing of ours stays"


@pytest.mark.slow
def test_a_worker_of_another_version(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(misbehaving.VERSION, "0.0.1")
    here = slides(tmp_path / "slides", "a")
    cluster = cluster_file(tmp_path, workers=1)
    assert predict(run, tmp_path / "out", here, "--cluster", cluster) == 1
    why = f"it has nucseg_jax 0.0.1, and this command {__version__}. Install the same there"
    assert re.search(f"error: the worker tcp://.* cannot be used: {why}", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_worker_for_each_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "_devices", lambda: ("gpu", 2))
    with starting.connected("local") as connection:
        connection.client.wait_for_workers(2, timeout=60)
        seen = connection.client.run(lambda: os.environ["JAX_CUDA_VISIBLE_DEVICES"])
        assert sorted(seen.values()) == ["0", "1"]
        assert set(connection.client.nthreads().values()) == {1}
        assert connection.per_machine == 2


def test_no_scheduler_at_the_address(run: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(starting, "_TIMEOUT_S", 0.5)
    here = slides(tmp_path / "slides", "a")
    assert predict(run, tmp_path / "out", here, "--cluster", "tcp://127.0.0.1:9") == 2
    said = capsys.readouterr().err
    assert (
        said.startswith("error: --cluster tcp://127.0.0.1:9: no scheduler answers (")
        and said.count("\n") == 1
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cluster: nowhere_at_all.SLURMCluster", "Install it with pip install nowhere-at-all, or mend"),
        ("cluster: distributed.SLURMCluster", "distributed has no SLURMCluster"),
        ("cluster: distributed.Client", "distributed.Client is no cluster of Dask"),
        ("cluster: distributed.LocalCluster\noptions: {n_wokers: 1}", "cannot be started"),
    ],
)
def test_a_cluster_that_cannot_be_started(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
    message: str,
) -> None:
    monkeypatch.setattr(
        starting, "_START_S", 15.0
    )  # with a wrong option, Dask fails, or waits for its workers
    here, file = slides(tmp_path / "slides", "a"), tmp_path / "cluster.yaml"
    file.write_text(text)
    assert predict(run, tmp_path / "out", here, "--cluster", file) == 2
    said = capsys.readouterr().err
    assert f"error: --cluster {file}: " in said and message in said and said.count("\n") == 1
