"""Several processes over one folder, names that nobody planned for, and disks that become full."""

import errno
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from nucseg_jax.inference.segmentation import Segmentation
from nucseg_jax.inference.tile_store import TilesOnDisk
from nucseg_jax.io import disk, locks
from nucseg_jax.io.leftovers import SCRATCH
from nucseg_jax.io.locks import lock_beside
from nucseg_jax.io.names import host
from nucseg_jax.predict import attempts, one_slide, rounds, space
from tests.io.test_locks import Holder
from tests.predict.test_command import predict, tissue, write_tiff
from tests.small_disk import run_on_small_disk
from tests.untrained import write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"), instances__method="components")


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    (tmp_path / "slides").mkdir()
    for name in ("a", "b"):
        write_tiff(tmp_path / "slides" / f"{name}.tif", tissue())
    return tmp_path / "slides"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_slide_that_another_process_gives_up_is_done_at_the_end(
    run: Path, slides: Path, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Success is never reported for a slide that nobody did."""
    out = tmp_path / "out"
    out.mkdir()
    (out / f"a.{host()}-1-0123abcd.tmp").mkdir()  # that process's
    holder = Holder(lock_beside(out / "a"))

    def wait(seconds: float) -> None:
        assert (out / "b" / "summary.json").exists() and not (out / "a").exists()
        assert (out / f"a.{host()}-1-0123abcd.tmp").exists()
        monkeypatch.setattr(rounds.time, "sleep", sleep)
        holder.__exit__()  # it ends without a result

    sleep = rounds.time.sleep
    monkeypatch.setattr(rounds.time, "sleep", wait)
    assert predict(run, out, slides, "--formats", "csv") == 0
    printed = capsys.readouterr().out
    waiting = "waiting for other processes, which work on these slides:\n"
    assert f"{waiting}  {slides / 'a.tif'}: process {holder.process.pid} on " in printed
    assert (out / "a" / "nuclei.csv").exists() and names_in(out) == ["a", "b"]


def test_a_slide_that_another_process_finishes_during_the_wait(
    run: Path, slides: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    holder = Holder(lock_beside(out / "a"))

    def wait(seconds: float) -> None:
        monkeypatch.setattr(rounds.time, "sleep", sleep)
        holder.__exit__()
        assert predict(run, out, slides / "a.tif", "--formats", "csv") == 0

    sleep = rounds.time.sleep
    monkeypatch.setattr(rounds.time, "sleep", wait)
    assert predict(run, out, slides / "a.tif", "--formats", "csv") == 0
    assert f"{slides / 'a.tif'}: another process has finished it" in capsys.readouterr().out


@pytest.mark.parametrize("overwrite", [False, True])
def test_another_slide_for_the_folder_that_another_process_fills(
    run: Path, slides: Path, tmp_path: Path, capsys, overwrite: bool
) -> None:
    """Of P1/HE and P2/HE over one --out, started at once, the second is refused, and not left undone."""
    out = tmp_path / "out"
    out.mkdir()
    options = ["--formats", "csv", *(["--overwrite"] if overwrite else [])]
    with Holder(lock_beside(out / "a"), {"source": "/P1/a.tif"}) as holder:
        assert predict(run, out, slides / "a.tif", *options) == 1
    said = capsys.readouterr().err
    assert f"{out / 'a'}: process {holder.pid} on " in said
    assert "writes results of another slide, run or setting there" in said
    assert f"source '/P1/a.tif' and not '{slides / 'a.tif'}'" in said and "Give another --out" in said
    assert names_in(out) == []


def test_a_lock_that_cannot_be_taken_fails_its_slide_only(
    run: Path, slides: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    original = attempts.hold

    def broken(lock: Path, *arguments):
        if lock == lock_beside(tmp_path / "out" / "a"):
            raise OSError(errno.EBADF, "Bad file descriptor")
        return original(lock, *arguments)

    monkeypatch.setattr(attempts, "hold", broken)
    assert predict(run, tmp_path / "out", slides, "--formats", "csv") == 1
    said = capsys.readouterr().err
    assert f"  {slides / 'a.tif'}: {tmp_path / 'out' / '.a.lock'}: cannot be locked (Bad file" in said
    assert names_in(tmp_path / "out") == ["b"]


def test_a_result_that_was_moved_away_is_found_again(run: Path, slides: Path, tmp_path: Path, capsys) -> None:
    """A process was killed while it replaced the result, between its two renames."""
    out = tmp_path / "out"
    assert predict(run, out, slides / "a.tif", "--formats", "csv") == 0
    (out / "a").rename(out / f"a.{host()}-999999999-0123abcd.old")
    (out / f"a.{host()}-999999999-0123abcd.tmp").mkdir()
    assert predict(run, out, slides / "a.tif", "--formats", "csv") == 0
    assert "1 of 1 finished already" in capsys.readouterr().out
    assert names_in(out) == ["a"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_slide_that_another_process_finishes_meanwhile_is_not_done_again(
    run: Path, slides: Path, tmp_path: Path, monkeypatch, capsys, overwrite: bool
) -> None:
    out, original = tmp_path / "out", one_slide.segment
    segmented = []

    def segment(job, *arguments, **options):
        segmented.append(job.source.name)
        if len(segmented) == 1:  # while this process does the first slide, another does the second
            monkeypatch.setattr(one_slide, "segment", original)
            assert predict(run, out, slides / "b.tif", *arguments_of_both) == 0
            monkeypatch.setattr(one_slide, "segment", segment)
        return original(job, *arguments, **options)

    arguments_of_both = ["--formats", "csv", *(["--overwrite"] if overwrite else [])]
    if overwrite:
        assert predict(run, out, slides, "--formats", "csv") == 0
    monkeypatch.setattr(one_slide, "segment", segment)
    assert predict(run, out, slides, *arguments_of_both) == 0
    assert segmented == ["a.tif"]
    assert f"{slides / 'b.tif'}: another process has finished it" in capsys.readouterr().out


def test_a_file_system_without_locks(run: Path, slides: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    def none(descriptor: int, *, blocking: bool) -> bool:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks, "lock_descriptor", none)
    assert predict(run, tmp_path / "out", slides, "--formats", "csv") == 0
    assert capsys.readouterr().out.count("this file system has no locks") == 1
    assert names_in(tmp_path / "out") == ["a", "b"]


def test_names_that_nobody_planned_for(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long, odd = "l" * 251 + ".tif", "b\nerror: \x1b[31mred.tif"
    for name in (long, odd):
        write_tiff(tmp_path / "short.tif", tissue()).rename(tmp_path / name)
    (tmp_path / "gone.tif").symlink_to(tmp_path / "nowhere.tif")
    (tmp_path / "loop.tif").symlink_to(tmp_path / "loop.tif")
    (tmp_path / f"{'d' * 251}.tif").write_bytes(b"damaged")
    out = tmp_path / "out"
    assert predict(run, out, tmp_path, "--formats", "csv") == 1
    assert names_in(out) == ["b\nerror: \x1b[31mred", "l" * 251]
    printed = capsys.readouterr()
    assert r"b\nerror: \x1b[31mred.tif: " in printed.out
    assert "\x1b[31m" not in printed.out + printed.err
    assert printed.err.splitlines()[-4:] == [
        "error: 3 failed:",
        f"  {tmp_path / ('d' * 251)}.tif: " + printed.err.splitlines()[-3].partition(".tif: ")[2],
        f"  {tmp_path / 'gone.tif'}: is a link to {tmp_path / 'nowhere.tif'}, which is not there",
        f"  {tmp_path / 'loop.tif'}: is a link to {tmp_path / 'loop.tif'}, which is not there",
    ]


def test_a_failure_of_a_long_name_is_remembered(run: Path, tmp_path: Path, monkeypatch) -> None:
    path = write_tiff(tmp_path / "a.tif", tissue()).rename(tmp_path / f"{'l' * 251}.tif")
    monkeypatch.setattr(one_slide, "open_slide", lambda *a, **o: 1 / 0)
    assert predict(run, tmp_path / "out", path) == 1
    (file,) = (tmp_path / "out").iterdir()
    assert file.name.startswith("l" * 200) and file.name.endswith(".error.txt")


def test_a_file_that_may_not_be_read(run: Path, slides: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    original = Path.open

    def refuse(path: Path, *arguments, **options):  # root may read all
        if path.name == "a.tif":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return original(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    assert predict(run, tmp_path / "out", slides, "--formats", "csv") == 1
    expected = f"  {slides / 'a.tif'}: cannot be read (Permission denied). Ask for permission to read it\n"
    assert capsys.readouterr().err.endswith(f"error: 1 failed:\n{expected}")
    assert names_in(tmp_path / "out") == ["b"]


def test_the_same_names_in_several_folders(run: Path, tmp_path: Path) -> None:
    for patient in ("P1", "P2"):
        (tmp_path / patient).mkdir()
        write_tiff(tmp_path / patient / "HE.tif", tissue())
    out, both = tmp_path / "out", [tmp_path / "P1", tmp_path / "P2"]
    for patient, share in zip(both, ("1/2", "2/2"), strict=True):
        assert predict(run, out, *both, "--share", share, "--formats", "csv") == 0
        assert (out / f"{patient.name}_HE" / "nuclei.csv").exists()
    assert names_in(out) == ["P1_HE", "P2_HE"]


def test_a_disk_that_becomes_full(run: Path, slides: Path, tmp_path: Path) -> None:
    """One stop, in the middle of the first slide; nothing half-written is left."""
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-m", "nucseg_jax.predict", "--workdir", run, "--workers", "0"]
    status, printed, left = run_on_small_disk(out, 20, [*command, "--out", out, slides])
    assert status == 1, printed
    errors = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and errors[0].startswith(f"error: {out / 'a'}")
    assert (
        "because the disk (or your quota on it) is full. Make room, and start the command again" in errors[0]
    )
    assert "b.tif" not in printed and "Traceback" not in printed
    assert left == []


class TestTemporaryFiles:
    """Of slides so large that they are not segmented in memory."""

    @pytest.fixture(autouse=True)
    def large(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Segmentation, "_is_small", lambda self: False)

    def test_they_go_to_the_folder_that_is_named(self, run, slides, tmp_path, monkeypatch) -> None:
        scratch, seen = tmp_path / "scratch", []
        original = one_slide.scratch_folder
        killed = scratch / f"{SCRATCH}.{host()}-999999999-0123abcd.scratch"
        killed.mkdir(parents=True)
        monkeypatch.setattr(
            one_slide, "scratch_folder", lambda folder: seen.append(folder) or original(folder)
        )
        assert predict(run, tmp_path / "out", slides, "--scratch", scratch, "--formats", "csv") == 0
        assert seen == [scratch, scratch] and names_in(scratch) == []
        assert names_in(tmp_path / "out") == ["a", "b"]

    @pytest.mark.parametrize("why", ["in memory", "too small"])
    def test_they_go_beside_the_results_where_the_system_has_no_place(
        self, run, slides, tmp_path, monkeypatch, capsys, why: str
    ) -> None:
        (tmp_path / "tmp").mkdir()
        monkeypatch.setattr(space.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
        if why == "in memory":
            monkeypatch.setattr(disk, "in_memory", lambda folder: folder == tmp_path / "tmp")
        else:
            free = {tmp_path / "tmp": 10, tmp_path / "out": 10**12}
            monkeypatch.setattr(disk, "in_memory", lambda folder: False)
            monkeypatch.setattr(disk, "free_bytes", free.__getitem__)
        assert predict(run, tmp_path / "out", slides, "--formats", "csv") == 0
        said = "is kept in memory" if why == "in memory" else "has 0.0 MB free, and "
        printed = capsys.readouterr().out
        assert printed.count(f"note: {tmp_path / 'tmp'} {said}") == 1
        assert f"temporary files of large slides go to {tmp_path / 'out'}. --scratch names" in printed
        assert names_in(tmp_path / "out") == ["a", "b"] and names_in(tmp_path / "tmp") == []

    @pytest.mark.parametrize("shared", [False, True])
    def test_too_little_room_stops_before_the_slide(
        self, run, slides, tmp_path, monkeypatch, capsys, shared: bool
    ) -> None:
        scratch, out = tmp_path / "scratch", tmp_path / "out"
        monkeypatch.setattr(disk, "same_disk", lambda one, other: shared)
        monkeypatch.setattr(disk, "free_bytes", {scratch: 1000, out: 10**12}.__getitem__)
        assert predict(run, out, slides, "--scratch", scratch, "--formats", "csv") == 1
        printed = capsys.readouterr()
        assert printed.err.count("error: ") == 1 and "b.tif" not in printed.out + printed.err
        assert f"error: {slides / 'a.tif'}: needs about " in printed.err
        needed = " for its temporary files" + (r" and [\d.]+ MB for its results" if shared else "")
        assert re.search(f"{needed} in {scratch}, and 0.0 MB are free. Make room, or name", printed.err)
        assert not out.exists() and not scratch.exists()

    def test_a_full_disk_of_temporary_files_stops_the_command(
        self, run, slides, tmp_path, monkeypatch, capsys
    ) -> None:
        def full(path, mode, **options):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("nucseg_jax.inference.tile_store.open", full, raising=False)
        scratch = tmp_path / "scratch"
        assert predict(run, tmp_path / "out", slides, "--scratch", scratch, "--formats", "csv") == 1
        printed = capsys.readouterr()
        assert printed.err.count("error: ") == 1 and f"error: {scratch}" in printed.err
        assert not (tmp_path / "out").exists() and not scratch.exists()

    def test_the_estimate_is_what_is_written(self, run, slides, tmp_path, monkeypatch) -> None:
        estimated, written = [], []
        original = space.Space.folder_for
        store = TilesOnDisk.put

        def count(self, row, column, values):
            written.append(np.asarray(values, np.uint8).nbytes)
            store(self, row, column, values)

        def note(self, slide, formats, **options):
            estimated.append(slide.scratch_bytes)
            return original(self, slide, formats, **options)

        monkeypatch.setattr(TilesOnDisk, "put", count)
        monkeypatch.setattr(space.Space, "folder_for", note)
        assert predict(run, tmp_path / "out", slides / "a.tif", "--formats", "csv") == 0
        assert estimated == [sum(written)] and sum(written) > 0
