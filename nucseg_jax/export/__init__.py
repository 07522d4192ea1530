"""Writes nuclei, as they are found, to files for other programs: QuPath, tables, label maps, pictures.

One module a format, each a `Sink`; `Exports` writes a folder of them. Those of `EXTRA_FORMATS`
(`dicom_annotations`, `spatialdata_zarr`) need packages of an extra.
"""

from nucseg_jax.export.density import DensityMap
from nucseg_jax.export.dicom_annotations import DicomAnnotations
from nucseg_jax.export.extra_formats import EXTRA_FORMATS
from nucseg_jax.export.folder import FORMATS, Exports, check_formats
from nucseg_jax.export.geojson import GeoJson
from nucseg_jax.export.geoparquet import ParquetTable
from nucseg_jax.export.helpers import Helpers
from nucseg_jax.export.label_map import label_map
from nucseg_jax.export.limits import Limits
from nucseg_jax.export.neighbour_table import NeighbourTable
from nucseg_jax.export.overlay import Overlay
from nucseg_jax.export.sinks import Sink
from nucseg_jax.export.spatialdata_zarr import SpatialDataZarr
from nucseg_jax.export.summary import Summary
from nucseg_jax.export.table import CsvTable

__all__ = [
    "EXTRA_FORMATS",
    "FORMATS",
    "CsvTable",
    "DensityMap",
    "DicomAnnotations",
    "Exports",
    "GeoJson",
    "Helpers",
    "Limits",
    "NeighbourTable",
    "Overlay",
    "ParquetTable",
    "Sink",
    "SpatialDataZarr",
    "Summary",
    "check_formats",
    "label_map",
]
