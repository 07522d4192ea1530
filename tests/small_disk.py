"""Disks that are full, or cannot be written: a tmpfs that is mounted where only one command sees it."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

_MOUNT = 'mount -t tmpfs -o size=$1k none "$2" && shift 2 && "$@"; code=$?; '
_LIST = 'echo "LEFT:"; find "$folder" -mindepth 1 -printf "%P\\n"; exit $code'


def run_on_read_only_disk(folder: Path, command: Sequence[str | Path]) -> tuple[int, str]:
    """Run a command while nothing can be written to a folder: its exit status, and what it printed."""
    _check_mounts(folder)
    script = 'mount -t tmpfs none "$1" && mount -o remount,ro "$1" && shift && exec "$@"'
    result = _run(["sh", "-c", script, "sh", str(folder), *map(str, command)])
    return result.returncode, result.stdout


def run_on_small_disk(
    folder: Path, kilobytes: int, command: Sequence[str | Path]
) -> tuple[int, str, list[str]]:
    """Run a command with a small disk mounted at an empty folder.

    Returns:
      Its exit status; what it printed; what it left on the disk.
    """
    _check_mounts(folder)
    script = 'folder="$2"; ' + _MOUNT + _LIST
    result = _run(["sh", "-c", script, "sh", str(kilobytes), str(folder), *map(str, command)])
    printed, _, left = result.stdout.partition("LEFT:\n")
    return result.returncode, printed, sorted(left.splitlines())


def _check_mounts(folder: Path) -> None:
    """Skip a test where a process may not mount what only it sees."""
    if shutil.which("unshare") is None:
        pytest.skip("there is no `unshare`")
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(folder)]
    if subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("this machine does not let a test mount a file system of its own")


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["unshare", "-rm", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(__file__).parents[1],
    )
