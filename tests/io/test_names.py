"""Names of temporary files: they fit, are never the same, and are known again."""

import os
import socket
from pathlib import Path

import pytest

from nucseg_jax.io.files import replacing, replacing_folder
from nucseg_jax.io.locks import lock_beside
from nucseg_jax.io.names import MOST_BYTES, beside, final, host, host_of, is_marked, is_plain, shortened


def test_names_are_never_the_same(tmp_path: Path) -> None:
    assert len({beside(tmp_path / "a", "tmp") for _ in range(100)}) == 100


@pytest.mark.parametrize("name", ["a" * 255, "µ" * 127 + "b", os.fsdecode(b"\xff" * 255)])
def test_long_names_fit_and_are_known_again(tmp_path: Path, name: str, monkeypatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "node-17." + "x" * 230)
    for kind in ("tmp", "old", "scratch"):
        path = beside(tmp_path / name, kind)
        assert len(os.fsencode(path.name)) <= MOST_BYTES
        assert is_marked(path.name) and host_of(tmp_path / name, path.name) == host()
        assert host_of(tmp_path / f"{name[:-1]}c", path.name) is None
        path.mkdir()  # the file system takes it
    assert len(os.fsencode(lock_beside(tmp_path / name).name)) <= MOST_BYTES


@pytest.mark.parametrize(
    ("name", "plain"),
    [("TCGA-1.2 µ", True), ("µ" * 127 + "b", True), ("µ" * 128, False), ("a/b", False), ("..", False)]
    + [("a\\b", False), ("", False), ("a\n", False), ("\ud800", False)],
)
def test_what_can_be_the_name_of_a_file(name: str, plain: bool) -> None:
    assert is_plain(name) is plain


def test_a_shortened_name_is_the_same_everywhere_and_nobody_elses() -> None:
    assert shortened("b" * 200, 55) == "b" * 200
    assert shortened("b" * 201, 55) == "b" * 191 + "~19f51486"
    assert shortened("b" * 200 + "c", 55) != shortened("b" * 200 + "d", 55)
    assert shortened("µ" * 200).startswith("µ" * 123 + "~")  # no half letter


def test_whose_a_name_is() -> None:
    marked = beside(Path("out/a.b"), "tmp").name
    assert host_of(Path("out/a.b"), marked) == host()
    assert host_of(Path("out/a"), marked) is None
    assert host_of(Path("out/a.b"), "a.b.2019.old") is None and not is_marked("a.b.2019.old")
    assert final(Path("out") / marked / "nuclei.csv") == Path("out/a.b/nuclei.csv")
    scratch = beside(Path("/scratch/nucseg"), "scratch")
    assert final(scratch / "probabilities-x" / "0.planes") == Path("/scratch")
    old = beside(Path("out/a.b"), "old")
    assert final(old) == old


@pytest.mark.parametrize("make", [replacing, replacing_folder])
def test_files_and_folders_of_the_longest_names(tmp_path: Path, make) -> None:
    path = tmp_path / ("n" * 255)
    with make(path) as temporary:
        (temporary if make is replacing else temporary / "file").write_text("new")
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
