"""Files and folders that appear whole."""

import errno
import os
from pathlib import Path

import pytest

from nucseg_jax.errors import DiskFullError, UserError
from nucseg_jax.io.files import filled_folder, output_folder, printable, replacing, replacing_folder


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


def test_no_empty_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for folder in (tmp_path / "there" / "a" / "b", tmp_path / "there"):
        with filled_folder(folder):
            assert folder.is_dir()
        with pytest.raises(ZeroDivisionError), filled_folder(folder):
            1 / 0  # noqa: B018
        with pytest.raises(ZeroDivisionError), replacing_folder(folder / "c") as temporary:
            (temporary / "file").touch()
            1 / 0  # noqa: B018
        assert list(tmp_path.rglob("*")) == [tmp_path / "there"]
    with pytest.raises(ZeroDivisionError), filled_folder(tmp_path / "a" / "b"):
        (tmp_path / "a" / "file").touch()
        1 / 0  # noqa: B018
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("file", "is a file, or lies in one. Name a folder"), ("file/a", "is a file"), ("a" * 300, "too long")],
)
def test_a_folder_that_cannot_be_made(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=rf"^--out {tmp_path / name}: .*{message}"):
        with output_folder(tmp_path / name, "--out"):
            raise AssertionError("nothing is written")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


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


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is synced and what is renamed, in order; temporary names without their endings."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not tell the name of an open file")
    found: list[str] = []
    rename, sync = os.replace, os.fsync

    def recorded_rename(source: Path, target: Path) -> None:
        rename(source, target)
        found.append(f"rename {Path(target).name.split('.')[0]}")

    def recorded_sync(file: int) -> None:
        sync(file)
        name = Path(os.readlink(f"/proc/self/fd/{file}")).name
        if not name.endswith(".lock"):
            found.append(f"sync {name.split('.')[0]}")

    monkeypatch.setattr(os, "replace", recorded_rename)
    monkeypatch.setattr(os, "fsync", recorded_sync)
    return found


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, events: list[str]) -> None:
    with replacing(tmp_path / "a") as temporary:
        temporary.write_text("new")
    assert events == ["sync a", "rename a", f"sync {tmp_path.name}"]


def test_a_folder_is_on_the_disk_before_it_has_its_name(tmp_path: Path, events: list[str]) -> None:
    """Each file once, also one that appears in it by itself; an older folder is kept until then."""
    (tmp_path / "set").mkdir()
    with replacing_folder(tmp_path / "set") as temporary:
        (temporary / "inner").mkdir()
        (temporary / "inner" / "x").write_text("new")
        with replacing(temporary / "y") as file:
            file.write_text("new")
    assert events == [
        "rename y",
        *("sync x", "sync inner", "sync y", "sync set"),
        *("rename set", "rename set", f"sync {tmp_path.name}", "rename set"),  # away, there, to be deleted
    ]


@pytest.mark.parametrize("make", [replacing, replacing_folder])
def test_file_systems_that_cannot_sync(tmp_path: Path, make, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(file: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", fails)
    with make(tmp_path / "a") as temporary:
        (temporary if make is replacing else temporary / "file").write_text("new")
    assert (tmp_path / "a" if make is replacing else tmp_path / "a" / "file").read_text() == "new"


@pytest.mark.parametrize("make", [replacing, replacing_folder])
def test_a_disk_that_is_full_only_when_synced(tmp_path: Path, make, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a quota of a network's file system may be."""
    with make(tmp_path / "a") as temporary:
        (temporary if make is replacing else temporary / "file").write_text("old")

    def fails(file: int) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "fsync", fails)
    with (
        pytest.raises(DiskFullError, match=f"^{tmp_path}/a: cannot be written, because the disk"),
        make(tmp_path / "a") as temporary,
    ):
        (temporary if make is replacing else temporary / "file").write_text("new")
    assert (tmp_path / "a" if make is replacing else tmp_path / "a" / "file").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]
