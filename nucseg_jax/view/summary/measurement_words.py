"""Measurements of nuclei in words that a pathologist uses; `export.measurements` defines them."""

from typing import NamedTuple


class Words(NamedTuple):
    """How a measurement is called.

    Attributes:
      name: for the head of a row.
      unit: "" of a ratio.
      hint: how to read it; "" where that is plain.
    """

    name: str
    unit: str
    hint: str = ""


MEASUREMENTS: dict[str, Words] = {
    "area_um2": Words("Area", "µm²"),
    "perimeter_um": Words("Perimeter", "µm"),
    "major_axis_um": Words("Length", "µm", "major axis"),
    "minor_axis_um": Words("Width", "µm", "minor axis"),
    "circularity": Words("Circularity", "", "1 is a circle"),
    "solidity": Words("Solidity", "", "1 has no dents"),
    "eccentricity": Words("Eccentricity", "", "0 is round, 1 a line"),
    "hematoxylin_density": Words("Hematoxylin", "OD", "mean optical density"),
    "hematoxylin_contrast": Words("Chromatin contrast", "OD²", "between neighbouring pixels"),
    "hematoxylin_entropy_bits": Words("Chromatin entropy", "bits", "spread of its optical densities"),
    "eosin_ring_density": Words("Eosin around it", "OD", "within 5 µm of the nucleus"),
    "local_density_per_mm2": Words("Nuclei around it", "per mm²", "within 50 µm of the nucleus"),
    "probability": Words("Probability", "", "the model’s, of being a nucleus"),
}
"""Column → its words, in the order that they are shown in."""
