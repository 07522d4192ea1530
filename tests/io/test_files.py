"""Files and folders that appear whole."""

import os
from pathlib import Path

import pytest

from nucseg_jax.errors import UserError
from nucseg_jax.io.files import printable, replacing, replacing_folder


@pytest.mark.parametrize("make", [replacing, replacing_folder])
def test_a_block_that_raises_leaves_what_was_there(tmp_path: Path, make) -> None:
    path = tmp_path / "a"
    for content in ("old", "new"):
        with make(path) as temporary:
            (temporary if make is replacing else temporary / "file").write_text(content)
    with pytest.raises(ZeroDivisionError), make(path) as temporary:
        (temporary if make is replacing else temporary / "file").write_text("worst")
        1 / 0  # noqa: B018
    assert (path if make is replacing else path / "file").read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_the_older_folder_is_back_where_the_new_one_cannot_take_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with replacing_folder(tmp_path / "a") as temporary:
        (temporary / "file").write_text("old")
    rename = os.replace

    def fails(source: Path, target: Path) -> None:
        if source.suffix == ".tmp":
            raise PermissionError(13, "Permission denied", str(target))
        rename(source, target)

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(PermissionError), replacing_folder(tmp_path / "a") as temporary:
        (temporary / "file").write_text("new")
    assert (tmp_path / "a" / "file").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_a_file_does_not_replace_a_folder(tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    with pytest.raises(UserError, match=f"^{tmp_path}: is a folder. Give the name of a file$"):
        with replacing(tmp_path):
            raise AssertionError("nothing is written")
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]


def test_printable() -> None:
    assert printable(Path("µ.svs")) == "µ.svs"
    assert printable(Path(os.fsdecode(b"a\xff.svs"))) == r"a\xff.svs"


def test_a_link_to_a_folder_stays_one(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "a").symlink_to(tmp_path / "there")
    for content in ("old", "new"):
        with replacing_folder(tmp_path / "a") as temporary:
            (temporary / "file").write_text(content)
    assert (tmp_path / "a").is_symlink() and (tmp_path / "there" / "file").read_text() == "new"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a", "there"]
