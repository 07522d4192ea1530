"""A DICOM slide of a picture: a file a level, tiles without compression, as scanners' series are laid out."""

from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, VLWholeSlideMicroscopyImageStorage, generate_uid

TILE_PX = 64


def write(folder: Path, picture: NDArray[np.uint8], *, mpp: float = 0.25, levels: int = 2) -> list[Path]:
    """The files of the levels, the coarsest first by name, so that none is found by its place.

    Args:
        folder: made if need be.
        picture: uint8 `[H, W, 3]` RGB.
        mpp: µm a pixel.
        levels: each half as large as the one before.

    Returns:
        The paths, that of the base level first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    series = generate_uid(entropy_srcs=[str(folder)])[:50]
    paths = []
    for index in range(levels):
        path = folder / f"level_{levels - 1 - index}.dcm"
        step = 2**index
        of_level = _level(np.ascontiguousarray(picture[::step, ::step]), mpp * step, series, index)
        of_level.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _level(picture: NDArray[np.uint8], mpp: float, series: str, index: int) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = VLWholeSlideMicroscopyImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    level = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    height, width = picture.shape[:2]
    level.SOPClassUID, level.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    level.StudyInstanceUID, level.SeriesInstanceUID = f"{series}.1", series
    level.FrameOfReferenceUID, level.PositionReferenceIndicator = f"{series}.2", "SLIDE_CORNER"
    level.PatientID, level.PatientName = "P7", "Doe^Jane"
    level.PatientBirthDate = level.PatientSex = level.AccessionNumber = level.StudyID = ""
    level.StudyDate, level.StudyTime, level.ReferringPhysicianName = "20260131", "080000", ""
    level.Modality, level.SeriesNumber, level.InstanceNumber = "SM", 1, index + 1
    level.Manufacturer, level.ManufacturerModelName = "drawn", "drawn"
    level.DeviceSerialNumber, level.SoftwareVersions = "1", "1"
    level.ContentDate, level.ContentTime = "20260131", "080000"
    level.AcquisitionDateTime, level.VolumetricProperties = "20260131080000", "VOLUME"
    level.ImageType = [
        "ORIGINAL" if index == 0 else "DERIVED",
        "PRIMARY",
        "VOLUME",
        "NONE" if index == 0 else "RESAMPLED",
    ]
    level.ContainerIdentifier, level.IssuerOfTheContainerIdentifierSequence = "C1", Sequence()
    level.ContainerTypeCodeSequence = Sequence([_code("433466003", "SCT", "Microscope slide")])
    specimen = Dataset()
    specimen.SpecimenIdentifier, specimen.SpecimenUID = "S1", f"{series}.3"
    specimen.IssuerOfTheSpecimenIdentifierSequence = Sequence()
    specimen.SpecimenPreparationSequence = Sequence()
    level.SpecimenDescriptionSequence = Sequence([specimen])
    _lay_out(level, picture, mpp)
    level.ImagedVolumeWidth, level.ImagedVolumeHeight = width * mpp / 1000, height * mpp / 1000
    level.ImagedVolumeDepth, level.BurnedInAnnotation = 1.0, "NO"
    return level


def _lay_out(level: Dataset, picture: NDArray[np.uint8], mpp: float) -> None:
    """Tiles, their order, and what a pixel is."""
    height, width = picture.shape[:2]
    rows, columns = -(-height // TILE_PX), -(-width // TILE_PX)
    filled = np.full((rows * TILE_PX, columns * TILE_PX, 3), 255, np.uint8)
    filled[:height, :width] = picture
    tiles = filled.reshape(rows, TILE_PX, columns, TILE_PX, 3).swapaxes(1, 2)
    level.TotalPixelMatrixColumns, level.TotalPixelMatrixRows = width, height
    level.TotalPixelMatrixFocalPlanes, level.NumberOfFrames = 1, rows * columns
    level.Rows = level.Columns = TILE_PX
    level.SamplesPerPixel, level.PlanarConfiguration, level.PhotometricInterpretation = 3, 0, "RGB"
    level.BitsAllocated, level.BitsStored, level.HighBit, level.PixelRepresentation = 8, 8, 7, 0
    level.LossyImageCompression, level.NumberOfOpticalPaths = "00", 1
    level.DimensionOrganizationType, level.ImageOrientationSlide = "TILED_FULL", [0, 1, 0, 1, 0, 0]
    origin = Dataset()
    origin.XOffsetInSlideCoordinateSystem = origin.YOffsetInSlideCoordinateSystem = 0.0
    level.TotalPixelMatrixOriginSequence = Sequence([origin])
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [mpp / 1000, mpp / 1000], 0.001
    shared.PixelMeasuresSequence = Sequence([measures])
    level.SharedFunctionalGroupsSequence = Sequence([shared])
    path = Dataset()
    path.OpticalPathIdentifier = "1"
    path.IlluminationTypeCodeSequence = Sequence([_code("111744", "DCM", "Brightfield illumination")])
    level.OpticalPathSequence = Sequence([path])
    level.PixelData = tiles.tobytes()
    level["PixelData"].VR = "OB"


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def change(path: Path, **values: object) -> None:
    """Write other values into a file; None: leave an attribute out."""
    level = pydicom.dcmread(path)
    for name, value in values.items():
        if value is None:
            delattr(level, name)
        else:
            setattr(level, name, value)
    level.save_as(path)
