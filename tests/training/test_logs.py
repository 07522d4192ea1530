"""The log of a run that goes on, and of one whose disk refuses it."""

import errno
import json
import struct
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import RecordWriter

from nucseg_jax.training import board
from nucseg_jax.training.logs import RunLog


def test_a_damaged_log_does_not_stop_a_run(tmp_path: Path) -> None:
    """Lines of later steps go, and so do those that are no records."""
    path = tmp_path / "metrics.jsonl"
    kept = b'{"step": 1, "loss": 0.5}\n'
    path.write_bytes(kept + b'{"loss": 1}\n5\n\xff\n' + b"[" * 99999 + b'\n{"step": 9}\n{"st')
    with RunLog(tmp_path, 1, 3, batch_size=2):
        pass
    assert path.read_bytes() == kept


def events(folder: Path) -> list[tuple[int, str, float]]:
    """(step, name, value) of every scalar in a folder of TensorBoard's events, as its records hold them."""
    found = []
    for path in sorted(folder.iterdir()):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            event = Event.FromString(content[at + 12 : at + 12 + length])
            found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
            at += 16 + length
    return found


def test_tensorboard_has_the_values_of_the_steps(tmp_path: Path) -> None:
    with RunLog(tmp_path, 0, 2, batch_size=2) as log:
        log.training([(1, 0.5), (2, 0.25)], learning_rate=0.125)
        log.validation(2, {"aji": 0.5, "dice": 0.75})
    found = events(tmp_path / "tensorboard")
    assert [(step, name) for step, name, _ in found[:3]] == [
        (2, "loss"),
        (2, "learning_rate"),
        (2, "images_per_second"),
    ]
    assert found[0][2] == 0.375 and found[1][2] == 0.125
    assert found[3:] == [(2, "validation_aji", 0.5), (2, "validation_dice", 0.75)]


@pytest.mark.parametrize("fails", ["write", "flush", "close", "__init__"])
def test_a_disk_that_refuses_the_events_does_not_stop_a_run(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whenever it does, it is said once; metrics.jsonl has every step."""
    working, written = getattr(RecordWriter, fails), []

    def refuse(writer: RecordWriter, *arguments: object) -> None:
        written.append(arguments)
        if fails == "close" or (fails == "write" and len(written) < 5):
            working(writer, *arguments)
        if fails != "write" or len(written) == 5:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(RecordWriter, fails, refuse)
    monkeypatch.setattr(board, "FLUSH_S", -1.0)
    with RunLog(tmp_path, 0, 40, batch_size=2) as log:
        for step in range(1, 41):
            log.training([(step, 1 / step)], learning_rate=0.1)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(step, 1 / step) for step in range(1, 41)]
    said = [line for line in capsys.readouterr().out.splitlines() if "TensorBoard" in line]
    assert said == [
        f"note: {tmp_path / 'tensorboard'}: cannot be written (Input/output error). Training goes on without "
        "TensorBoard; metrics.jsonl has every record"
    ]
