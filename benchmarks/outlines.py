"""What a second look at single nuclei brings: closed outlines in log-polar coordinates, and other methods.

python -m benchmarks.outlines --run RUN --step 4500 --data DIR [--images 3] [--picture docs/outlines.jpg]

RUN has a class for boundaries and was trained on a prepared dataset in DIR, with images held out. The network
looks at each image once; then every method makes nuclei of the same probabilities: `watershed`, `boundary`,
`depth`, `depth, refined` (the nuclei of `depth`, of which `instances.refine` draws the borders between
touching ones anew), and `polar`. The parameters of each are those of the highest AJI on the held-out images,
of all combinations of `evaluation.search.GRIDS` and REFINING. Scored are the test images. Differences are to
`depth`, paired by image; intervals are bootstraps over images (95 %). Time is that of one core, a megapixel
of the network's level; the least of three. The picture has the clump with most true nuclei that fits in it:
truth yellow, found cyan.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from tqdm import tqdm

from benchmarks import measure
from nucseg_jax import data, devices, drawing, instances, metrics, runs
from nucseg_jax.evaluation.scored_run import ScoredRun
from nucseg_jax.evaluation.search import GRIDS, Scene, Setting, best_of_methods, search
from nucseg_jax.io.files import replacing
from nucseg_jax.metrics.statistics import PairedDifference, bootstrap_interval, paired_difference

Method = Callable[[Scene], NDArray[np.int32]]
"""An image → its nuclei at the network's level."""

SCORES = ("aji", "pq", "dice")
BASELINE = "depth"
REFINED = "depth, refined"
REFINING: dict[str, tuple[float, ...]] = {"smoothing_um": (0.25, 0.5), "rise": (0.05, 0.1, 0.2, 0.4)}
CLUMP_PX = 96
_ENLARGED = 4


def _with_interval(value: Mapping[str, float], form: str) -> str:
    return " ".join(
        (form.format(value["mean"]), f"({form.format(value['low'])} to {form.format(value['high'])})")
    )


def _difference(value: Mapping[str, float] | None) -> str:
    return "–" if value is None else _with_interval(value, "{:+.4f}") + f", p {value['p_value']:.3f}"


def _score_cell(key: str) -> Callable[[dict[str, Any]], str]:
    return lambda row: _with_interval(row[key], "{:.3f}")


def _minus_cell(key: str) -> Callable[[dict[str, Any]], str]:
    return lambda row: _difference(row["minus"][key])


COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "method": lambda r: r["method"],
    **{key.upper(): _score_cell(key) for key in SCORES},
    **{f"{key.upper()} − {BASELINE}'s": _minus_cell(key) for key in SCORES},
    "s a megapixel": lambda r: measure.shown(r["seconds_a_megapixel"], "{:.2f}"),
}


def by_setting(setting: Setting) -> Method:
    """The method of a setting."""
    return lambda scene: instances.split(scene.nucleus_map, setting.config, scene.frame.network_mpp)


def refined(setting: Setting, smoothing_um: float, rise: float) -> Method:
    """Nuclei of a setting, refined; with its threshold, and the reach that `polar` has by default."""
    make = by_setting(setting)
    reach_um = setting.config.polar.reach_um

    def refine(scene: Scene) -> NDArray[np.int32]:
        mpp = scene.frame.network_mpp
        return instances.refine(
            scene.nucleus_map,
            make(scene),
            threshold=setting.parameters["threshold"],
            smoothing_px=smoothing_um / mpp,
            rise=rise,
            reach_px=reach_um / mpp,
        )

    return refine


def scores(scene: Scene, nuclei: NDArray[np.int32]) -> dict[str, float]:
    """Of an image's nuclei at the network's level."""
    found = metrics.score(scene.truth, scene.frame.label_map(nuclei), scene.unannotated)
    return {key: float(found[key]) for key in SCORES}


def chosen(held_out: Sequence[Scene]) -> tuple[dict[str, Method], dict[str, dict[str, float]]]:
    """Every method with its best parameters on the held-out images, and these parameters."""
    grids = {method: grid for method, grid in GRIDS.items() if method != "components"}
    best = best_of_methods(search(held_out, grids))
    methods = {name: by_setting(best[name]) for name in grids if name in best}
    parameters = {name: dict(best[name].parameters) for name in methods}
    tried = []
    for values in itertools.product(*REFINING.values()):
        how = dict(zip(REFINING, values, strict=True))
        method = refined(best[BASELINE], **how)
        tried.append((np.mean([scores(scene, method(scene))["aji"] for scene in held_out]), how, method))
    _, how, method = max(tried, key=lambda one: one[0])
    return methods | {REFINED: method}, parameters | {REFINED: how}


