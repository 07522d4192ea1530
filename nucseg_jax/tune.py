"""Choose how nuclei are made of a trained network's probabilities, on its validation images.

python -m nucseg_jax.tune --config configs/unet_small.py [--workdir DIR] [--config.KEY=VALUE …]
"""

import itertools
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from ml_collections import ConfigDict, config_flags
from numpy.typing import NDArray
from tqdm import tqdm

from nucseg_jax import checkpoint, compilation_cache, data, instances, metrics, sharding
from nucseg_jax.errors import UserError
from nucseg_jax.files import write_text
from nucseg_jax.inference import TiledInference
from nucseg_jax.main import parse
from nucseg_jax.maps import NucleusMap
from nucseg_jax.run_checks import check_same_input
from nucseg_jax.runs import TUNING
from nucseg_jax.targets import class_map

Grid = Mapping[str, tuple[float, ...]]
"""Values to try of each parameter of a method."""

_THRESHOLDS = (0.4, 0.5, 0.6)
_AREAS_PX = (0, 30, 70)  # 70: the paper's minimum of a counted nucleus

GRIDS: dict[str, Grid] = {
    "components": {"threshold": _THRESHOLDS, "min_area_px": _AREAS_PX},
    "watershed": {
        "threshold": _THRESHOLDS,
        "h_px": (0.5, 0.75, 1.0, 1.5),
        "smoothing_px": (1.0, 2.0),
        "min_area_px": _AREAS_PX,
    },
    "boundary": {
        "threshold": _THRESHOLDS,
        "inside_threshold": (0.5, 0.6, 0.7, 0.8),
        "min_marker_px": (10, 20),
        "min_area_px": _AREAS_PX,
    },
}
"""What is tried: every combination. A network without a class for boundaries has no `boundary`."""


@dataclass(frozen=True)
class Setting:
    """A method with its parameters, and what comes of it.

    Attributes:
      method, parameters: as in `config.instances`.
      aji, pq: means over images.
      seconds: that it takes to split an image.
    """

    method: str
    parameters: dict[str, float]
    aji: float
    pq: float
    seconds: float

    @property
    def overrides(self) -> list[str]:
        """The flags that give a command this setting."""
        values = [f"--config.instances.{self.method}.{key}={v}" for key, v in self.parameters.items()]
        return [f"--config.instances.method={self.method}", *values]


def search(
    maps: Sequence[NucleusMap], truths: Sequence[NDArray[np.int32]], grids: Mapping[str, Grid] = GRIDS
) -> list[Setting]:
    """Try every combination of each method's grid.

    Args:
      maps: what a network says of each image [H, W].
      truths: their nuclei, label maps int32 [H, W].
      grids: by method; a grid has all parameters of its method, `min_area_px` among them.

    Returns:
      The settings in the order of the grids; without `boundary` where the maps have none.
    """
    settings = []
    for method, grid in grids.items():
        if method == "boundary" and maps[0].boundary is None:
            continue
        others = {key: values for key, values in grid.items() if key != "min_area_px"}
        combinations = list(itertools.product(*others.values()))
        for values in tqdm(combinations, desc=method, unit="setting", leave=False):
            parameters = dict(zip(others, values, strict=True))
            settings += _try(maps, truths, method, parameters, grid["min_area_px"])
    return settings


def _try(
    maps: Sequence[NucleusMap],
    truths: Sequence[NDArray[np.int32]],
    method: str,
    parameters: dict[str, float],
    areas_px: Sequence[float],
) -> list[Setting]:
    """A setting for each minimum area; every method drops small nuclei last, so that one split serves all."""
    config = ConfigDict({"method": method, method: parameters | {"min_area_px": 0}})
    started = time.perf_counter()
    split = [instances.split(m, config) for m in maps]
    seconds = (time.perf_counter() - started) / len(maps)
    settings = []
    for area in areas_px:
        pairs = zip(truths, split, strict=True)
        tables = [metrics.overlaps(truth, metrics.remove_small(nuclei, int(area))) for truth, nuclei in pairs]
        aji = float(np.mean([metrics.aji(t) for t in tables]))
        pq = float(np.mean([metrics.panoptic_quality(t)[0] for t in tables]))
        settings.append(Setting(method, parameters | {"min_area_px": area}, aji, pq, seconds))
    return settings


def best_of_methods(settings: Sequence[Setting]) -> dict[str, Setting]:
    """The setting of highest AJI of each method, the first of equals; the best method first."""
    best: dict[str, Setting] = {}
    for setting in sorted(settings, key=lambda s: -s.aji):
        best.setdefault(setting.method, setting)
    return best


