"""Readers that break the contract, each in its own way: what the fuzzing must see."""

import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nucseg_jax.errors import DataError
from tests.fuzz.readers import Reader

_open: list[Any] = []


def _whole(folder: Path) -> list[Path]:
    (folder / "a.txt").write_text("whole")
    return [folder / "a.txt"]


def _right(path: Path) -> str:
    text = path.read_text(errors="replace")
    if text == "whole":
        return text
    raise DataError(f"{path}: is damaged. Copy it again")


def _faulty(fault: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """Right for the whole file, `fault` for others."""
    return lambda path: "whole" if path.read_bytes() == b"whole" else fault(path)


def _say(*lines: str) -> Callable[[Path], Any]:
    def read(path: Path) -> Any:
        raise DataError(*(line.format(path=path) for line in lines))

    return _faulty(read)


def _crash(path: Path) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _hang(path: Path) -> None:
    time.sleep(1000)


def _use_memory(path: Path) -> int:
    return len(np.ones(2**33, np.uint8))  # 8 GiB, each page of them


def _leave_temporary(path: Path) -> str:
    tempfile.mkstemp()
    return "whole"


def _change_input(path: Path) -> str:
    path.write_text("whole")
    return "whole"


def _keep_open(path: Path) -> str:
    _open.extend(path.open() for _ in range(20))
    return "whole"


def _check(result: Any, _: Sequence[Any]) -> None:
    assert result == "whole"


FAULTS = {
    "none": (_right, "refused"),
    "crash": (_faulty(_crash), "crash (status -11)"),
    "hang": (_faulty(_hang), "hang"),
    "memory": (_faulty(_use_memory), "MemoryError"),
    "traceback": (_faulty(lambda path: [][0]), "IndexError"),
    "exit": (_faulty(lambda path: os._exit(3)), "crash (status 3)"),
    "wrong": (_faulty(lambda path: "another thing"), "wrong result"),
    "temporary": (_faulty(_leave_temporary), "files left behind or changed"),
    "changed": (_faulty(_change_input), "files left behind or changed"),
    "open": (_faulty(_keep_open), "files left open"),
    "two lines": (_say("{path}: is damaged.", "Copy it again"), "message of several lines or odd signs"),
    "odd signs": (_say("{path}: is \u200bdamaged. Copy it again"), "message of several lines or odd signs"),
    "endless": (_say("{path}: is damaged. Copy it again" + "a" * 2000), "endless message"),
    "no name": (_say("is damaged. Copy it again"), "message without the file"),
    "no remedy": (_say("{path}: is damaged"), "message without a remedy"),
}
"""Name → (reader, what must be seen)."""

READERS = {name: Reader(name, _whole, read, _check) for name, (read, _) in FAULTS.items()}
