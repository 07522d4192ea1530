"""Commands as processes of their own: killed at some moment, or watched while they run."""

import contextlib
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

ROOT = Path(__file__).parents[2]
_LONGEST_S = 1800.0
_LOOKS = 20


class Moment(NamedTuple):
    """When a process is killed.

    Attributes:
      begun: waited for; it is given the number of the process, since an earlier one may have left the same.
      longest_s: then a time from 0 to this many seconds passes, drawn at random.
    """

    begun: Callable[[int], bool]
    longest_s: float = 0.0


def at_once(process: int) -> bool:
    """What is begun when the process is."""
    return True


def marked_by(folder: Path, process: int) -> list[Path]:
    """What a process has begun in a folder (`io.names.beside`)."""
    own = re.compile(rf"-{process}-[0-9a-f]{{8}}\.(tmp|scratch)$")
    return [path for path in folder.iterdir() if own.search(path.name)] if folder.is_dir() else []


class Killing(NamedTuple):
    """What killing a command until it was done came to.

    Attributes:
      found: what it had been doing each time it was killed, by the caller's words.
      output: of the last run, which ended by itself.
    """

    found: list[str]
    output: str


def python(*arguments: str | Path) -> list[str]:
    """The command line of a module of Python, such as ("-m", "nucseg_jax.main")."""
    return [sys.executable, *map(str, arguments)]


def finished(command: Sequence[str]) -> str:
    """What a command prints that must succeed."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_LONGEST_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def killed_again_and_again(
    command: Sequence[str], moments: Sequence[Moment], *, doing: Callable[[int], str], seed: int
) -> Killing:
    """Start a command and kill it (SIGKILL), once for each of `moments`; then let it end.

    Args:
      command: that goes on where it was killed.
      moments: in order.
      doing: what a process was doing, asked when it has been killed.
      seed: of the times.
    """
    draw = random.Random(seed)
    found = []
    for moment in moments:
        with _started(command) as (process, output):
            deadline = time.monotonic() + _LONGEST_S
            while process.poll() is None and not moment.begun(process.pid):
                assert time.monotonic() < deadline, f"{moment} did not come: {output()}"
                time.sleep(0.001)
            time.sleep(draw.uniform(0, moment.longest_s))
            assert process.poll() is None, f"it ended before it could be killed: {output()}"
            children = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.wait()
            found.append(doing(process.pid))
        _, alive = psutil.wait_procs(children, timeout=60)
        assert not alive, f"processes outlive their parent: {alive}"
    return Killing(found, finished(command))


def stopped(command: Sequence[str], begun: Callable[[int], bool]) -> tuple[int, str]:
    """Start a command, and ask it to stop (SIGTERM) when something has begun: its exit status and output."""
    with _started(command) as (process, output):
        deadline = time.monotonic() + _LONGEST_S
        while process.poll() is None and not begun(process.pid):
            assert time.monotonic() < deadline, output()
            time.sleep(0.001)
        assert process.poll() is None, f"it ended before it could be stopped: {output()}"
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        status = process.wait(timeout=_LONGEST_S)
        printed = output()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive, f"processes outlive their parent: {alive}"
    return status, printed


@contextlib.contextmanager
def _started(command: Sequence[str]) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], str]]]:
    """A process, and what it has printed; killed at the end of the block if it still runs."""
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(command, cwd=ROOT, stdout=printed, stderr=subprocess.STDOUT)

        def output() -> str:
            printed.seek(0)
            return printed.read().decode(errors="replace")

        try:
            yield process, output
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


class Usage(NamedTuple):
    """What a process, with its children, has at a moment.

    Attributes:
      memory_mb: resident, its own and unshared.
      files: open file descriptors.
      threads: of all processes.
    """

    memory_mb: float
    files: int
    threads: int


def watched(command: Sequence[str], progress: Callable[[], int], at: Sequence[int]) -> dict[int, Usage]:
    """Run a command, and look at it when it has come so far.

    Args:
      command: it must succeed.
      progress: how far it is.
      at: of `progress`, in order.

    Returns:
      What it had when `progress` first was at, or past, each of `at`: the least of several looks, since files
      are open, and memory is taken, for a moment only.
    """
    found: dict[int, Usage] = {}
    left = list(at)
    deadline = time.monotonic() + _LONGEST_S
    with _started(command) as (process, output):
        while process.poll() is None:
            assert time.monotonic() < deadline, f"after {_LONGEST_S:.0f} s it still runs: {output()}"
            if left and progress() >= left[0]:
                found[left.pop(0)] = _least(process)
            time.sleep(0.05)
        assert process.returncode == 0, output()
    assert not left, f"it ended before it was looked at {left}"
    return found


def _least(process: subprocess.Popen[bytes]) -> Usage:
    """The least of what a process has in the next second."""
    looks = []
    for _ in range(_LOOKS):
        if (usage := _usage(process.pid)) is not None:
            looks.append(usage)
        time.sleep(1 / _LOOKS)
    assert looks, "it ended while it was looked at"
    return Usage(*map(min, zip(*looks, strict=True)))


def _usage(number: int) -> Usage | None:
    """None where a process ends at this moment."""
    try:
        parent = psutil.Process(number)
        all_of_them = [parent, *parent.children(recursive=True)]
        memory = sum(process.memory_full_info().uss for process in all_of_them)
        files = sum(process.num_fds() for process in all_of_them)
        return Usage(memory / 1e6, files, sum(process.num_threads() for process in all_of_them))
    except psutil.NoSuchProcess:
        return None