def compared(scenes: Sequence[Scene], methods: Mapping[str, Method]) -> list[dict[str, Any]]:
    """A row a method: scores of each image, their means, differences to BASELINE, seconds a megapixel."""
    found: dict[str, list[dict[str, float]]] = {}
    rates = {}
    for name, method in methods.items():
        found[name], seconds = [], []
        for scene in tqdm(scenes, desc=name, unit="image", leave=False):
            times = []
            for _ in range(3):
                start = time.process_time()
                nuclei = method(scene)
                times.append(time.process_time() - start)
            seconds.append(min(times) / scene.nucleus_map.nucleus.size * 1e6)
            found[name].append(scores(scene, nuclei))
        rates[name] = float(np.mean(seconds))
    rows = []
    for name, images in found.items():
        row: dict[str, Any] = {"method": name, "images": images, "seconds_a_megapixel": rates[name]}
        row["minus"] = {key: _minus(images, found[BASELINE], key, name) for key in SCORES}
        for key in SCORES:
            values = [image[key] for image in images]
            low, high = bootstrap_interval(values)
            row[key] = {"mean": float(np.mean(values)), "low": low, "high": high}
        rows.append(row)
    return rows


def _minus(
    images: Sequence[Mapping[str, float]], baseline: Sequence[Mapping[str, float]], key: str, name: str
) -> dict[str, float] | None:
    if name == BASELINE:
        return None
    difference: PairedDifference = paired_difference([i[key] for i in images], [b[key] for b in baseline])
    return difference._asdict()


def clump(truth: NDArray[np.int32], side: int = CLUMP_PX) -> tuple[slice, slice]:
    """A square around the component of true nuclei that holds most of them, and fits in it."""
    labels, _ = ndimage.label(truth > 0, np.ones((3, 3)))
    best, place = -1, (slice(0, side), slice(0, side))
    for i, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        if max(rows.stop - rows.start, columns.stop - columns.start) > side - 8:
            continue
        number = len(np.unique(truth[rows, columns][labels[rows, columns] == i]))
        if number > best:
            corners = [
                int(np.clip((s.start + s.stop - side) // 2, 0, max(0, size - side)))
                for s, size in zip((rows, columns), truth.shape, strict=True)
            ]
            best, place = number, (slice(corners[0], corners[0] + side), slice(corners[1], corners[1] + side))
    return place


def picture(image: NDArray[np.uint8], scene: Scene, methods: Mapping[str, Method]) -> NDArray[np.uint8]:
    """The clump as each method cuts it, one beside the other, with a caption."""
    place = clump(scene.truth)
    panels = []
    for name, method in methods.items():
        found = scene.frame.label_map(method(scene))[place]
        large = [
            np.repeat(np.repeat(part[place], _ENLARGED, axis=0), _ENLARGED, axis=1)
            for part in (image, scene.truth)
        ]
        found = np.repeat(np.repeat(found, _ENLARGED, axis=0), _ENLARGED, axis=1)
        panels.append(_captioned(drawing.overlay(large[0], large[1], found), name))
    return np.concatenate(panels, axis=1)


def _captioned(image: NDArray[np.uint8], caption: str) -> NDArray[np.uint8]:
    strip = Image.new("RGB", (image.shape[1], 28), (255, 255, 255))
    font = ImageFont.load_default(size=18)
    ImageDraw.Draw(strip).text((6, 14), caption, fill=(0, 0, 0), font=font, anchor="lm")
    return np.concatenate([np.asarray(strip), image])


def main(argv: Sequence[str] | None = None) -> None:
    parser = measure.parser("outlines", __doc__, width=None)
    parser.add_argument("--run", type=Path, required=True, help="a trained run's folder")
    parser.add_argument("--data", required=True, help="folder of its prepared dataset")
    parser.add_argument("--step", type=int, help="which checkpoint (default: the best, or the last)")
    parser.add_argument("--images", type=int, help="held-out and test images, of each so many (default: all)")
    parser.add_argument("--picture", type=Path, help="a JPEG of a clump")
    _main(parser.parse_args(argv))


def _main(args: argparse.Namespace) -> None:
    mesh = devices.make_mesh()
    step: dict[str, Any] = {} if args.step is None else {"eval.step": args.step}
    run = runs.open_run(args.run, mesh, {"data.dir": args.data, **step})
    dataset = data.load(run.config.data)
    _, held_out = dataset.training(run.config.data.validation)
    groups = [held_out[: args.images], [e for s in dataset.scored().values() for e in s][: args.images]]
    scenes = []
    for examples in groups:
        # It refuses images that the run was trained on.
        looked = ScoredRun(run, mesh, dataset, examples, keep_boundary=True)
        scenes.append(
            [
                Scene(looked.nucleus_map(e), looked.frame(e), e.original_label_map, e.original_unannotated)
                for e in tqdm(examples, desc="predict", unit="image")
            ]
        )
    methods, parameters = chosen(scenes[0])
    settings = {
        "run": f"{run.config.model.name}, step {run.model.step}",
        "dataset": dataset.name,
        "held_out": [e.id for e in groups[0]],
        "test": [e.id for e in groups[1]],
        "parameters": parameters,
    }
    report = measure.Report("outlines", measure.environment(), settings, COLUMNS, args.out)
    for row in compared(scenes[1], methods):
        report.add(row)
    if args.picture:
        drawn = picture(groups[1][0].scored_image(), scenes[1][0], methods)
        with replacing(args.picture) as temporary:
            Image.fromarray(drawn).save(temporary, format="JPEG", quality=90)


if __name__ == "__main__":
    main()
