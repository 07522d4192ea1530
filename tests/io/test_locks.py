"""Locks: who holds one, what is left of it, and file systems that have none."""

import errno
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nucseg_jax.errors import InUseError
from nucseg_jax.io import locks
from nucseg_jax.io.files import replacing_folder
from nucseg_jax.io.locks import alone, hold, is_held_here, lock_beside, lock_inside

HOLD = """
import json
import sys
from pathlib import Path
from nucseg_jax.io.locks import hold
with hold(Path(sys.argv[1]), Path("a"), json.loads(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


class Holder:
    """Another process that holds a lock, until it is told to end or is killed."""

    def __init__(self, lock: Path, task: dict | None = None):
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(lock), json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None and self.process.stdout.readline() == "held\n"

    def __enter__(self) -> subprocess.Popen:
        return self.process

    def __exit__(self, *exception: object) -> None:
        self.process.communicate(timeout=30)


def test_a_second_process_is_told_who_holds_it(tmp_path: Path) -> None:
    lock = lock_beside(tmp_path / "a")
    with Holder(lock) as holder:
        message = (
            rf"a: process {holder.pid} on \S+ \(since \d{{4}}-\d\d-\d\d \d\d:\d\d UTC\) works on it\. Wait "
            r"until that ends, or give another folder"
        )
        with pytest.raises(InUseError, match=message), hold(lock, tmp_path / "a"):
            pass
        with pytest.raises(InUseError), replacing_folder(tmp_path / "a"):
            pass
        assert lock.exists()
    assert list(tmp_path.iterdir()) == []  # it deletes its lock
    with hold(lock, tmp_path / "a") as locked:
        assert locked


def test_what_a_killed_process_leaves_is_free(tmp_path: Path) -> None:
    lock = lock_inside(tmp_path)
    with Holder(lock) as holder:
        holder.kill()
        holder.wait()
    assert lock.exists()
    with hold(lock, tmp_path) as locked:
        assert locked and f'"process": {os.getpid()}' in lock.read_text()
    assert not lock.exists()


def test_a_process_may_hold_it_several_times(tmp_path: Path) -> None:
    lock = lock_inside(tmp_path)
    with hold(lock, tmp_path), hold(lock, tmp_path) as inner:
        assert inner
    assert not lock.exists()


def test_it_is_held_until_the_last_lets_go(tmp_path: Path) -> None:
    lock = lock_inside(tmp_path)
    first, second = hold(lock, tmp_path), hold(lock, tmp_path)
    first.__enter__()
    assert second.__enter__()
    first.__exit__(None, None, None)
    assert lock.exists() and is_held_here(lock)
    second.__exit__(None, None, None)
    assert not lock.exists() and not is_held_here(lock)


def test_a_lock_that_is_deleted_while_it_is_taken(tmp_path: Path, monkeypatch) -> None:
    """The holder before ends between our opening of its file and our locking of it: that locks nothing."""
    lock, original = lock_inside(tmp_path), locks.lock_descriptor
    lock.touch()
    calls = []

    def late(descriptor: int, *, blocking: bool) -> bool:
        calls.append(descriptor)
        if len(calls) == 1:
            lock.unlink()
        return original(descriptor, blocking=blocking)

    monkeypatch.setattr(locks, "lock_descriptor", late)
    with hold(lock, tmp_path):
        assert len(calls) == 2 and lock.exists()
        script = HOLD.replace('print("held", flush=True)', "pass")
        other = subprocess.run(
            [sys.executable, "-c", script, str(lock), "null"], capture_output=True, text=True
        )
        assert other.returncode != 0 and "InUseError" in other.stderr


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks(tmp_path: Path, monkeypatch, number: int) -> None:
    def none(descriptor: int, *, blocking: bool) -> bool:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks, "lock_descriptor", none)
    said: list[str] = []
    with alone(lock_inside(tmp_path), tmp_path, said.append):
        assert list(tmp_path.iterdir()) == []
        with hold(lock_inside(tmp_path), tmp_path) as locked:
            assert not locked, "the second time, too"
    assert len(said) == 1 and re.match(r"note: .*: this file system has no locks", said[0])


def test_a_lock_of_another_machine_stays_where_this_one_has_none(tmp_path: Path, monkeypatch) -> None:
    def none(descriptor: int, *, blocking: bool) -> bool:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks, "lock_descriptor", none)
    lock_inside(tmp_path).write_text("that machine's")
    with hold(lock_inside(tmp_path), tmp_path) as locked:
        assert not locked
    assert lock_inside(tmp_path).read_text() == "that machine's"


def test_the_task_of_the_holder_is_known(tmp_path: Path) -> None:
    task = {"source": "/slides/" + "µ" * 5000, "mpp": 0.25}
    with Holder(lock_inside(tmp_path), task):
        with pytest.raises(InUseError) as caught, hold(lock_inside(tmp_path), tmp_path):
            pass
    assert caught.value.task == task


@pytest.mark.parametrize("function", ["open", "stat", "lock_descriptor"])
@pytest.mark.parametrize("always", [False, True])
def test_a_file_that_has_vanished_on_a_network_file_system(
    tmp_path: Path, monkeypatch, function: str, always: bool
) -> None:
    module = locks if function == "lock_descriptor" else os
    original, calls = getattr(module, function), []

    def stale(path, *arguments, **options):
        if function == "lock_descriptor" or path == lock_inside(tmp_path):
            calls.append(path)
            if len(calls) == 1 or (always and function != "stat"):
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return original(path, *arguments, **options)

    monkeypatch.setattr(module, function, stale)
    if always and function != "stat":
        with pytest.raises(OSError, match="Stale"), hold(lock_inside(tmp_path), tmp_path):
            pass
    else:
        with hold(lock_inside(tmp_path), tmp_path) as locked:
            assert locked and len(calls) >= 2


def test_many_processes_one_at_a_time(tmp_path: Path) -> None:
    """Each counts up; deleting the lock at the end lets no two in at once."""
    script = """
import sys
from pathlib import Path
from nucseg_jax.errors import InUseError
from nucseg_jax.io.locks import hold, lock_inside
folder, done = Path(sys.argv[1]), 0
while done < 100:
    try:
        with hold(lock_inside(folder), folder):
            (folder / "inside").touch(exist_ok=False)
            done += 1
            (folder / "inside").unlink()
    except InUseError:
        pass
"""
    started = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) for _ in range(3)]
    assert [process.wait(timeout=120) for process in started] == [0, 0, 0]
    assert list(tmp_path.iterdir()) == []


def test_threads_do_not_wait_for_each_other(tmp_path: Path) -> None:
    with hold(lock_inside(tmp_path), tmp_path):
        seen: list[bool] = []

        def take() -> None:
            with hold(lock_inside(tmp_path), tmp_path) as locked:
                seen.append(locked)

        thread = threading.Thread(target=take)
        thread.start()
        thread.join(10)
        assert seen == [True]
