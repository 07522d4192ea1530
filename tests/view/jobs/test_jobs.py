"""Jobs and uploads, with a command that draws results in place of `nucseg predict`."""

import sqlite3
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from nucseg_jax.errors import UserError
from nucseg_jax.view.jobs import runner as job_runner
from nucseg_jax.view.jobs.runner import Running, predict_command
from nucseg_jax.view.jobs.store import Job, JobStore
from nucseg_jax.view.library import Library
from nucseg_jax.view.serving import serve
from nucseg_jax.view.slides.displayed_slide import Opening
from tests.view.conftest import page_of
from tests.view.drawn_results import write_result, write_slide

PATIENCE_S = 60.0

_COPY = """
    import json, pathlib, shutil, sys, time
    out, progress, made, stop = map(pathlib.Path, sys.argv[1:5])
    progress.write_text(json.dumps({"stage": "segmenting", "slide": "s", "part": 0.25, "done": 0, "of": 1}))
    while stop.exists():
        time.sleep(0.05)
    shutil.copytree(made, out / "slide")
"""
_FAIL = 'import sys; print("1 %|##|"); sys.exit("error: a.png: is damaged.\\nCopy it again")'


class Drawn:
    """Commands of jobs: each copies a result that is made already, once `go` is called.

    Attributes:
      started: the jobs that were, and the run.
      code: of the next commands.
    """

    def __init__(self, folder: Path, slide: Path) -> None:
        self.started: list[tuple[Job, Path | None]] = []
        self.code = textwrap.dedent(_COPY)
        self._stop, self._made = folder / "stop", folder / "made"
        write_result(self._made, slide)
        self._stop.touch()

    def go(self) -> None:
        self._stop.unlink()

    def __call__(self, job: Job, out: Path, progress: Path, workdir: Path | None) -> list[str]:
        self.started.append((job, workdir))
        return [sys.executable, "-S", "-c", self.code, *map(str, (out, progress, self._made, self._stop))]


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    write_slide(tmp_path / "slide.png")
    return tmp_path / "slide.png"


@pytest.fixture
def drawn(tmp_path: Path, slide: Path) -> Drawn:
    return Drawn(tmp_path, slide)


def page(tmp_path: Path, slide: Path, drawn: Drawn, **options: Any) -> TestClient:
    library = Library()
    library.add(slide)
    return page_of(library, tmp_path, command=drawn, **options)


def slide_id(client: TestClient) -> str:
    return client.get("api/library").json()["slides"][0]["id"]


