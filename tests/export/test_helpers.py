"""Other processes that make what is written: the same files, in bounded memory, and no JAX in them."""

import sys
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from pathlib import Path

import numpy as np
import pytest
import tifffile

from nucseg_jax.export import Exports, Helpers, Limits
from nucseg_jax.inference.workers import processes
from nucseg_jax.nuclei import Frame, Nucleus
from tests.export.drawn_nuclei import FRAME, leftovers, many

SMALL_BATCHES = Limits(nuclei=7)


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    with processes(2) as made:
        yield made


def write(folder: Path, nuclei: list[Nucleus], helpers: Helpers | None, frame: Frame = FRAME) -> None:
    with Exports(
        folder,
        frame,
        source=Path(__file__),
        thumbnail=np.full((75, 100, 3), 200, np.uint8),
        config={},
        seconds={},
        limits=SMALL_BATCHES,
        helpers=helpers,
    ) as exports:
        for nucleus in nuclei:
            exports.add(nucleus)


@pytest.mark.parametrize(
    "frame", [FRAME, Frame((731, 977), 0.123, 0.25), Frame((300, 400), 0.5, 0.25)], ids=str
)
def test_the_files_are_those_of_one_process(tmp_path: Path, pool: Executor, frame: Frame) -> None:
    nuclei = many(150, frame)
    alone, helped, seconds = tmp_path / "alone" / "out", tmp_path / "helped" / "out", list[float]()
    write(alone, nuclei, None, frame)
    write(helped, nuclei, Helpers(pool, 2, seconds.append), frame)
    assert len(seconds) == -(-150 // 7)
    assert leftovers(alone) == leftovers(helped)
    for name in set(leftovers(alone)) - {"summary.json", "labels.ome.tif"}:
        assert (alone / name).read_bytes() == (helped / name).read_bytes(), name
    # The one file that is another each time: OME-TIFF has a random UUID.
    labels = (tifffile.imread(folder / "labels.ome.tif") for folder in (alone, helped))
    np.testing.assert_array_equal(*labels)


class Lazy(Executor):
    """Does its work when it is asked for the result; counts what it still has to do."""

    def __init__(self) -> None:
        self.waiting = self.most_waiting = 0

    def submit(self, work, /, *arguments):
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)

        class Later(Future):
            def done(later) -> bool:
                return False

            def result(later, timeout=None):
                self.waiting -= 1
                return work(*arguments)

        return Later()


def test_few_batches_wait(tmp_path: Path) -> None:
    lazy = Lazy()
    write(tmp_path / "out", many(150, FRAME), Helpers(lazy, 3, lambda seconds: None))
    assert lazy.most_waiting == 3 + 2 + 1 and lazy.waiting == 0


def test_an_error_of_a_helper_is_that_of_one_process(tmp_path: Path, pool: Executor) -> None:
    nuclei = many(20, FRAME)
    nuclei[3] = Nucleus(4, 0, 0, np.eye(2, dtype=bool), 0.5)
    with pytest.raises(ValueError, match="nucleus 4 is not one 4-connected piece"):
        write(tmp_path / "out", nuclei, Helpers(pool, 2, lambda seconds: None))
    assert leftovers(tmp_path) == []


def test_helpers_know_nothing_of_jax(tmp_path: Path, pool: Executor) -> None:
    write(tmp_path / "out", many(20, FRAME), Helpers(pool, 2, lambda seconds: None))
    loaded = {name.partition(".")[0] for name in pool.submit(_modules).result()}
    assert "nucseg_jax" in loaded and loaded.isdisjoint({"jax", "flax", "tensorflow", "torch"})


def _modules() -> list[str]:
    return list(sys.modules)
