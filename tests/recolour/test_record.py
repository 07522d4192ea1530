"""stain.json: what it holds, and that it is a target for later runs."""

import jax
import numpy as np
import pytest

import nucseg_jax
from nucseg_jax.slides import read_image
from nucseg_jax.stain import VahadaneNormalizer
from tests.recolour.stained_images import REDDER, WHITE, failure, record, run, save, tissue


def test_the_record(tiles, target, out):
    run(tiles, target=target, out=out)
    normalizer = VahadaneNormalizer().fit(tissue(0))
    found = record(out)
    assert found["versions"] == {"nucseg_jax": nucseg_jax.__version__, "jax": jax.__version__}
    assert found["target"] == "target.png" and found["together"] is False
    assert found.items() >= normalizer.to_dict().items()
    assert list(found["images"]) == ["a.png", "b.tif"]
    own = normalizer.estimate(tissue(2, REDDER)).style
    assert found["images"]["b.tif"] == {
        "fell_back": False,
        "matrix": own.matrix.tolist(),
        "max_concentrations": own.max_concentrations.tolist(),
    }


def test_the_record_as_target(tiles, target, out, tmp_path):
    run(tiles, target=target, out=out)
    target.unlink()
    again = tmp_path / "again"
    assert run(tiles, target=out / "stain.json", out=again) == 0
    for name in ("a.png", "b.tif"):
        np.testing.assert_array_equal(read_image(again / name).pixels, read_image(out / name).pixels)
    assert record(again) == record(out)


def test_unusable_targets(tiles, out, tmp_path, capsys):
    white = save(tmp_path / "white.png", WHITE)
    said = failure(capsys, tiles, target=white, out=out)
    assert str(white) in said and "Choose an image of well-stained tissue" in said
    absent = tmp_path / "absent.png"
    assert f"{absent}: no such file" in failure(capsys, tiles, target=absent, out=out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[1]", "names no method"),
        ('{"method": ["vahadane"]}', "names no method"),
        ('{"method": "magic"}', "unknown stain normalisation 'magic'"),
        ('{"method": "vahadane", "matrix": [[1, 0, 0]]}', "matrix"),
        ('{"method": "identity"}', "holds a target of identity, not of macenko"),
        (None, "no such file"),
    ],
)
def test_unusable_records(tiles, out, tmp_path, capsys, text, message):
    path = tmp_path / "stain.json"
    if text is not None:
        path.write_text(text)
    said = failure(capsys, tiles, target=path, out=out, options=["--method", "macenko"])
    assert f"{path}: " in said and message in said
