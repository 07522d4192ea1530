"""Which files folders stand for; the same for every command."""

from pathlib import Path

import pytest

from nucseg_jax.errors import UserError
from nucseg_jax.predict import jobs
from nucseg_jax.recolour import plan
from nucseg_jax.slides import files_of, listing


def test_a_dicom_series_is_one_slide_under_the_name_of_its_first(tmp_path: Path, monkeypatch) -> None:
    for name in ("1.dcm", "2.dcm", "3.dcm", "4.dcm"):
        (tmp_path / name).touch()
    of = {"1.dcm": "a", "2.dcm": "b", "3.dcm": "a", "4.dcm": None}
    monkeypatch.setattr(listing, "series", lambda path: of[path.name])
    arguments, out = [tmp_path, tmp_path / "3.dcm"], tmp_path / "out"
    expected = [tmp_path / name for name in ("1.dcm", "2.dcm", "4.dcm")]
    assert files_of(arguments) == expected
    assert [job.source for job in jobs.plan(arguments, out)] == expected
    assert [job.source for job in plan.plan(arguments, tmp_path / "target.png", out)] == expected


def test_what_is_no_slide_is_left_out(tmp_path: Path) -> None:
    for name in ("b.png", "a.SVS", "._a.svs", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "gone.tif").symlink_to(tmp_path / "nowhere")
    missing = tmp_path / "missing.tif"
    names = [path.name for path in files_of([missing, tmp_path, tmp_path / "b.png"])]
    assert names == ["missing.tif", "a.SVS", "b.png", "gone.tif"]
    for name in ("x.ome.zarr", "marked", ".hidden.zarr"):
        (tmp_path / name).mkdir()
    (tmp_path / "marked" / "zarr.json").touch()
    names += ["marked", "x.ome.zarr"]
    assert [path.name for path in files_of([missing, tmp_path, tmp_path / "x.ome.zarr"])] == names
    assert files_of([tmp_path / "x.ome.zarr"]) == [tmp_path / "x.ome.zarr"]
    with pytest.raises(UserError, match=r"folder\.tif: no slide or image .* directly in this folder"):
        files_of([tmp_path / "folder.tif"])
