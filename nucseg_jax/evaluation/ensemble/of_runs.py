"""An ensemble of runs: their maps brought together, and its nuclei tuned on images that all held out."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict
from numpy.typing import NDArray

from nucseg_jax import instances
from nucseg_jax.data.annotation import same_annotation
from nucseg_jax.data.dataset import TRAIN, Dataset, Example
from nucseg_jax.devices import say
from nucseg_jax.evaluation import ensemble
from nucseg_jax.evaluation.ensemble import Expression, Model
from nucseg_jax.evaluation.scored_run import ScoredRun
from nucseg_jax.evaluation.search import GRIDS, Grid, Scene, best_of_methods, search
from nucseg_jax.instances import NucleusMap
from nucseg_jax.nuclei import Frame
from nucseg_jax.runs import Run


class Member(NamedTuple):
    """A run of an ensemble.

    Attributes:
      run: with its choices made.
      dataset: that it was trained on.
      scored: the run on the images to segment.
    """

    run: Run
    dataset: Dataset
    scored: ScoredRun


class Ensemble:
    """An expression of runs as a segmenter of a dataset's images.

    Each run has a mask by its own threshold. How nuclei are made of what comes of the masks is tuned on the
    images that all runs held out. Where there are none, and within a vote, it is as the best run makes them.

    Args:
      expression: of the runs' names.
      members: by name.
      mesh: where their weights are.
      given: dotted keys of a config → values that a command line names: `instances.…` are not tuned.

    Raises:
      EnsembleError: `weighted` without a validation score of one of its runs.
    """

    def __init__(
        self,
        expression: Expression,
        members: Mapping[str, Member],
        mesh: Mesh,
        given: Mapping[str, Any],
    ):
        self.expression, self._given = expression, given
        self._members = {name: members[name] for name in expression.models}
        self._mesh = mesh
        found = {name: member.run.validation_dice() for name, member in self._members.items()}
        self._scores = {name: score for name, score in found.items() if score is not None}
        ensemble.check_scores(expression, self._scores)
        # The maps of all are brought to the finest network's level.
        self._finest = min(self._members.values(), key=lambda member: member.scored.network_mpp)
        self._instances, self._instances_from = self._tuned()

    def nuclei(self, example: Example, maps: Mapping[str, NucleusMap]) -> NDArray[np.int32]:
        """The nuclei of an image: int32 [H, W] of the original; `maps`: what each run's network says."""
        frame = self._finest.scored.frame(example)
        return frame.label_map(self._combine(frame, maps, self._instances))

    def facts(self) -> dict[str, Any]:
        """What a report says of it."""
        chosen = self._instances
        return {
            "expression": str(self.expression),
            "instances": {
                "method": chosen.method,
                **chosen[chosen.method].to_dict(),
                "from": self._instances_from,
            },
            "thresholds": {name: self._threshold(name) for name in self._members},
            "validation_dice": self._scores,
        }

    def _combine(self, frame: Frame, maps: Mapping[str, NucleusMap], chosen: ConfigDict) -> NDArray[np.int32]:
        """The nuclei at the finest network's level."""

        def split(expression: Expression, nucleus_map: NucleusMap) -> NDArray[np.int32]:
            if isinstance(expression, Model):
                name = expression.name
                own, of_run = maps[name].resized(frame.network_size), self._members[name].run.config.instances
                return instances.split(own, of_run, frame.network_mpp)
            return instances.split(nucleus_map, chosen, frame.network_mpp)

        return ensemble.combine(self.expression, self._moved(frame, maps), split, self._scores)

    def _moved(self, frame: Frame, maps: Mapping[str, NucleusMap]) -> dict[str, NucleusMap]:
        """The maps at the finest network's level, each with its run's threshold at 0.5."""
        return {
            name: ensemble.calibrated(maps[name].resized(frame.network_size), self._threshold(name))
            for name in self._members
        }

    def _threshold(self, name: str) -> float:
        chosen = self._members[name].run.config.instances
        return chosen[chosen.method].threshold

    def _tuned(self) -> tuple[ConfigDict, str]:
        """How nuclei are made, and how that was found."""
        held_out = self._held_out
        if not held_out or not self._has_pixels:
            best = max(self._members, key=lambda name: self._scores.get(name, 0.0))
            chosen = self._members[best].run.config.instances.copy_and_resolve_references()
            chosen[chosen.method].threshold = 0.5  # each run's own threshold was moved there
            return chosen, f"the settings of {best}"
        say(f"{self.expression}: tuned on {len(held_out)} held-out images")
        scored = {
            name: ScoredRun(m.run, self._mesh, m.dataset, self._images(m.dataset), keep_boundary=True)
            for name, m in self._members.items()
        }
        scenes = []
        for i, example in enumerate(self._images(self._finest.dataset)):
            maps = {
                name: scored[name].nucleus_map(self._images(member.dataset)[i])
                for name, member in self._members.items()
            }
            frame = self._finest.scored.frame(example)
            said = ensemble.combined_map(self.expression, self._moved(frame, maps), self._scores)
            scenes.append(Scene(said, frame, example.original_label_map, example.original_unannotated))
        setting = next(iter(best_of_methods(search(scenes, self._grids())).values()))
        return setting.config, f"{len(held_out)} held-out images"

    def _grids(self) -> dict[str, Grid]:
        """What is tried: what the command line leaves open."""
        method = self._given.get("instances.method")
        grids = {key: dict(grid) for key, grid in GRIDS.items() if method in (None, key)}
        for key, value in self._given.items():
            _, *path = key.split(".")
            # A threshold that is given is the members' own, and was moved to 0.5.
            if len(path) == 2 and path[0] in grids:
                grids[path[0]][path[1]] = (0.5 if path[1] == "threshold" else value,)
        return dict(grids)

    @property
    def _has_pixels(self) -> bool:
        """It makes nuclei of a map of its own, and does not vote on those of others."""
        return getattr(self.expression, "operator", None) != "vote" and not isinstance(self.expression, Model)

    @cached_property
    def _held_out(self) -> tuple[str, ...]:
        """Ids of the images that all members held out."""
        ids = set.intersection(*(set(m.run.config.data.validation) for m in self._members.values()))
        examples = [{e.id: e for e in member.dataset.splits[TRAIN]} for member in self._members.values()]
        return tuple(
            i
            for i in sorted(ids)
            if all(i in known and same_annotation(known[i], examples[0][i]) for known in examples)
        )

    def _images(self, dataset: Dataset) -> list[Example]:
        """Those that all held out, in the same order for all datasets."""
        by_id = {e.id: e for e in dataset.splits[TRAIN]}
        return [by_id[i] for i in self._held_out]
