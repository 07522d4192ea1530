"""Micrometres a pixel: found in a file's metadata, and held against what a microscope can have."""

import math
import numbers
import xml.etree.ElementTree as ElementTree

from nucseg_jax.errors import DataError, UserError, in_short
from nucseg_jax.slides.reader import Resolution, UnusableResolution

FINEST_MPP, COARSEST_MPP = 0.05, 1.0
"""µm a pixel between which nuclei can be seen: 200× and 10× objectives."""

ASSUMED = "assumed: "
"""How the source of a resolution begins that nothing says."""

_UM_AN_INCH = 25400.0
_INCHES_A_TIFF_UNIT = {2: 1.0, 3: 1 / 2.54}  # inch and centimetre; 1 is no unit
_MOST_PRINTED_DPI = 1200.0  # 21 µm a pixel; screens and printers have 72 to 1200 dots an inch
_UM_A_UNIT = {"m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "nm": 1e-3}
_UM_A_NAME = {
    f"{prefix}met{end}": um
    for prefix, um in {"": 1e6, "centi": 1e4, "milli": 1e3, "micro": 1.0, "nano": 1e-3, "pico": 1e-6}.items()
    for end in ("er", "re")
} | {"angstrom": 1e-4, "inch": _UM_AN_INCH}
"""Of units that are written out, as in OME-Zarr."""

_SAME = 1.05  # of two values of one resolution; scanners differ by parts of a thousand


def check(mpp: float, source: str, name: str) -> float:
    """The value, if nuclei can be seen at it.

    Args:
      mpp: µm a pixel.
      source: where it is from, for the message.
      name: of the file.

    Raises:
      DataError: it is not from FINEST_MPP to COARSEST_MPP.
    """
    if FINEST_MPP <= mpp <= COARSEST_MPP:
        return mpp
    reason = (
        "nuclei are a few pixels wide there, which no network can outline"
        if mpp > COARSEST_MPP
        else "no slide scanner is as fine, so the value is probably in another unit"
    )
    raise DataError(
        f"{name}: {mpp:g} µm a pixel ({source}) is not within {FINEST_MPP:g} … {COARSEST_MPP:g}: {reason}. "
        "If the value is wrong, give the right one with --mpp"
    )


def checked(found: Resolution, name: str) -> Resolution:
    """What a file says, where it counts.

    Raises:
      DataError: it is `UnusableResolution`, or out of `check`'s range.
    """
    if isinstance(found, UnusableResolution):
        raise DataError(found.source)
    if found.mpp is not None:
        check(found.mpp, found.source, name)
    return found


def check_given(mpp: float, option: str = "--mpp") -> float:
    """The value of an option; UserError for one that no slide has, or that is no number."""
    if isinstance(mpp, bool) or not isinstance(mpp, numbers.Real):
        raise UserError(f"mpp = {in_short(repr(mpp))}: must be a number of µm a pixel, such as 0.25")
    if not FINEST_MPP <= mpp <= COARSEST_MPP:
        raise UserError(
            f"{option} {mpp:g}: is not within {FINEST_MPP:g} … {COARSEST_MPP:g} µm a pixel (40× is about "
            "0.25, 20× about 0.5). Images of other resolutions cannot be segmented"
        )
    return mpp


def check_prepared(mpp: float, name: str) -> None:
    """Raise DataError where no network may be trained on a dataset: nothing could be segmented with it.

    Args:
      mpp: µm a pixel of the images as they were rescaled.
      name: of the dataset.
    """
    if not FINEST_MPP <= mpp <= COARSEST_MPP:
        raise DataError(
            f"{name}: rescaled by --size, its images have {mpp:.4g} µm a pixel, which is not within "
            f"{FINEST_MPP:g} … {COARSEST_MPP:g}. Prepare it with another --size, or none"
        )


def are_same(mpp: float, other: float) -> bool:
    """Whether two values are of one resolution, but for a few per cent."""
    return max(mpp, other) <= _SAME * min(mpp, other)


def of_pixel(width_um: float, height_um: float, source: str, name: str) -> Resolution:
    """The resolution of pixels that are square but for a few per cent; unusable of others."""
    if not are_same(width_um, height_um):
        return UnusableResolution(
            None,
            f"{name}: its pixels are {width_um:g} × {height_um:g} µm ({source}), not square. Resample the "
            "image to square pixels first; or, if the file is wrong, give the right value with --mpp",
        )
    return Resolution((width_um * height_um) ** 0.5, source)


def of_dots(across: float, down: float, source: str, name: str) -> Resolution:
    """Of dots an inch, as PNG, JPEG and TIFF have them; those of screens and printers say nothing."""
    if not (across > 0 and down > 0):
        return Resolution(None, "no resolution in the file")
    if max(across, down) <= _MOST_PRINTED_DPI:
        return Resolution(None, f"{across:g} dots an inch is for screens and printers")
    return of_pixel(_UM_AN_INCH / across, _UM_AN_INCH / down, source, name)


def of_tiff(pixels_a_unit: tuple[float, float], unit: int, imagej_unit: str, name: str) -> Resolution:
    """Of a TIFF's resolution tags.

    Args:
      pixels_a_unit: XResolution and YResolution; 0 where there is none.
      unit: ResolutionUnit; 1 where there is none.
      imagej_unit: the unit of length that ImageJ has written, which goes before `unit`; or empty.
      name: of the file.
    """
    if not min(pixels_a_unit) > 0:
        return Resolution(None, "no resolution in its tags")
    um = um_a_unit(imagej_unit)
    if um is not None:
        across, down = (um / x for x in pixels_a_unit)
        return of_pixel(across, down, "ImageJ metadata", name)
    inches = _INCHES_A_TIFF_UNIT.get(unit)
    if inches is None:
        return Resolution(None, "its resolution tags have no unit")
    across, down = (x / inches for x in pixels_a_unit)
    return of_dots(across, down, "TIFF resolution tags", name)


def of_ome(metadata: str, name: str) -> Resolution:
    """Of the first image of OME-XML: PhysicalSizeX and Y, in any unit of length; unusable if it is no XML."""
    try:
        root = ElementTree.fromstring(metadata)
    except ElementTree.ParseError as error:
        return UnusableResolution(
            None,
            f"{name}: its OME metadata are no XML ({in_short(error)}). Export it again, or give its "
            "resolution with --mpp",
        )
    pixels = next((e for e in root.iter() if e.tag.rpartition("}")[2] == "Pixels"), None)
    sides = []
    for axis in "XY":
        value = None if pixels is None else pixels.get(f"PhysicalSize{axis}")
        unit = "µm" if pixels is None else pixels.get(f"PhysicalSize{axis}Unit", "µm")
        if value is None or unit not in _UM_A_UNIT:
            return Resolution(None, "no PhysicalSizeX and Y of a known unit in its OME metadata")
        try:
            sides.append(float(value) * _UM_A_UNIT[unit])
        except ValueError:
            said = f"PhysicalSize{axis} {in_short(repr(value))} in its OME metadata is no number"
            return Resolution(None, said)
    if not 0 < min(sides) <= max(sides) < math.inf:
        return Resolution(None, "its OME metadata have pixels of no size")
    return of_pixel(sides[0], sides[1], "OME PhysicalSize", name)


def of_axes(down: tuple[float, str], across: tuple[float, str], name: str) -> Resolution:
    """Of OME-Zarr: the size of a pixel along y and x, each with its unit; empty where the file says none."""
    sides = []
    for value, unit in (down, across):
        um = um_a_unit(unit) or _UM_A_NAME.get(unit)
        if um is None:
            said = (
                f"its axes have the unit {in_short(unit, 40)}" if unit else "its axes have no unit of length"
            )
            return Resolution(None, said)
        sides.append(value * um)
    return of_pixel(sides[1], sides[0], "OME-Zarr scale", name)


def um_a_unit(unit: str) -> float | None:
    """µm in a unit of length by its name, None for others."""
    return _UM_A_UNIT.get(unit.replace("\\u00B5", "µ").strip())
