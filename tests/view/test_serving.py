"""The server as a user starts it."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nucseg_jax.cli import main
from nucseg_jax.errors import UserError
from nucseg_jax.view.serving import listening
from tests.view.drawn_results import write_slide
from tests.view.started_server import StartedServer


@pytest.fixture
def started(tmp_path: Path) -> Iterator[StartedServer]:
    write_slide(tmp_path / "slide.png")
    (tmp_path / "slide.geojson").write_text(
        '{"type": "Feature", "properties": {"objectType": "detection"}, "geometry": {"type": "Polygon", '
        '"coordinates": [[[10, 10], [30, 10], [30, 30], [10, 30], [10, 10]]]}}'
    )
    truth = tmp_path / "slide.geojson"
    with StartedServer([tmp_path / "slide.png"], tmp_path / "state", "--truth", str(truth)) as server:
        yield server


def test_the_page_is_where_the_command_says_until_it_is_ended(started, tmp_path):
    assert started.status(f"/{started.token}/") == 200
    assert started.status(f"/{started.token}/api/library") == 200
    assert started.status("/") == started.status(f"/{started.token[:-1]}/") == 403
    (truth,) = started.asked("api/library")["results"]
    assert truth["truth"] and started.asked(f"api/results/{truth['id']}")["count"] == 1
    assert (tmp_path / "state" / ".lock").exists()
    started.process.send_signal(signal.SIGTERM)
    out, errors = started.process.communicate(timeout=60)
    assert started.process.returncode == 143 and errors.endswith("\nstopped\n")
    assert started.token not in out + errors and "Traceback" not in errors
    assert not (tmp_path / "state" / ".lock").exists()


def test_it_listens_on_this_machine_alone():
    with listening(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
        port = listener.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port}: cannot be used"):
            listening(port)
    with pytest.raises(UserError, match="--port 70000"):
        listening(70000)


def test_without_the_extra_the_command_names_it(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "nucseg_jax.view.serving")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["view"]) == 2
    assert "this needs the extra `view`" in capsys.readouterr().err


def test_a_path_with_nothing_to_show_is_one_line(tmp_path, capsys):
    assert main(["view", str(tmp_path / "no.svs"), "--state", str(tmp_path / "state")]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'no.svs'}: no such file or folder")
    assert not (tmp_path / "state").exists()


def test_a_truth_of_no_slide_is_one_line(tmp_path, capsys):
    write_slide(tmp_path / "slide.png")
    (tmp_path / "other.geojson").write_text("{}")
    named = [str(tmp_path / "slide.png"), "--truth", str(tmp_path / "other.geojson")]
    assert main(["view", *named, "--state", str(tmp_path / "state")]) == 2
    wanted = (
        f"error: --truth {tmp_path / 'other.geojson'}: is of no slide that is named. Name it as the slide"
    )
    assert capsys.readouterr().err.startswith(wanted)
