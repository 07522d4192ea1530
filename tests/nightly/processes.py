"""Commands as processes of their own: killed at some moment, or watched while they run."""

import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

ROOT = Path(__file__).parents[2]
_LONGEST_S = 900.0


class Killing(NamedTuple):
    """What killing a command until it was done came to.

    Attributes:
      moments: what it was doing each time it was killed, by the caller's words.
      output: of the last run, which ended by itself.
    """

    moments: list[str]
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
    command: Sequence[str],
    *,
    times: int,
    started: Callable[[], bool],
    longest_s: float,
    doing: Callable[[], str],
    seed: int,
) -> Killing:
    """Start a command, kill it (SIGKILL) at a random moment of its work, and again; then let it end.

    Args:
      command: that goes on where it was killed.
      times: of killing.
      started: whether its work has begun, so that not the imports alone are killed.
      longest_s: the moment is drawn from 0 to this many seconds after `started`.
      doing: what it is doing now, asked when it has been killed.
      seed: of the moments.
    """
    draw = random.Random(seed)
    moments = []
    for _ in range(times):
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            deadline = time.monotonic() + _LONGEST_S
            while process.poll() is None and not started() and time.monotonic() < deadline:
                time.sleep(0.005)
            time.sleep(draw.uniform(0, longest_s))
            children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            assert process.poll() is None, f"it ended before it could be killed: {process.communicate()[0]}"
            process.kill()
            process.wait()
            moments.append(doing())
        _, alive = psutil.wait_procs(children, timeout=10)
        assert not alive, f"processes outlive their parent: {alive}"
    return Killing(moments, finished(command))


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
      What it had when `progress` first was at, or past, each of `at`.
    """
    found: dict[int, Usage] = {}
    left = list(at)
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        while process.poll() is None:
            while left and progress() >= left[0]:
                usage = _usage(process.pid)
                if usage is not None:
                    found[left.pop(0)] = usage
            time.sleep(0.05)
        output = process.stdout.read()
    assert process.returncode == 0, output
    assert not left, f"it ended before it was looked at {left}"
    return found


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
