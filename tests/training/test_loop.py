"""A training that is asked to stop: when it ends, what it has saved, and that it goes on to the same bits."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from nucseg_jax.runs.restoring import parameter_digest
from nucseg_jax.training import feeds, train, validation
from nucseg_jax.training.loop import TrainingStopped


class Asked:
    """An interruption that the test decides about."""

    def __init__(self) -> None:
        self.asked = self.is_postponed = False

    @contextlib.contextmanager
    def postponed(self) -> Iterator[None]:
        self.is_postponed = True
        yield
        self.is_postponed = False


def saved_scores(workdir: Path) -> dict[int, bool]:
    """By step whether its checkpoint has the scores of the held-out images."""
    folders = (path for path in (workdir / "checkpoints").iterdir() if path.name.isdigit())
    return {int(folder.name): (folder / "metrics").exists() for folder in folders}


@pytest.mark.slow
def test_stops_after_a_step_and_after_a_validation(
    tiny_config: ConfigDict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    c = tiny_config
    c.num_steps, c.checkpoint.every, c.checkpoint.keep, c.log_every = 8, 2, 9, 100
    c.data.validation = ("SYN-BREAST-000",)
    whole = parameter_digest(train.train(c, tmp_path / "whole").params)

    asked = Asked()
    dispatches, validator = feeds.dispatches, validation.validator
    stop_before, stop_in_validation = 2, False

    def asks_in_a_step(steps: range, **options: object) -> Iterator[range]:
        for piece in dispatches(steps, **options):
            asked.asked = asked.asked or piece.start == stop_before
            yield piece

    def asks_in_validation(*arguments: object) -> object:
        scores = validator(*arguments)

        def score(weights: object) -> object:
            assert asked.is_postponed, "a signal must not end it"
            asked.asked = asked.asked or stop_in_validation
            return scores(weights)

        return score

    monkeypatch.setattr(feeds, "dispatches", asks_in_a_step)
    monkeypatch.setattr(train.validation, "validator", asks_in_validation)
    run = tmp_path / "run"
    with pytest.raises(TrainingStopped, match="after step 3") as stop:
        train.train(c, run, asked)
    assert stop.value.step == 3 and saved_scores(run) == {2: True, 3: False}

    asked, stop_before = Asked(), 3
    with pytest.raises(TrainingStopped, match="after step 4"):
        train.train(c, run, asked)
    scored = {2: True, 3: False, 4: True}
    assert saved_scores(run) == scored, "a checkpoint that is due has its scores"

    asked, stop_before, stop_in_validation = Asked(), -1, True
    with pytest.raises(TrainingStopped, match="after step 6"):
        train.train(c, run, asked)
    assert saved_scores(run) == (scored := scored | {6: True})

    asked, stop_before, stop_in_validation = Asked(), 7, False
    result = train.train(c, run, asked)
    assert asked.asked, "asked in the last step, it ends as it would have"
    assert parameter_digest(result.params) == whole
    assert saved_scores(run) == scored | {8: True}


def test_held_out_images_without_any_nucleus_are_refused(
    tiny_config: ConfigDict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They cannot choose a checkpoint."""
    tiny_config.data.validation = validation_ids = ("SYN-BREAST-000",)
    original = train.data.load

    def bare(config: ConfigDict) -> object:
        dataset = original(config)
        held_out = {
            e.id: np.zeros_like(e.label_map) for e in dataset.splits["train"] if e.id in validation_ids
        }
        train_split = [
            replace(e, label_map=held_out[e.id], original_label_map=held_out[e.id]) if e.id in held_out else e
            for e in dataset.splits["train"]
        ]
        return replace(dataset, splits={**dataset.splits, "train": train_split})

    monkeypatch.setattr(train.data, "load", bare)
    with pytest.raises(ValueError, match="none of its 1 (training|held-out) images has a nucleus"):
        train.train(tiny_config, tmp_path)
