"""The process that reads damaged inputs: one serves many, with a limit on its memory."""

import contextlib
import faulthandler
import gc
import importlib
import os
import re
import shutil
import signal
import tempfile
import traceback
import warnings
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

ALLOWANCE_BYTES = 3 * 2**30
"""Of memory beyond what a process has that has read whole inputs."""

_OPEN_FILES = 8  # more than before, that libraries may keep
_REMEDY = re.compile(
    r"\b(again|give|check|save|set|use|take|delete|rename|renumber|train|convert|export|must|needs?|expected|leave|"
    r"choose|cut|correct|of the form|name|did you mean|known are|takes|copy|keep|resample|"
    r"such as|are written|means?)\b",
    re.IGNORECASE,
)


class Verdict(NamedTuple):
    """What became of an input.

    Attributes:
      outcome: RIGHT, REFUSED, or the kind of failure.
      detail: the message, or where and how it failed.
    """

    outcome: str
    detail: str


RIGHT, REFUSED = "right", "refused"


def serve(pipe: Connection, table: str, scratch: Path) -> None:
    """Answer until the pipe ends.

    Args:
      pipe: gets (reader's name, whole inputs), which are answered by what is wrong with them or "", and
        (path, None), which is answered by a Verdict.
      table: the module that has READERS.
      scratch: folder for temporary files; `dump` in it says where a process was that died or hung.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    os.environ["XLA_FLAGS"] = ""  # tests simulate eight devices
    os.environ["JAX_PLATFORMS"] = "cpu"
    _silence()
    dump = (scratch / "dump").open("w")
    faulthandler.enable(dump)
    temporary = scratch / "tmp"
    temporary.mkdir(exist_ok=True)
    tempfile.tempdir = os.environ["TMPDIR"] = str(temporary)
    warnings.simplefilter("ignore")
    readers = importlib.import_module(table).READERS
    reader, originals = None, []
    while (message := pipe.recv()) is not None:
        first, wholes = message
        if wholes is not None:
            reader = readers[first]
            limit_memory(None)
            originals, problem = _read_whole(reader, wholes)
            limit_memory(ALLOWANCE_BYTES)
            pipe.send(problem)
        else:
            pipe.send(judge(reader, first, originals, temporary))


def judge(reader: Any, path: Path, originals: Sequence[Any], temporary: Path) -> Verdict:
    """Read an input, and hold what happens against the contract."""
    before, files = _listing(path.parent), _open_files()
    try:
        verdict = _outcome(reader, path, originals)
    except SystemExit as error:
        verdict = Verdict("SystemExit", f"{error}")
    left = list(temporary.iterdir())
    for place in left:
        shutil.rmtree(place, ignore_errors=True) if place.is_dir() else place.unlink()
    if left or _listing(path.parent) != before:
        verdict = Verdict(
            "files left behind or changed", str(sorted(_listing(path.parent).keys() ^ before.keys()))
        )
    if _open_files() > files + _OPEN_FILES:
        gc.collect()
        if (now := _open_files()) > files + _OPEN_FILES:
            verdict = Verdict("files left open", f"{now - files}")
    return verdict


def limit_memory(allowance: int | None) -> None:
    """Limit this process to what it has and `allowance`, where the system can do that; None: no limit."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError):
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = resource.RLIM_INFINITY if allowance is None else pages * resource.getpagesize() + allowance
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _outcome(reader: Any, path: Path, originals: Sequence[Any]) -> Verdict:
    from nucseg_jax.errors import UserError

    try:
        result = reader.read(path)
    except UserError as error:
        return _refusal(reader, path, error)
    except Exception as error:
        return Verdict(_place(error), traceback.format_exc(limit=-6))
    try:
        reader.check(result, originals)
    except Exception:
        return Verdict("wrong result", traceback.format_exc(limit=-2))
    return Verdict(RIGHT, "")


def _refusal(reader: Any, path: Path, error: Exception) -> Verdict:
    message = str(error)
    lines = message.split("\n")
    if len(lines) > reader.most_lines or not all(line.isprintable() for line in lines):
        return Verdict("message of several lines or odd signs", repr(message[:600]))
    if len(message) > 1500:
        return Verdict("endless message", message[:600])
    if not re.search(reader.subject or re.escape(path.name), message):
        return Verdict("message without the file", message[:600])
    if not _REMEDY.search(message.replace(str(path), "")):
        return Verdict("message without a remedy", message[:600])
    return Verdict(REFUSED, message)


def _place(error: BaseException) -> str:
    """The type of an error, and the last line of this project that it came through."""
    root = str(Path(__file__).parents[2])
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if f.filename.startswith(root) and "/tests/" not in f.filename
    ]
    where = f" at {os.path.relpath(frames[-1].filename, root)}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"


def _read_whole(reader: Any, wholes: Sequence[Path]) -> tuple[list[Any], str]:
    try:
        originals = [reader.read(path) for path in wholes]
        for original in originals:
            reader.check(original, originals)
    except Exception:
        return [], traceback.format_exc(limit=-8)
    return originals, ""


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def _open_files() -> int:
    with contextlib.suppress(OSError):
        return len(os.listdir("/proc/self/fd"))
    return 0


def _silence() -> None:
    """Libraries of C write to the standard streams."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
