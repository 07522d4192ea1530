"""`nucseg merge`: the tables of many slides as one."""

from pathlib import Path
from typing import Annotated

import typer


def merge(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A folder that was --out of nucseg predict.")],
    mixed: Annotated[
        bool, typer.Option("--mixed", help="Merge slides that were done with different settings, too.")
    ] = False,
) -> None:
    """Join the tables of all finished slides: OUT/nuclei.parquet, nuclei.csv, neighbours.parquet, ….csv.

    OUT/slides.csv has a row a slide: count, area, density, model. All is replaced when the command is given
    again. It names slides that are not finished or have failed.

    \b
    nucseg merge nuclei
    nucseg merge nuclei --mixed
    """
    from nucseg_jax.predict.merge import merge as merge_tables

    merge_tables(out, mixed=mixed)
