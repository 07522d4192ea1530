"""Makes damaged inputs, and has a child read them, which is started again when one ends it."""

import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Self

from tests.fuzz.child import REFUSED, RIGHT, Verdict, serve
from tests.fuzz.mutations import mutate
from tests.fuzz.readers import Reader
from tests.fuzz.structured import mutations_of

LIMIT_S = 30.0
"""That an input may take, on a machine that is busy; most take milliseconds."""

START_LIMIT_S = 300.0
"""That a child may take to start and to read the whole inputs, imports included."""


class FuzzError(Exception):
    """The whole inputs are not read, so that damaged ones would show nothing."""


class Child:
    """A process that reads; a context manager.

    Args:
      reader: what it reads with.
      wholes: the whole inputs.
      table: the module that has the reader.
      limit_s: that an input may take.
    """

    def __init__(
        self, reader: Reader, wholes: list[Path], table: str = "tests.fuzz.readers", limit_s: float = LIMIT_S
    ):
        self._reader, self._wholes, self._table, self._limit_s = reader, wholes, table, limit_s
        self._scratch = Path(tempfile.mkdtemp(prefix="fuzz-child-"))
        self._start()

    def read(self, path: Path) -> Verdict:
        """Have an input read; a child that it kills, or that hangs, is replaced."""
        self._pipe.send((path, None))
        started = time.monotonic()
        try:
            if self._pipe.poll(self._limit_s):
                return self._pipe.recv()
            verdict = Verdict("hang", f"no answer in {time.monotonic() - started:.0f} s")
        except (EOFError, ConnectionResetError):
            self._process.join()
            verdict = Verdict(
                f"crash (status {self._process.exitcode})", (self._scratch / "dump").read_text()[:2000]
            )
        self._stop()
        self._start()
        return verdict

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, self._table, self._scratch), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.send((self._reader.name, self._wholes))
        try:
            problem = self._pipe.recv() if self._pipe.poll(START_LIMIT_S) else "no answer"
        except EOFError:
            problem = f"the process ended: {(self._scratch / 'dump').read_text()[:2000]}"
        if problem:
            self._stop()
            raise FuzzError(f"{self._reader.name}: a whole input is not read rightly:\n{problem}")

    def _stop(self) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()
        shutil.rmtree(self._scratch / "tmp", ignore_errors=True)


def damaged(reader: Reader, wholes: list[Path], number: int, folder: Path) -> Path:
    """Write input `number` of a reader, alone, to `folder`; returns its path."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    random = Random(f"{reader.name} {number}")
    whole = random.choice(wholes)
    path = folder / whole.name
    if whole.is_dir():
        shutil.copytree(whole, path)
        files = sorted(
            (f for f in path.rglob("*") if f.is_file()), key=lambda f: (f.parent, f.stat().st_size, f.name)
        )
        victim = random.choice(files)
        if random.random() < 0.05:
            victim.unlink()
            return path
    else:
        victim = path
        shutil.copyfile(whole, path)
    content = victim.read_bytes()
    changed = content
    while changed == content:
        changed = mutate(content, mutations_of(victim), random)
    victim.write_bytes(changed)
    return path


def verdicts(
    reader: Reader, numbers: range, kept: Path | None = None, limit_s: float = LIMIT_S
) -> Iterator[tuple[int, Verdict]]:
    """What becomes of each of a reader's inputs.

    Args:
      reader: of readers.READERS.
      numbers: of the inputs.
      kept: a folder for the inputs that fail; None: they are deleted.
      limit_s: that an input may take.
    """
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        (folder / "whole").mkdir()
        wholes = reader.seeds(folder / "whole")
        with Child(reader, wholes, limit_s=limit_s) as child:
            for number in numbers:
                path = damaged(reader, wholes, number, folder / "input")
                verdict = child.read(path)
                if kept is not None and verdict.outcome not in (RIGHT, REFUSED):
                    target = kept / f"{reader.name}-{number}"
                    shutil.rmtree(target, ignore_errors=True)
                    shutil.copytree(path.parent, target)
                yield number, verdict