def queue(client: TestClient, **more: Any) -> str:
    answer = client.post("api/jobs", json={"slide": slide_id(client), **more})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def until(client: TestClient, condition: Callable[[list[dict]], bool]) -> list[dict]:
    """The jobs, as soon as something is true of them."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        jobs = client.get("api/jobs").json()["jobs"]
        if condition(jobs):
            return jobs
        time.sleep(0.05)
    pytest.fail(f"not in {PATIENCE_S} s: {jobs}")


def test_jobs_run_one_after_the_other_and_their_results_open(tmp_path, slide, drawn):
    with page(tmp_path, slide, drawn) as client:
        first, second = queue(client), queue(client)
        jobs = until(client, lambda jobs: jobs[0]["stage"] == "segmenting")
        assert (jobs[0]["state"], jobs[0]["part"], jobs[0]["name"]) == ("running", 0.25, "slide.png")
        assert jobs[0]["seconds_left"] > 0
        assert (jobs[1]["state"], jobs[1]["ahead"], jobs[1]["stage"]) == ("queued", 1, None)
        drawn.go()
        jobs = until(client, lambda jobs: all(job["state"] == "done" for job in jobs))
        assert [job["id"] for job in jobs] == [first, second] and len(drawn.started) == 2
        results = client.get("api/library").json()["results"]
        assert [job["result"] for job in jobs] == [result["id"] for result in results]
        about = client.get(f"api/results/{results[0]['id']}").json()
        assert about["count"] == 60 and about["name"] == "slide.png" and about["slide"] == slide_id(client)
    with page(tmp_path, slide, drawn) as client:
        assert client.get("api/jobs").json()["jobs"] == jobs, "and after a restart"
        assert client.get("api/library").json()["results"] == results


def test_queued_and_running_jobs_are_cancelled(tmp_path, slide, drawn):
    with page(tmp_path, slide, drawn) as client:
        first, second = queue(client), queue(client)
        until(client, lambda jobs: jobs[0]["stage"] == "segmenting")
        for job in (second, first):
            assert client.post(f"api/jobs/{job}/cancel").status_code == 200
        jobs = until(client, lambda jobs: jobs[0]["state"] == "cancelled")
        assert jobs[1]["state"] == "cancelled" and jobs[0]["result"] is None
        answer = client.post(f"api/jobs/{first}/cancel")
        assert answer.status_code == 409 and "is cancelled" in answer.json()["error"]
        assert client.post("api/jobs/x/cancel").status_code == 404
        drawn.go()
        queue(client)
        until(client, lambda jobs: jobs[2]["state"] == "done")


def test_a_job_that_was_running_goes_on_after_a_restart(tmp_path, slide, drawn):
    with page(tmp_path, slide, drawn) as client:
        job = queue(client)
        until(client, lambda jobs: jobs[0]["stage"] == "segmenting")
    drawn.go()
    with page(tmp_path, slide, drawn) as client:
        (done,) = until(client, lambda jobs: jobs[0]["state"] == "done")
    assert done["id"] == job
    assert [started.id for started, _ in drawn.started] == [job, job]


def test_a_failed_job_says_why_and_the_next_one_runs(tmp_path, slide, drawn):
    copying, drawn.code = drawn.code, _FAIL
    drawn.go()
    with page(tmp_path, slide, drawn) as client:
        queue(client)
        (failed,) = until(client, lambda jobs: jobs[0]["state"] == "failed")
        assert failed["message"] == "a.png: is damaged. Copy it again"
        drawn.code = "pass"
        queue(client)
        jobs = until(client, lambda jobs: jobs[1]["state"] == "failed")
        assert jobs[1]["message"] == "the command has made no result"
        drawn.code = copying
        queue(client)
        until(client, lambda jobs: jobs[2]["state"] == "done")


def test_the_choice_of_a_model_and_a_resolution(tmp_path, slide, drawn):
    drawn.go()
    with page(tmp_path, slide, drawn, workdir=tmp_path / "run") as client:
        models = client.get("api/models").json()
        assert models["run"] == "run" and models["default"] is None and "he" in models["models"]
        queue(client, model="he", mpp=0.5)
        until(client, lambda jobs: jobs[0]["state"] == "done")
        for wrong in ({"model": "magic"}, {"mpp": "fine"}, {"mpp": 0}, {"mpp": True}, {"mpp": 10**400}):
            answer = client.post("api/jobs", json={"slide": slide_id(client), **wrong})
            assert answer.status_code == 422 and answer.json()["error"], wrong
        assert client.post("api/jobs", json={"slide": "x"}).status_code == 404
        assert client.post("api/jobs", json=[]).status_code == 422
    ((job, workdir),) = drawn.started
    assert job.model == "he" and job.opening == Opening(slide, 0.5) and workdir == tmp_path / "run"


def test_the_command_is_nucseg_predict():
    job = Job("id", "a.svs", Opening(Path("/s/a.svs"), 0.5, 4095, False), None, "running", "")
    out, progress = Path("/o"), Path("/p.json")
    command = predict_command(job, out, progress, Path("/run"))
    assert command[:6] == [sys.executable, "-P", "-m", "nucseg_jax.predict", "/s/a.svs", "--out"]
    text = " ".join(command[6:])
    assert "--workdir /run --mpp 0.5 --white 4095 --no-crop" in text and "--progress /p.json" in text
    plain = predict_command(
        job._replace(opening=Opening(Path("/s/a.svs")), model="he"), out, progress, Path("/r")
    )
    assert plain[-2:] == ["--model", "he"]


def test_the_estimate_of_the_time_left():
    now = time.monotonic()
    assert Running("a", "segmenting", 0.25, now - 30).seconds_left() == pytest.approx(90, abs=5)
    assert Running("a", "segmenting", 0.0, now - 30).seconds_left() is None
    assert Running("a", "loading", 0.0, now).seconds_left() is None


def test_the_store_moves_jobs_only_from_where_they_are(tmp_path):
    store = JobStore(tmp_path / "jobs.sqlite")
    job = store.add("a", Opening(Path("/a.svs"), None, 4095, False), None)
    assert store.job(job.id) == job and store.take().state == "running" and store.take() is None
    assert not store.change(job.id, of="queued", to="cancelled")
    assert store.change(job.id, of="running", to="failed", message="why")
    store.queue_again()
    assert store.job(job.id).message == "why"
    store.close()


def test_a_database_that_is_none_is_named(tmp_path):
    (tmp_path / "jobs.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(UserError, match="jobs.sqlite: cannot be used .*Delete it"):
        JobStore(tmp_path / "jobs.sqlite")


def test_a_database_that_fails_for_a_while_stops_nothing(tmp_path, slide, drawn, monkeypatch, capfd):
    drawn.go()
    taken, take = [], JobStore.take

    def fails_first(self):
        taken.append(1)
        if len(taken) == 1:
            raise sqlite3.OperationalError("database or disk is full")
        return take(self)

    monkeypatch.setattr(JobStore, "take", fails_first)
    monkeypatch.setattr(job_runner, "_RETRY_S", 0.1)
    with page(tmp_path, slide, drawn) as client:
        queue(client)
        until(client, lambda jobs: jobs[0]["state"] == "done")
        monkeypatch.setattr(JobStore, "jobs", lambda self: fails_first(taken.clear()))
        answer = client.get("api/jobs")
        monkeypatch.undo()
    assert answer.status_code == 422 and "database or disk is full" in answer.json()["error"]
    assert "trying again" in capfd.readouterr().err


def test_an_upload_opens_under_its_name_and_stays(tmp_path, slide, drawn):
    with page(tmp_path, slide, drawn) as client:
        answer = client.post("api/uploads?name=..%2FMy%20photo.PNG", content=slide.read_bytes())
        assert answer.status_code == 201 and answer.json()["name"] == "My photo.PNG"
        assert client.get(f"api/slides/{answer.json()['id']}").json()["width"] == 400
        (file,) = (tmp_path / "state/uploads").iterdir()
        assert file.suffix == ".png" and file.stem.isalnum() and len(file.stem) == 20
        drawn.go()
        assert client.post("api/jobs", json={"slide": answer.json()["id"]}).status_code == 201
        until(client, lambda jobs: jobs[0]["state"] == "done")
    assert drawn.started[0][0].opening.path == file
    (tmp_path / "state/uploads/half.png").write_bytes(b"half")
    with page(tmp_path, slide, drawn) as client:
        assert not (tmp_path / "state/uploads/half.png").exists()
        assert "My photo.PNG" in {each["name"] for each in client.get("api/library").json()["slides"]}


@pytest.mark.parametrize(
    ("name", "content", "status", "message"),
    [
        ("a.exe", b"MZ", 422, "a.exe: is no image or slide of one file by its name (.svs"),
        ("", b"", 422, "is no image or slide"),
        ("a.mrxs", b"x", 422, "is no image or slide of one file"),
        ("a.png", b"no image", 422, "a.png: is neither an image nor a slide"),
        ("a.png", b"x" * 100_001, 413, "more than 100,000 bytes are not taken"),
    ],
)
def test_what_is_no_image_is_refused_and_deleted(tmp_path, slide, drawn, name, content, status, message):
    with page(tmp_path, slide, drawn, most_upload_bytes=100_000) as client:
        answer = client.post("api/uploads", params={"name": name}, content=content)
    assert answer.status_code == status and message in answer.json()["error"]
    assert str(tmp_path) not in answer.text
    assert not list((tmp_path / "state/uploads").iterdir())


def test_one_server_at_a_time_uses_a_folder(tmp_path):
    from tests.io.test_locks import Holder

    (tmp_path / "state").mkdir()
    with Holder(tmp_path / "state" / ".lock"), pytest.raises(UserError, match="works on it"):
        serve([], browser=False, state=tmp_path / "state")
    with pytest.raises(UserError, match="--workdir .*run: no such folder"):
        serve([], browser=False, workdir=tmp_path / "run")
    with pytest.raises(UserError, match="--max-upload-mb 0"):
        serve([], browser=False, most_upload_mb=0)
