"""What a model card says of a recipe: scores by organ with intervals, the worst crops, the training's curves.

python -m benchmarks.model_card --run RUN --step 4500 --data DIR --out docs/model_card_he

RUN was trained with the recipe on a prepared dataset in DIR, and is scored on the dataset's test images,
which it was not trained on. Writes OUT_scores.md (tables), OUT.json (a row an image), OUT.jpg (the worst
crops: tissue, truth, errors) and OUT.svg (the curves). An interval of an organ is a bootstrap over crops of
250 pixels, since an organ has an image or two; crops cut nuclei at their borders, so that their mean can be a
little lower than the score of the image. That of all images is one over images. A crop counts where it has at
least 10 true nuclei.
"""

import argparse
import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from nucseg_jax import data, devices, drawing, metrics, runs, tiling
from nucseg_jax.data.dataset import Example
from nucseg_jax.evaluation.scored_run import ScoredRun
from nucseg_jax.io.files import replacing, write_text
from nucseg_jax.metrics.statistics import bootstrap_interval
from nucseg_jax.report import scatter

CROP_PX = 250
FEWEST_NUCLEI = 10
SCORES = ("aji", "pq", "dice")
WORST = 6


class Scored(NamedTuple):
    """An image of a split, or a crop of one, with its nuclei and scores."""

    split: str
    example: Example
    image: NDArray[np.uint8]
    truth: NDArray[np.int32]
    found: NDArray[np.int32]
    scores: dict[str, float]
    unannotated: NDArray[np.bool_] | None = None


def scored(split: str, example: Example, found: NDArray[np.int32], place: tuple[slice, slice]) -> Scored:
    """The part of an image at a place."""
    truth = example.original_label_map[place]
    unannotated = None if example.original_unannotated is None else example.original_unannotated[place]
    values = metrics.score(truth, found[place], unannotated)
    kept = {key: float(values[key]) for key in (*SCORES, "count_true", "count_pred")}
    return Scored(split, example, example.scored_image()[place], truth, found[place], kept, unannotated)


def crops(whole: Scored) -> Iterator[Scored]:
    """An image's crops that have enough nuclei."""
    height, width = whole.truth.shape
    for top, left in tiling.corners(height, width, CROP_PX):
        place = slice(top, top + CROP_PX), slice(left, left + CROP_PX)
        if not whole.example.original_label_map[place].any():
            continue
        crop = scored(whole.split, whole.example, whole.found, place)
        if crop.scores["count_true"] >= FEWEST_NUCLEI:
            yield crop


def tables(images: Sequence[Scored], parts: Sequence[Scored], apart: Collection[str] = ()) -> str:
    """Tables as Markdown.

    Args:
      images: with their scores.
      parts: crops of them.
      apart: ids of images that get a row apart from the others.

    Returns:
      A table a split: a row an organ, and one for all. Where there are several splits, or images apart, one
      more for the images of all splits.
    """
    lines: list[str] = []
    splits = list(dict.fromkeys(image.split for image in images))
    for split in splits:
        own = [image for image in images if image.split == split]
        lines += _head(f"`{split}`, {len(own)} images:", "organ")
        for organ in sorted({image.example.organ for image in own}):
            group = [image for image in own if image.example.organ == organ]
            pieces = [p for p in parts if p.split == split and p.example.organ == organ]
            lines.append(_row(organ, group, pieces))
        lines.append(_row("**all**", own, own))
    if len(splits) > 1 or apart:
        lines += _head(f"All {len(images)} images:", "which")
        for label, chosen in (("apart", True), ("the others", False)):
            if apart and (group := [i for i in images if (i.example.id in apart) == chosen]):
                lines.append(_row(label, group, group))
        lines.append(_row("**all**", images, images))
    return "\n".join(lines) + "\n"


def _head(title: str, rows: str) -> list[str]:
    columns = f"| {rows} | images | nuclei | AJI | PQ | Dice |"
    return ["", title, "", columns, "|---|---:|---:|---:|---:|---:|"]


def _row(label: str, images: Sequence[Scored], resampled: Sequence[Scored]) -> str:
    nuclei = sum(image.scores["count_true"] for image in images)
    cells = [label, str(len(images)), f"{nuclei:,.0f}"]
    for key in SCORES:
        mean = np.mean([image.scores[key] for image in images])
        low, high = bootstrap_interval([piece.scores[key] for piece in resampled])
        cells.append(f"{mean:.3f} ({low:.3f} to {high:.3f})")
    return f"| {' | '.join(cells)} |"


def worst(parts: Sequence[Scored], count: int = WORST) -> NDArray[np.uint8]:
    """The crops of lowest AJI, at most one an image, one below the other."""
    chosen: dict[str, Scored] = {}
    for part in sorted(parts, key=lambda part: part.scores["aji"]):
        chosen.setdefault(part.example.id, part)
    pictures = []
    for part in list(chosen.values())[:count]:
        caption = f"{part.example.organ}, {part.example.id[:12]}: AJI {part.scores['aji']:.2f}"
        maps = (part.image, part.truth, part.found)
        pictures.append(drawing.panel(*maps, caption=caption, unannotated=part.unannotated))
    return np.vstack(pictures)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a trained run's folder")
    parser.add_argument("--data", required=True, help="folder of its prepared dataset")
    parser.add_argument("--out", type=Path, required=True, help="name of what is written, without ending")
    parser.add_argument("--step", type=int, help="which checkpoint (default: the best, or the last)")
    parser.add_argument(
        "--apart",
        type=Path,
        help="a file of data_prep/splits: its test images get a row apart from the others",
    )
    args = parser.parse_args(argv)
    apart: set[str] = set()
    if args.apart:
        rows = json.loads(args.apart.read_text(encoding="utf-8"))["images"]
        apart = {row["id"] for row in rows if row["split"] != "train"}
    mesh = devices.make_mesh()
    chosen: dict[str, Any] = {} if args.step is None else {"eval.step": args.step}
    run = runs.open_run(args.run, mesh, {"data.dir": args.data, **chosen})
    dataset = data.load(run.config.data)
    everywhere = (slice(None), slice(None))
    images: list[Scored] = []
    for split, examples in dataset.scored().items():
        segmented = ScoredRun(run, mesh, dataset, examples)
        for example in tqdm(examples, desc=split, unit="image"):
            images.append(scored(split, example, segmented.label_map(example), everywhere))
    parts = [crop for image in images for crop in crops(image)]
    text = tables(images, parts, apart)
    print(text)
    write_text(args.out.with_name(f"{args.out.name}_scores.md"), text.lstrip())
    scores = [{"split": i.split, "id": i.example.id, "organ": i.example.organ, **i.scores} for i in images]
    facts = {"model": run.config.model.name, "step": run.model.step, **run.settings()}
    write_text(args.out.with_suffix(".json"), json.dumps({"run": facts, "images": scores}, indent=1) + "\n")
    with replacing(args.out.with_suffix(".jpg")) as temporary:
        Image.fromarray(worst(parts)).save(temporary, format="JPEG", quality=88)
    curves = scatter.curves(args.run.name, run.curves(), run.model.step)
    write_text(args.out.with_suffix(".svg"), curves + "\n")


if __name__ == "__main__":
    main()
