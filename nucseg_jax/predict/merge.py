"""The tables of all finished slides of a folder as one, for statistics over slides: `nucseg merge`."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from operator import index
from pathlib import Path
from typing import Any

from nucseg_jax.errors import DataError, UserError, in_short, listed, listed_lines, shown
from nucseg_jax.export.summary import FORMAT_VERSION
from nucseg_jax.export.table import quoted
from nucseg_jax.io.disk import named_when_full
from nucseg_jax.io.files import appearing
from nucseg_jax.predict.jobs import deciding, differences
from nucseg_jax.predict.merged_tables import write_csv, write_parquet
from nucseg_jax.predict.results import SUMMARY
from nucseg_jax.predict.results_folder import FinishedSlide, ResultsFolder, look_into

TABLES = ("nuclei.parquet", "nuclei.csv", "neighbours.parquet", "neighbours.csv")
SLIDES = "slides.csv"

SLIDE_COLUMNS = (
    "slide",
    "source",
    "mpp",
    "network_mpp",
    "offset_x_px",
    "offset_y_px",
    "count",
    "area_mm2",
    "per_mm2",
    "mean_area_um2",
    "model",
    "params_sha256",
    "settings",
    "version",
    "created",
)
"""Of slides.csv. `slide` is as in all tables, and `source` is the slide's file. `model` is empty unless it
came with the install. `settings` are eight digits, the same for slides that were done with the same settings.
The others are those of `summary.json`."""

_OF_ONE_SLIDE = {"bytes", "roi_sha256"}
"""What of `deciding` may differ between slides that were done alike."""


def merge(out: Path, *, mixed: bool = False) -> None:
    """Join the tables of all finished slides, those that every slide has; older merged ones are replaced.

    Args:
      out: the folder of the slides' folders; TABLES and SLIDES appear in it.
      mixed: slides of other settings, too.

    Raises:
      UserError: no slide is finished; settings differ; two slides have one name; a folder has that of a
        table.
      DataError: a table is damaged, or of another release.
      DiskFullError: there is no room.
    """
    found = look_into(out)
    rows = _checked(out, found.finished, mixed)
    folders = [slide.folder for slide in found.finished]
    lacking = {name: [f.name for f in folders if not (f / name).exists()] for name in TABLES}
    written = [name for name in TABLES if not lacking[name]]
    counts = [row["count"] for row in rows]
    with ExitStack() as stack:
        for name in written:
            temporary = stack.enter_context(appearing(out / name))
            tables = [folder / name for folder in folders]
            with named_when_full(out / name):
                write = write_csv if name.endswith(".csv") else write_parquet
                write(temporary, tables, counts)
        temporary = stack.enter_context(appearing(out / SLIDES))
        with named_when_full(out / SLIDES):
            _write_slides(temporary, rows)
    for name in set(TABLES) - set(written):
        (out / name).unlink(missing_ok=True)
    _say(out, found, [*written, SLIDES], lacking)


def _checked(out: Path, finished: Sequence[FinishedSlide], mixed: bool) -> list[dict[str, Any]]:
    """The rows of slides.csv; raises as `merge`."""
    if not finished:
        raise UserError(f"{out}: has no finished slide. Name a folder that was --out of nucseg predict")
    others = [
        f"{slide.folder}: format_version {version!r} and not {FORMAT_VERSION}"
        for slide in finished
        if (version := slide.summary.get("format_version")) != FORMAT_VERSION
    ]
    if others:
        raise DataError(
            "results of another release of nucseg_jax:",
            *listed_lines(others),
            "Do these slides again with nucseg predict --overwrite, or use the release that wrote them",
        )
    if taken := [slide.folder for slide in finished if slide.folder.name in (*TABLES, SLIDES)]:
        raise UserError(
            "slides whose folders have names of the tables that are made:",
            *listed_lines([str(folder) for folder in taken]),
            "Rename these folders",
        )
    rows = [_row(slide) for slide in finished]
    names = Counter(row["slide"] for row in rows)
    twice = [
        f"{slide.folder}: {row['slide']}"
        for slide, row in zip(finished, rows, strict=True)
        if names[row["slide"]] > 1
    ]
    if twice:
        raise UserError("slides of one name:", *listed_lines(twice), "Remove all but one of each name")
    if not mixed:
        _check_settings(out, finished)
    return rows


def _check_settings(out: Path, finished: Sequence[FinishedSlide]) -> None:
    """Raise UserError unless all slides were done with the same settings."""
    all_settings = {slide.folder.name: _settings(slide) for slide in finished}
    digests = Counter(map(_digest, all_settings.values()))
    usual_digest = digests.most_common(1)[0][0]
    usual = next(one for one in all_settings.values() if _digest(one) == usual_digest)
    different = [
        f"{name}: {', '.join(differences(settings, usual)) or 'more settings'}"
        for name, settings in all_settings.items()
        if _digest(settings) != usual_digest
    ]
    if different:
        raise UserError(
            f"{out}: {len(different)} of {len(finished)} slides have other settings than the most:",
            *listed_lines(different),
            "Do them again with nucseg predict --overwrite, or give --mixed to merge them as they are",
        )


def _settings(slide: FinishedSlide) -> dict[str, Any]:
    """What should be the same for all slides: what decides which nuclei are found, and their outlines."""
    kept = {key: value for key, value in deciding(slide.request).items() if key not in _OF_ONE_SLIDE}
    return {**kept, "simplify_um": slide.request.get("simplify_um")}


def _digest(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


def _write_slides(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(SLIDE_COLUMNS) + "\n")
        for row in rows:
            values = ("" if row[name] is None else str(row[name]) for name in SLIDE_COLUMNS)
            file.write(",".join(map(quoted, values)) + "\n")


def _row(slide: FinishedSlide) -> dict[str, Any]:
    """A slide in SLIDE_COLUMNS; None becomes empty.

    Raises:
      DataError: its summary is damaged.
    """
    try:
        return _row_of(slide)
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{slide.folder / SUMMARY}: is damaged ({in_short(error)}). Do this slide again with nucseg "
            "predict --overwrite"
        ) from error


def _row_of(slide: FinishedSlide) -> dict[str, Any]:
    summary, frame = slide.summary, slide.summary["slide"]
    request, run = slide.request, slide.request.get("pretrained") or {}
    nuclei = {key: summary["nuclei"][key] for key in ("area_mm2", "per_mm2", "mean_area_um2")}
    return nuclei | {
        "count": index(summary["nuclei"]["count"]),
        "slide": frame["name"],
        "source": summary["source"]["path"],
        "mpp": frame["mpp"],
        "network_mpp": frame["network_mpp"],
        "offset_x_px": frame["offset_px"]["x"],
        "offset_y_px": frame["offset_px"]["y"],
        "model": run.get("name"),
        "params_sha256": request.get("params_sha256"),
        "settings": _digest(_settings(slide)),
        "version": summary["versions"]["nucseg_jax"],
        "created": summary["created"],
    }


def _say(
    out: Path, found: ResultsFolder, written: Sequence[str], lacking: Mapping[str, Sequence[str]]
) -> None:
    count, nuclei = len(found.finished), sum(slide.summary["nuclei"]["count"] for slide in found.finished)
    slides = "1 slide" if count == 1 else f"{count} slides"
    lines = [f"{out}: {slides}, {nuclei:,} nuclei: {', '.join(written)}"]
    lines += [
        f"not merged: {name}, which {len(without)} of {count} slides lack: {listed(without)}"
        for name, without in lacking.items()
        if 0 < len(without) < count
    ]
    done = {slide.folder.name for slide in found.finished}
    of_older = [name for name in found.failed if name in done]
    for what, names in (
        ("unfinished, not merged", found.unfinished),
        ("failed, not merged", [name for name in found.failed if name not in done]),
        ("failed the last time, the older result is merged", of_older),
        ("no results, not merged", found.others),
    ):
        if names:
            lines.append(f"{what}: {listed(names)}")
    for line in lines:
        print(shown(line))
