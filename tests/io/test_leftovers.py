"""What killed processes have left: of this machine and of others; nothing that someone still needs."""

import contextlib
import os
import socket
import time
from pathlib import Path

import pytest

from nucseg_jax.io import leftovers, locks
from nucseg_jax.io.leftovers import SCRATCH, has_leftovers, marked_in, remove_abandoned, remove_leftovers
from nucseg_jax.io.leftovers import scratch_folder as scratch
from nucseg_jax.io.locks import lock_beside, lock_inside
from nucseg_jax.io.names import host
from tests.io.test_locks import Holder

DAY_S = 24 * 3600


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    for entry in [*path.rglob("*"), path]:
        os.utime(entry, (then, then), follow_symlinks=False)


def test_leftovers(tmp_path: Path) -> None:
    gone = [f"a[1].{host()}-999999999-0123abcd.{kind}" for kind in ("tmp", "old", "scratch")]
    gone += ["a[1].elsewhere-1-0123abcd.tmp"]
    kept = [
        "a[1]",
        "a[1].2019.old",  # a user's
        "a[1].elsewhere-2-0123abcd.tmp",  # something in it is new
        f"a[1].b.{host()}-999999999-0123abcd.tmp",  # of the slide a[1].b
        f"a1.{host()}-999999999-0123abcd.tmp",
    ]
    for name in gone + kept:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
        age(tmp_path / name, 2 * DAY_S)
    os.utime(tmp_path / "a[1].elsewhere-2-0123abcd.tmp" / "file")
    (tmp_path / f"a[1].{host()}-{os.getpid()}-0123abcd.tmp").touch()  # of a container that was restarted
    lock_beside(tmp_path / "a[1]").touch()  # of a process that was killed
    assert has_leftovers(tmp_path / "a[1]", marked_in(tmp_path))
    assert not has_leftovers(tmp_path / "a", marked_in(tmp_path))
    remove_leftovers(tmp_path / "a[1]")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    remove_leftovers(tmp_path / "none" / "a")

    (tmp_path / "link").symlink_to(tmp_path / "a[1]")
    (tmp_path / gone[0]).mkdir()
    remove_leftovers(tmp_path / "link")
    assert not (tmp_path / gone[0]).exists()


@pytest.mark.parametrize("machine", ["here", "elsewhere"])
def test_nothing_of_a_living_process_is_deleted(tmp_path: Path, machine: str) -> None:
    name = host() if machine == "here" else machine
    (tmp_path / f"a.{name}-999999999-0123abcd.tmp").mkdir()
    age(tmp_path, 9 * DAY_S)
    with Holder(lock_beside(tmp_path / "a")):
        remove_leftovers(tmp_path / "a")
        assert (tmp_path / f"a.{name}-999999999-0123abcd.tmp").exists()
    remove_leftovers(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_without_locks_all_stays(tmp_path: Path, monkeypatch) -> None:
    def none(descriptor: int, *, blocking: bool) -> bool:
        raise OSError(37, "No locks available")

    (tmp_path / f"a.{host()}-999999999-0123abcd.tmp").mkdir()
    (tmp_path / f"{SCRATCH}.{host()}-999999999-0123abcd.scratch").mkdir()
    monkeypatch.setattr(locks, "lock_descriptor", none)
    remove_leftovers(tmp_path / "a")
    remove_abandoned(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_scratch_folders(tmp_path: Path) -> None:
    killed = tmp_path / f"{SCRATCH}.{host()}-999999999-0123abcd.scratch"
    foreign = tmp_path / f"{SCRATCH}.elsewhere-999999999-0123abcd.scratch"
    for folder in (killed, foreign, tmp_path / "someones.scratch"):
        folder.mkdir()
        (folder / "0.planes").touch()
    with Holder(lock_inside(killed)), scratch(tmp_path) as own:
        (own / "0.planes").touch()
        remove_abandoned(tmp_path)
        assert killed.exists() and own.exists() and foreign.exists()
    assert not own.exists()
    remove_abandoned(tmp_path)
    assert not killed.exists() and foreign.exists()
    age(foreign, 2 * DAY_S)
    remove_abandoned(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["someones.scratch"]


def test_a_scratch_folder_goes_when_the_block_raises(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), scratch(tmp_path) as folder:
        (folder / "file").touch()
        1 / 0  # noqa: B018
    assert list(tmp_path.iterdir()) == []
    assert socket.gethostname()[:3] in folder.name or host()[:3] in folder.name


@pytest.mark.parametrize("there", [False, True])
def test_an_older_folder_gets_its_name_again(tmp_path: Path, there: bool) -> None:
    """The process was killed between the two renames of `replacing_folder`."""
    ending = f"{host()}-999999999-0123abcd"
    for name, content in ((f"a.{ending}.old", "old"), (f"a.{ending}.tmp", "half"), ("a", "new")):
        if name != "a" or there:
            (tmp_path / name).mkdir()
            (tmp_path / name / "file").write_text(content)
    remove_leftovers(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a" / "file").read_text() == ("new" if there else "old")


def test_a_scratch_folder_that_someone_takes_at_that_moment_stays(tmp_path: Path, monkeypatch) -> None:
    """`remove_abandoned` has let go of its lock, and looks at the folder once more."""
    folder = tmp_path / f"{SCRATCH}.{host()}-999999999-0123abcd.scratch"
    folder.mkdir()
    original = leftovers.hold

    @contextlib.contextmanager
    def hold(lock: Path, what: Path):
        with original(lock, what) as locked:
            yield locked
        folder.mkdir(exist_ok=True)
        (folder / "0.planes").touch()

    monkeypatch.setattr(leftovers, "hold", hold)
    remove_abandoned(tmp_path)
    assert (folder / "0.planes").exists()