def ceiling(truths: Sequence[NDArray[np.int32]], setting: Setting) -> float:
    """Mean AJI that a setting gives on perfect probabilities: of the true nuclei and of their boundaries."""
    classes = [class_map(jnp.asarray(truth)[None], 3)[0] for truth in truths]
    perfect = [NucleusMap.of_classes(np.asarray(jax.nn.one_hot(c, 3))) for c in classes]
    grid = {key: (value,) for key, value in setting.parameters.items()}
    return search(perfect, truths, {setting.method: grid})[0].aji


def tune(config: ConfigDict, workdir: Path) -> dict[str, Any]:
    """Search on the validation images of a run; print the best of each method, and write all of it.

    Args:
      config: the run's config; `eval.step` chooses another checkpoint than the best (or last).
      workdir: the run's folder, where tuning.json is written.

    Returns:
      What tuning.json holds: `best` of each method with its `ceiling`, the `overrides` that make a command
      use the best of them, and all that was `tried`.

    Raises:
      CheckpointError: no such checkpoint.
      DataError: no prepared dataset, or without one of the validation images.
      UserError: no validation images, or the network was trained on them, or on another input.
    """
    if not config.data.validation:
        raise UserError(
            "tuning needs validation images, and data.validation names none: train with some of the training "
            "images held out (--config.data.validation=\"('ID', 'ID')\"), then tune that run"
        )
    about, truths, maps = _predict(config, workdir)
    tried = search(maps, truths)
    best = best_of_methods(tried)
    ceilings = {method: ceiling(truths, setting) for method, setting in best.items()}
    overrides = next(iter(best.values())).overrides
    result = about | {
        "overrides": overrides,
        "best": {method: asdict(s) | {"ceiling": ceilings[method]} for method, s in best.items()},
        "tried": [asdict(s) for s in tried],
    }
    write_text(workdir / TUNING, json.dumps(result, indent=2) + "\n")
    print(f"{about['model']} on {len(maps)} validation images of {about['dataset']}")
    print(_table(best, ceilings))
    print(f"wrote {workdir / TUNING} ({len(tried)} settings). To use the best of them:")
    print(" ".join(overrides))
    return result


def _predict(
    config: ConfigDict, workdir: Path
) -> tuple[dict[str, Any], list[NDArray[np.int32]], list[NucleusMap]]:
    """What is tuned on what, for the record; the validation images' nuclei; what the network says of them."""
    mesh = sharding.make_mesh()
    model = checkpoint.load_model(workdir, mesh, config.eval.step)
    check_same_input(model.info["config"], json.loads(config.to_json_best_effort()), workdir)
    dataset = data.load(config.data)
    dataset.check_sizes(config.data.crop_size)
    _, examples = dataset.training(config.data.validation)
    _check_held_out(config.data.validation, model.info, workdir)
    inference = TiledInference.by_config(model.network, mesh, config)
    truths = [e.original_label_map for e in examples]
    maps = [
        inference.nucleus_map(model.params, model.batch_stats, e.image, truth.shape)
        for e, truth in zip(tqdm(examples, desc="predict", unit="image"), truths, strict=True)
    ]
    about = {
        "model": f"{model.info['config']['model']['name']}, step {model.step}",
        "dataset": dataset.name,
        "validation": [e.id for e in examples],
    }
    return about, truths, maps


def _check_held_out(ids: Sequence[str], info: Mapping[str, Any], workdir: Path) -> None:
    """Raise UserError where the network was trained on images to tune on."""
    if "converted_from" in info:  # trained elsewhere, on what only the user knows
        return
    held_out = info["config"]["data"]["validation"]
    if trained_on := [i for i in ids if i not in held_out]:
        raise UserError(
            f"{workdir} was trained on {', '.join(trained_on)}: tune on the images that it held out, "
            f"data.validation = {tuple(held_out)}"
        )


def _table(best: Mapping[str, Setting], ceilings: Mapping[str, float]) -> str:
    """A row a method; the ceiling is the AJI of the same parameters on perfect probabilities."""
    lines = [f"{'':<12}{'AJI':>7}{'PQ':>7}{'ceiling':>9}{'s/image':>9}  parameters"]
    for method, s in best.items():
        parameters = ", ".join(f"{key} {value}" for key, value in s.parameters.items())
        scores = f"{s.aji:>7.3f}{s.pq:>7.3f}{ceilings[method]:>9.3f}{s.seconds:>9.2f}"
        lines.append(f"{method:<12}{scores}  {parameters}")
    return "\n".join(lines)


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}")
    compilation_cache.enable()
    name = Path(config_flags.get_config_filename(flags.FLAGS["config"])).stem
    try:
        tune(flags.FLAGS.config, Path(flags.FLAGS.workdir or f"runs/{name}"))
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    # Of the flags of nucseg_jax.main, those that mean something here.
    flags.FLAGS.remove_flag_values(["mode", "distributed"])
    for flag in ("config", "workdir"):
        flags.declare_key_flag(flag)
    flags.mark_flag_as_required("config")
    app.run(main, flags_parser=parse)
