"""What a training run tells: progress bar, JSON lines, TensorBoard. Only the first process speaks."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tqdm import tqdm

from nucseg_jax import devices
from nucseg_jax.io.disk import named_when_full
from nucseg_jax.io.files import write_text
from nucseg_jax.io.leftovers import remove_leftovers
from nucseg_jax.training.board import Board


class RunLog:
    """Writes `WORKDIR/metrics.jsonl` and `WORKDIR/tensorboard/` and draws the bar.

    Args:
      workdir: the run's folder.
      first: step the run starts or resumes at; lines past it, of steps that are done again, are dropped.
      last: step it ends at.
      batch_size: images a step, for images/s.
    """

    def __init__(self, workdir: Path, first: int, last: int, batch_size: int):
        self._enabled = devices.is_first_process()
        if not self._enabled:
            return
        workdir.mkdir(parents=True, exist_ok=True)
        path = workdir / "metrics.jsonl"
        remove_leftovers(path)
        _keep_until(path, first)
        self._path, self._file = path, path.open("a")
        self._bar = tqdm(initial=first, total=last, unit="step", desc="train", dynamic_ncols=True)
        self._board = Board(workdir / "tensorboard", first, self._bar.write)
        self._batch_size = batch_size
        self._time, self._step = time.perf_counter(), first

    def training(self, losses: list[tuple[int, float]], *, learning_rate: float) -> None:
        """Losses of the steps since the last call, and the learning rate of the last one."""
        if not self._enabled or not losses:
            return
        step = losses[-1][0]
        now = time.perf_counter()
        rate = (step - self._step) * self._batch_size / (now - self._time)
        self._time, self._step = now, step
        loss = sum(value for _, value in losses) / len(losses)
        self._write(step, loss=loss, learning_rate=learning_rate, images_per_second=rate)
        self._bar.set_postfix_str(f"loss {loss:.4f}, rate {learning_rate:.2e}, {rate:.2f} images/s")
        self._bar.update(step - self._bar.n)

    def validation(self, step: int, scores: Mapping[str, float]) -> None:
        """Mean scores of the held-out images, `aji` and `dice` among them."""
        if self._enabled:
            self._write(step, **{f"validation_{name}": value for name, value in scores.items()})
            self._bar.write(f"step {step}: validation AJI {scores['aji']:.4f}, Dice {scores['dice']:.4f}")
            self._time = time.perf_counter()

    def correction(self, step: int, values: Mapping[str, float]) -> None:
        """What a cycle of self-correction changed; nothing where none ended."""
        if not self._enabled:
            return
        if values:
            self._write(step, **values)
            shown = ", ".join(f"{key.replace('_', ' ')} {value:.4f}" for key, value in values.items())
            self._bar.write(f"step {step}: {shown}")
        self._time = time.perf_counter()

    def _write(self, step: int, **values: float) -> None:
        with named_when_full(self._path):
            self._file.write(json.dumps({"step": step, **values}) + "\n")
            self._file.flush()
        self._board.add(step, values)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._enabled:
            self._board.close()
            self._bar.close()
            self._file.close()


def _keep_until(path: Path, step: int) -> None:
    """Drop the lines of later steps, and a last line that a kill cut short."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    write_text(path, "".join(kept))
