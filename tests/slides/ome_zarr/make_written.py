"""Writes the zip files beside this one: `picture()` by `ome-zarr`, in both versions of the format.

`ome-zarr` needs packages that do not go with those of constraints.txt, so it has an environment of its own:
pip install ome-zarr==0.18.0, and python -m tests.slides.ome_zarr.make_written with it on PYTHONPATH.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from ome_zarr.format import FormatV04, FormatV05
from ome_zarr.writer import write_image

from tests.slides.pictures import picture


def main() -> None:
    for name, written in (("ngff_0.4", FormatV04()), ("ngff_0.5", FormatV05())):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.ome.zarr"
            write_image(
                np.moveaxis(picture(), 2, 0),
                str(path),
                axes="cyx",
                fmt=written,
                scale_factors=(2, 4),
                scale={"c": 1.0, "y": 0.5, "x": 0.5},
                axes_units={"y": "micrometer", "x": "micrometer"},
                storage_options={"chunks": (1, 32, 48)},
            )
            shutil.make_archive(str(Path(__file__).with_name(name)), "zip", folder)


if __name__ == "__main__":
    main()
