"""Names of nuclei: the same for the same, others for all others."""

import uuid
from dataclasses import replace

import pytest

from nucseg_jax.export.batches import Batch
from nucseg_jax.export.object_ids import ObjectIds
from nucseg_jax.nuclei import Frame
from tests.export.drawn_nuclei import FRAME, SHAPES, many, mask_of, nuclei_of

NUCLEI = nuclei_of([mask_of(name) for name in SHAPES])
SETTINGS = {"tile_px": 256, "instances": {"method": "watershed", "threshold": 0.5}, "white": None}


def test_they_are_uuids_of_version_8_and_stay() -> None:
    found = ObjectIds.of("a.svs", SETTINGS)(Batch(NUCLEI, FRAME))
    assert len(set(found)) == len(NUCLEI)
    for name in found:
        identity = uuid.UUID(name)
        assert (str(identity), identity.version, identity.variant) == (name, 8, uuid.RFC_4122)
    # Another release, another machine: what was made once must not change in silence.
    assert found[0] == "d852fe7c-980c-8dcf-96d6-958d5f9ada03"


def test_number_order_and_batch_do_not_matter() -> None:
    ids = ObjectIds.of("a.svs", SETTINGS)
    found = dict(zip((n.id for n in NUCLEI), ids(Batch(NUCLEI, FRAME)), strict=True))
    other = [replace(n, id=n.id + 100, probability=0.1, hematoxylin=None) for n in reversed(NUCLEI)]
    again = [name for i in range(0, len(other), 3) for name in ids(Batch(other[i : i + 3], FRAME))]
    assert again == [found[n.id - 100] for n in other]
    assert ids == ObjectIds.of("a.svs", dict(reversed(SETTINGS.items())))


@pytest.mark.parametrize(
    ("slide", "settings", "frame"),
    [
        ("b.svs", SETTINGS, FRAME),
        ("a.svs", {**SETTINGS, "tile_px": 512}, FRAME),
        ("a.svs", {**SETTINGS, "instances": {"method": "watershed", "threshold": 0.6}}, FRAME),
        ("a.svs", {}, FRAME),
        ("a.svs", SETTINGS, Frame((150, 200), 0.5, 0.25)),
    ],
)
def test_another_slide_setting_or_scale_has_all_others(slide, settings, frame) -> None:
    found = ObjectIds.of("a.svs", SETTINGS)(Batch(NUCLEI, FRAME))
    assert set(found).isdisjoint(ObjectIds.of(slide, settings)(Batch(NUCLEI, frame)))


def test_another_place_or_one_pixel_more_is_another_nucleus() -> None:
    ids = ObjectIds.of("a.svs", SETTINGS)
    (nucleus,) = nuclei_of([mask_of("ring")])
    filled = replace(nucleus, mask=mask_of("ring") | True)
    moved = replace(nucleus, left=nucleus.left + 1)
    assert len(set(ids(Batch([nucleus, filled, moved], FRAME)))) == 3


def test_many_are_all_different() -> None:
    frame = Frame((3000, 3000), 0.25, 0.25)
    assert len(set(ObjectIds.of("a.svs", {})(Batch(many(2500, frame), frame)))) == 2500
