"""Files as QuPath writes them: an object a feature, for images of which a pixel has 0.25 µm."""

import uuid

from tests.regions.drawn import collection, rectangle, write

__all__ = ["cell", "collection", "detected", "ignored", "old", "qupath", "rectangle", "region", "write"]

COLOURS = {"Nucleus": [0, 229, 255], "Region*": [0, 0, 180], "Ignore*": [180, 180, 180]}


def qupath(geometry, kind="annotation", of_class=None, name=None, **more):
    """A feature as 0.4 to 0.6 write it; `more` goes beside `properties`."""
    properties = {"objectType": kind}
    if name:
        properties["name"] = name
    if of_class:
        properties["classification"] = {"name": of_class, "color": COLOURS.get(of_class, [1, 2, 3])}
    if kind == "annotation":
        properties["isLocked"] = True
    else:
        properties["measurements"] = {"Area µm^2": 12.5, "Probability": 0.9}
    feature = {"type": "Feature", "id": str(uuid.uuid4()), "geometry": geometry, **more}
    return feature | {"properties": properties}


def detected(geometry, of_class="Nucleus"):
    return qupath(geometry, "detection", of_class)


def region(*corners):
    return qupath(rectangle(*corners), of_class="Region*")


def ignored(geometry):
    return qupath(geometry, of_class="Ignore*")


def cell(outline, nucleus):
    """A cell of 0.4 to 0.6, whose nucleus is beside its outline; without one where it is None."""
    return qupath(outline, "cell", **({} if nucleus is None else {"nucleusGeometry": nucleus}))


def old(geometry, java_class, of_class=None):
    """A feature as 0.2 wrote it: the kind is the id, measurements are a list, colours are numbers."""
    properties = {"isLocked": False, "measurements": [{"name": "Area", "value": 12.5}]}
    if of_class:
        properties["classification"] = {"name": of_class, "colorRGB": -3140401}
    return {"type": "Feature", "id": java_class, "geometry": geometry, "properties": properties}
