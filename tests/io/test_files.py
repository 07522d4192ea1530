"""Files and folders that appear whole, and what killed processes leave of them."""

import os
import socket
from pathlib import Path

import pytest

from nucseg_jax.io.files import printable, replacing, replacing_folder
from nucseg_jax.io.leftovers import remove_leftovers
from nucseg_jax.io.names import beside


def test_names_are_never_the_same(tmp_path: Path) -> None:
    assert len({beside(tmp_path / "a", "tmp") for _ in range(100)}) == 100


def test_leftovers(tmp_path: Path) -> None:
    host = socket.gethostname()
    gone = [f"a[1].{host}-999999999-0123abcd.{kind}" for kind in ("tmp", "old", "scratch")]
    kept = [
        "a[1]",
        "a[1].2019.old",  # a user's
        f"a[1].{host}-{os.getppid()}-0123abcd.tmp",
        "a[1].elsewhere-999999999-0123abcd.tmp",
        f"a1.{host}-999999999-0123abcd.tmp",
    ]
    for name in gone + kept:
        (tmp_path / name).mkdir()
    (tmp_path / f"a[1].{host}-999999998-0123abcd.tmp").touch()
    (tmp_path / f"a[1].{host}-{os.getpid()}-0123abcd.tmp").touch()  # of a container that was restarted
    remove_leftovers(tmp_path / "a[1]")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    remove_leftovers(tmp_path / "none" / "a")

    (tmp_path / "link").symlink_to(tmp_path / "a[1]")
    (tmp_path / gone[0]).mkdir()
    remove_leftovers(tmp_path / "link")
    assert not (tmp_path / gone[0]).exists()


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
