"""Nuclei of a DICOM slide as DICOM: Microscopy Bulk Simple Annotations (PS3.3 C.37.1), nuclei.dcm.

One group of polygons, annotation i (from 1) the nucleus with the id i. Coordinates are pixels of the total
pixel matrix of the slide's base level, whose top left pixel has its corners at 0\\0 and 1\\1, as here
(Annotation Coordinate Type 2D, Pixel Origin Interpretation VOLUME). As float32 they are right to 1/128 pixel
on slides of up to 262,144 pixels along a side. OpenSlide never crops DICOM slides, so that the slide's
coordinates are those of the matrix; an offset would be added.

The standard has no polygons with holes: of a nucleus with holes there is the exterior alone, and a note says
of how many. Its measurements do not count the pixels of its holes.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

import nucseg_jax
from nucseg_jax.export.base_pixels import base_pixels
from nucseg_jax.export.batches import Batch, measurements_of
from nucseg_jax.export.extra_formats import check_installed
from nucseg_jax.export.outlines import Outlines
from nucseg_jax.export.polygons import Shapes
from nucseg_jax.export.sinks import Sink
from nucseg_jax.io.files import appearing
from nucseg_jax.nuclei import Frame
from nucseg_jax.slides.dicom_series import base_level

if TYPE_CHECKING:
    from highdicom.ann import AnnotationGroup
    from pydicom import Dataset

LABEL = "nuclei"

SCHEME = "99NUCSEG_JAX"
"""Of codes for what no public scheme has a code: the columns of nuclei.csv."""


class _Code(NamedTuple):
    value: str
    scheme: str
    meaning: str


_UM, _UM2, _NONE = (
    _Code(unit, "UCUM", name)
    for unit, name in (("um", "micrometer"), ("um2", "square micrometer"), ("1", "no units"))
)

MEASUREMENTS = {
    "area_um2": (_Code("42798000", "SCT", "Area"), _UM2),
    "perimeter_um": (_Code("131191004", "SCT", "Perimeter"), _UM),
    "circularity": (_Code("circularity", SCHEME, "Circularity"), _NONE),
    "solidity": (_Code("solidity", SCHEME, "Solidity"), _NONE),
    "major_axis_um": (_Code("103339001", "SCT", "Long Axis"), _UM),
    "minor_axis_um": (_Code("103340004", "SCT", "Short Axis"), _UM),
    "eccentricity": (_Code("eccentricity", SCHEME, "Eccentricity"), _NONE),
    "hematoxylin_density": (_Code("hematoxylin_density", SCHEME, "Hematoxylin density"), _NONE),
    "probability": (_Code("probability", SCHEME, "Probability of nucleus"), _NONE),
    "hematoxylin_contrast": (_Code("hematoxylin_contrast", SCHEME, "Hematoxylin contrast"), _NONE),
    "hematoxylin_entropy_bits": (
        _Code("hematoxylin_entropy_bits", SCHEME, "Hematoxylin entropy"),
        _Code("bit", "UCUM", "bit"),
    ),
    "eosin_ring_density": (_Code("eosin_ring_density", SCHEME, "Eosin density around the nucleus"), _NONE),
}
"""Column of `measurements.Measurements` → its concept and its unit."""

_MAY_BE_EMPTY = {
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
}
"""Of a slide: empty means unknown (type 2), and programs that take out names may leave one out."""

_LARGEST_BYTES = 2**32 - 2**28
"""Of all coordinates: a group's item has a length of 32 bits, with its measurements in it."""


