"""The log of a run that goes on."""

from pathlib import Path

from nucseg_jax.training.logs import RunLog


def test_a_damaged_log_does_not_stop_a_run(tmp_path: Path) -> None:
    """Lines of later steps go, and so do those that are no records."""
    path = tmp_path / "metrics.jsonl"
    kept = b'{"step": 1, "loss": 0.5}\n'
    path.write_bytes(kept + b'{"loss": 1}\n5\n\xff\n' + b"[" * 99999 + b'\n{"step": 9}\n{"st')
    with RunLog(tmp_path, 1, 3, batch_size=2):
        pass
    assert path.read_bytes() == kept