class DicomAnnotations(Sink):
    """Microscopy Bulk Simple Annotations that refer to the slide's base level.

    Its file has the slide's patient, study and specimen. Coordinates wait in a temporary file; memory is that
    of the measurements, 44 bytes a nucleus, and at the end of the whole file once, about 1 KB a nucleus.

    Without nuclei, or with more than a DICOM file can hold (about 4 million), there is no file, and a note.

    Args:
        path: of the file.
        frame: the slide.
        source: any file of the slide's series.
        shapes: makes the outlines.
        say: is told what the file leaves out.

    Raises:
        MissingExtraError: the extra `dicom` is not installed.
        DataError: the source is no DICOM slide, or its base level is not beside it.
    """

    def __init__(
        self, path: Path, frame: Frame, *, source: Path, shapes: Shapes, say: Callable[[str], None]
    ) -> None:
        super().__init__(frame)
        check_installed(["dicom"])
        self._path, self._say = path, say
        self._image = base_level(source)
        self._shapes = shapes
        self.makers = (shapes, measurements_of)
        self._corners: BinaryIO
        self._begins: list[NDArray[np.int64]] = []  # of exteriors, in corners
        self._values: list[NDArray[np.float32]] = []
        self._count = self._corner_count = self._with_holes = 0

    def _open(self, stack: ExitStack) -> None:
        self._corners = cast(
            BinaryIO, stack.enter_context(tempfile.TemporaryFile(dir=self._path.parent, buffering=1 << 20))
        )

    def _write(self, batch: Batch) -> None:
        if not np.array_equal(batch.ids, self._count + 1 + np.arange(len(batch))):
            raise ValueError(f"DICOM annotations have no ids: nuclei must be 1, 2, …, got {batch.ids[0]}")
        outlines, found = batch.made(self._shapes), batch.made(measurements_of)
        points, begins = exteriors(outlines, self._frame)
        self._corners.write(points.astype("<f4").tobytes())
        self._begins.append(begins + self._corner_count)
        self._values.append(np.stack([getattr(found, name) for name in MEASUREMENTS]).astype(np.float32))
        self._count += len(batch)
        self._corner_count += len(points)
        self._with_holes += int((np.diff(outlines.nucleus_start) > 1).sum())

    def _finish(self) -> None:
        if not self._count:
            self._say(f"no {self._path.name}: DICOM annotations need a nucleus at least, and none was found")
            return
        if self._corner_count * 8 > _LARGEST_BYTES:
            self._say(
                f"no {self._path.name}: a DICOM file cannot hold the outlines of {self._count:,} nuclei"
            )
            return
        if self._with_holes:
            self._say(
                f"{self._path.name}: of nuclei with holes ({self._with_holes:,}) it has the exteriors alone, "
                "since DICOM annotations have no holes"
            )
        self._corners.seek(0)
        annotations = _annotations(self._image, self._group())
        with appearing(self._path) as temporary:
            annotations.save_as(temporary)

    def _group(self) -> AnnotationGroup:
        from highdicom import UID, AlgorithmIdentificationSequence
        from highdicom.ann import AnnotationGroup, Measurements
        from pydicom.sr.codedict import codes

        values = np.concatenate(self._values, axis=1)
        group = AnnotationGroup(
            number=1,
            uid=UID(),
            label=LABEL,
            annotated_property_category=codes.SCT.AnatomicalStructure,  # of CID 7150
            annotated_property_type=codes.SCT.Nucleus,  # of CID 8135
            graphic_type="POLYGON",
            graphic_data=[np.array([[0, 0], [0, 1], [1, 0]], np.float32)],  # replaced below
            algorithm_type="AUTOMATIC",
            algorithm_identification=AlgorithmIdentificationSequence(
                name="nucseg_jax",
                family=codes.DCM.ArtificialIntelligence,
                version=nucseg_jax.__version__,
                source="nucseg_jax",
            ),
        )
        # highdicom takes an array a polygon, of all at once: gigabytes of memory.
        group.NumberOfAnnotations = self._count
        group.add_new("PointCoordinatesData", "OF", self._corners)
        first_values = np.concatenate(self._begins) * 2 + 1  # of numbers, not of points, from 1
        group.LongPrimitivePointIndexList = first_values.astype("<u4").tobytes()
        group.MeasurementsSequence = [
            Measurements(name=_concept(name), values=row, unit=_concept(unit))
            for (name, unit), row in zip(MEASUREMENTS.values(), values, strict=True)
        ]
        return group


def exteriors(outlines: Outlines, frame: Frame) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The outlines of nuclei without their holes, in pixels of the file's canvas.

    Returns:
        float64 `[N, 2]`, x and y; and int64 `[M]`, the corner that each nucleus begins with.
    """
    first = outlines.nucleus_start[:-1]
    lengths = np.diff(outlines.ring_start)
    kept = np.zeros(len(lengths), bool)
    kept[first] = True
    corners = np.repeat(kept, lengths)
    y, x = frame.offset
    points = base_pixels(frame).points(outlines)[corners] + (x, y)
    return points, np.cumsum(lengths[first]) - lengths[first]


def _concept(code: _Code) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(value=code.value, scheme_designator=code.scheme, meaning=code.meaning)


def _annotations(image: Dataset, group: AnnotationGroup) -> Dataset:
    from highdicom import UID
    from highdicom.ann import MicroscopyBulkSimpleAnnotations

    for name in _MAY_BE_EMPTY - set(image.dir()):
        setattr(image, name, "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of names without a caret, as the slide has them
        return MicroscopyBulkSimpleAnnotations(
            source_images=[image],
            annotation_coordinate_type="2D",
            pixel_origin_interpretation="VOLUME",
            annotation_groups=[group],
            series_instance_uid=UID(),
            series_number=1,
            sop_instance_uid=UID(),
            instance_number=1,
            manufacturer="nucseg_jax",
            manufacturer_model_name="nucseg_jax",
            software_versions=nucseg_jax.__version__,
            device_serial_number="none",
            content_description="Nuclei",
            content_label="NUCLEI",
            series_description="Nuclei",
        )
