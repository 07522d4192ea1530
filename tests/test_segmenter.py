"""Nuclei of images and slides, streams of them, and what goes wrong on the way."""

import subprocess
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
from jax.sharding import Mesh

from benchmarks.colour_network import RedIsNucleus
from nucseg_jax import Segmenter, runs, sharding
from nucseg_jax.errors import UserError
from nucseg_jax.magnification import Magnification, of_run
from nucseg_jax.slides import slide_of_array
from nucseg_jax.whole_slide.store import LARGEST_DENSITY
from nucseg_jax.whole_slide.timing import STAGES, StageTimes
from tests.drawn_tissue import EOSIN, MPP, assert_same_nuclei, config_of, of_whole, segmenter, tissue
from tests.untrained import write_run


def test_a_stream_has_crops_probabilities_and_dye() -> None:
    image = np.tile(np.array(EOSIN, np.uint8), (100, 120, 1))
    image[30:42, 50:60] = (51, 255, 51)
    with slide_of_array(image, MPP) as slide:
        stream = segmenter().stream(slide)
        (nucleus,) = stream
    assert (nucleus.id, nucleus.top, nucleus.left) == (1, 30, 50)
    assert nucleus.mask.shape == (12, 10) and nucleus.mask.all() and nucleus.mask.dtype == bool
    assert nucleus.probability == pytest.approx(0.8)
    assert nucleus.hematoxylin == pytest.approx(51 / 255 * LARGEST_DENSITY)
    assert stream.frame.network_size == (100, 120)
    assert set(stream.times) == set(STAGES) and stream.times["reading"] > 0
    assert stream.megapixels == pytest.approx(len(stream.places) * 24**2 / 1e6)


def test_an_empty_slide_has_none_and_is_not_computed() -> None:
    progress: list[float] = []
    with slide_of_array(np.full((300, 300, 3), 243, np.uint8), MPP) as slide:
        stream = segmenter().stream(slide, on_progress=progress.append)
        assert list(stream) == [] and stream.places == [] and progress == [1.0]


def test_tiles_without_tissue_are_skipped() -> None:
    image = np.full((640, 640, 3), 245, np.uint8)
    image[:200, :200] = tissue(200, 200, 60)
    one = segmenter()
    with slide_of_array(image, MPP) as slide:
        stream = one.stream(slide)
        assert 0 < stream.megapixels < 0.16 < 0.41
        count = len(list(stream))
    assert count == of_whole(image, config_of("watershed")).max()
    assert all(sample.mean() < 250 for sample in one._network.estimated_from)


def test_coarser_and_finer_images_come_back_at_their_own_size() -> None:
    image = tissue(120, 160, 12, radius=16)
    as_trained = segmenter()(image, MPP)
    finer = np.repeat(np.repeat(image, 2, axis=0), 2, axis=1)
    found = segmenter()(finer, MPP / 2)
    assert found.shape == (240, 320)
    assert found.max() == pytest.approx(as_trained.max(), abs=2)
    overlap = (found[::2, ::2] > 0) & (as_trained > 0)
    assert overlap.sum() > 0.95 * (as_trained > 0).sum()
    coarser = segmenter()(image[::2, ::2], MPP * 2)
    assert coarser.shape == (60, 80) and coarser.max() > 0


def test_progress_and_abandoned_streams(tmp_path: Path) -> None:
    image, progress = tissue(200, 200, 60), []
    with slide_of_array(image, MPP) as slide:
        stream = segmenter(block_px=50).stream(slide, scratch=tmp_path, on_progress=progress.append)
        first = next(iter(stream))
        assert first.id == 1
        del stream
        assert list(tmp_path.iterdir()) == []  # the store is gone
        list(segmenter(block_px=50).stream(slide, scratch=tmp_path, on_progress=progress.append))
    assert progress[-1] == 1.0 and progress == sorted(progress)


def test_a_stream_may_be_abandoned_while_blocks_wait() -> None:
    """More blocks than may be ahead; an error in the loop's body is such an end, too."""
    with slide_of_array(tissue(400, 400, 300), MPP) as slide:
        for _ in segmenter(block_px=24).stream(slide):
            time.sleep(0.5)  # all that may be ahead is
            break
        with pytest.raises(ZeroDivisionError):
            for _ in segmenter(block_px=24).stream(slide):
                1 / 0  # noqa: B018
    deadline = time.monotonic() + 10
    while any(thread.name == "feeder" for thread in threading.enumerate()):
        assert time.monotonic() < deadline


def test_an_error_of_any_stage_comes_out() -> None:
    class Broken(RedIsNucleus):
        def centres(self, tiles, hematoxylin):
            raise FloatingPointError("no device")

    broken = Segmenter(Broken(), config_of("watershed"), Magnification(MPP, MPP, "test"))
    with pytest.raises(FloatingPointError, match="no device"):
        broken(tissue(64, 64, 5), MPP)


def test_other_processes_cut_the_same_nuclei() -> None:
    image = tissue(230, 310, 100)
    with Segmenter(
        RedIsNucleus(), config_of("watershed"), Magnification(MPP, MPP, ""), workers=1, block_px=128
    ) as one:
        np.testing.assert_array_equal(one(image, MPP), segmenter(block_px=128)(image, MPP))


def test_a_process_that_is_killed_is_an_error_and_not_the_end() -> None:
    magnification = Magnification(MPP, MPP, "")
    with (
        Segmenter(RedIsNucleus(), config_of("watershed"), magnification, workers=1, block_px=24) as one,
        slide_of_array(tissue(400, 400, 300), MPP) as slide,
    ):
        with pytest.raises(BrokenProcessPool):
            for _ in one.stream(slide):
                for process in one._pool._processes.values():
                    process.kill()
                    process.join()
        one.close()
        assert next(iter(one.stream(slide))).id == 1


def test_wrong_images() -> None:
    with pytest.raises(ValueError, match=r"uint8 \[H, W, 3\], got float32"):
        segmenter()(np.zeros((10, 10, 3), np.float32))
    with pytest.raises(UserError, match=r"--mpp 3"):
        segmenter()(np.zeros((10, 10, 3), np.uint8), mpp=3.0)


STAIN = {
    "where": "prepare",
    "target": "a",
    "method": "macenko",
    "matrix": [[0.56, 0.72, 0.41], [0.22, 0.80, 0.56]],
    "max_concentrations": [2.0, 1.0],
}


@pytest.mark.parametrize(("classes", "method"), [(2, "components"), (3, "boundary")])
def test_a_run_says_the_same_of_a_pixel_wherever_the_image_is_cut(
    tmp_path: Path, one_device: Mesh, classes: int, method: str
) -> None:
    """The real network: what it says of a part is what it says of the whole, but for the border."""
    least = {f"instances__{method}__min_area_px": 0}
    run = write_run(tmp_path, stain=STAIN, model__num_classes=classes, instances__method=method, **least)
    loaded = Segmenter.load(run, network_mpp=MPP, mesh=one_device, block_px=40)
    assert loaded.facts["step"] == 1 and loaded.magnification.network_mpp == MPP
    image = tissue(160, 160, 80)
    found = loaded(image)
    other = Segmenter.load(run, network_mpp=MPP, mesh=one_device, overrides={"eval.batch_size": 12})(image)
    assert_same_nuclei(found, other)
    assert found.shape == (160, 160) and found.max() > 3


def test_flips_and_turns_are_laid_back(tmp_path: Path, one_device: Mesh) -> None:
    """With test-time augmentation a turned tile gives the turned result."""
    run = write_run(tmp_path)
    overrides = {"eval.augment": True, "eval.batch_size": 12}
    network = Segmenter.load(run, network_mpp=MPP, mesh=one_device, overrides=overrides)._network
    tiles = np.zeros((network.batch_size, network.tile, network.tile, 3), np.uint8)
    tiles[0] = tissue(network.tile, network.tile, 24)
    tiles[1] = np.rot90(tiles[0])
    tiles[2] = tiles[0][:, ::-1]
    normalized, dye = network.normalize(tiles, network.estimate([tiles[0]]))
    straight, turned, flipped = np.asarray(network.centres(normalized, dye), np.int16)[:3]
    assert np.ptp(straight[0]) > 0
    assert np.abs(np.rot90(straight, axes=(1, 2)) - turned).max() <= 1
    assert np.abs(straight[:, :, ::-1] - flipped).max() <= 1


def test_stain_is_normalised_once_a_slide(tmp_path: Path) -> None:
    run = write_run(tmp_path, stain=STAIN)
    network = Segmenter.load(run, network_mpp=MPP)._network
    tile = tissue(32, 32, 6)
    stain = network.estimate([tile] * 3)
    tiles = np.repeat(tile[None], network.batch_size, axis=0)
    normalizer = runs.open_run(run, sharding.make_mesh(), {}).model.stain
    expected = normalizer.transform(tile, source=stain.style)
    normalized, dye = network.normalize(tiles, stain)
    assert np.abs(np.asarray(normalized[0], np.int16) - expected).max() <= 1
    assert np.asarray(dye[0])[tile[..., 0] < 100].mean() > np.asarray(dye[0])[tile[..., 0] == 230].mean()


@pytest.mark.parametrize(
    ("data", "dataset", "expected"),
    [
        ({"dataset": "monuseg", "size": None}, {"size": 1024}, 0.25 * 1000 / 1024),
        ({"dataset": "monuseg", "size": 512}, {"size": 512}, 0.25 * 1000 / 512),
        ({"dataset": "monuseg"}, None, 0.25 * 1000 / 1024),
        ({"dataset": "folder", "size": None}, {"size": None}, 0.25),
    ],
)
def test_the_resolution_of_training(data: dict, dataset: dict | None, expected: float) -> None:
    found = of_run({"config": {"data": data}, "dataset": dataset})
    assert found.network_mpp == pytest.approx(expected) and found.image_mpp == 0.25
    assert found.assumed == (data["dataset"] == "folder")


def test_what_a_user_should_know_of_a_run(tmp_path: Path, one_device: Mesh) -> None:
    old = write_run(tmp_path / "old", data__stain="vahadane")
    notes = Segmenter.load(old, mesh=one_device).notes
    assert len(notes) == 2 and "taken to be trained at 0.25" in notes[0] and "(vahadane)" in notes[1]
    new = write_run(tmp_path / "new", stain=STAIN, data__stain="macenko")
    assert Segmenter.load(new, mesh=one_device, network_mpp=MPP).notes == ()


def test_a_resolution_of_training_that_cannot_be_known() -> None:
    info = {"config": {"data": {"dataset": "folder"}}, "dataset": {"size": 300}}
    with pytest.raises(UserError, match=r"300 × 300 .*--network-mpp"):
        of_run(info)
    assert of_run(info, 0.5) == Magnification(0.5, 0.5, "given")
    with pytest.raises(UserError, match=r"--network-mpp 5"):
        of_run(info, 5.0)


def test_importing_the_package_is_light() -> None:
    code = "import sys, nucseg_jax; assert 'jax' not in sys.modules; print(nucseg_jax.Segmenter.__name__)\n"
    code += "import nucseg_jax.predict.__main__\n"
    code += "print([m for m in ('tensorflow', 'torch', 'tensorboardX') if m in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split("\n")[:2] == ["Segmenter", "[]"]


def test_workers_have_no_jax() -> None:
    """As they run: what the pool and a block's cutter are unpickled from."""
    with slide_of_array(tissue(60, 60, 5), MPP) as slide, segmenter(workers=1) as one:
        list(one.stream(slide))
        assert one._pool is not None
        for package, there in (("jax", False), ("skimage", True)):
            assert one._pool.submit(eval, f"{package!r} in __import__('sys').modules").result() is there


def test_an_exception_of_any_kind_reaches_who_iterates(monkeypatch: pytest.MonkeyPatch) -> None:
    class Panic(BaseException):
        pass

    def panic(*arguments: object) -> None:
        raise Panic

    monkeypatch.setattr(RedIsNucleus, "normalize", panic)
    with slide_of_array(tissue(60, 60, 5), MPP) as slide, pytest.raises(Panic):
        list(segmenter().stream(slide))


def test_times_count_what_still_runs() -> None:
    times = StageTimes()
    with times.measure("export"):
        time.sleep(0.01)
        assert times["export"] >= 0.01
        with times.measure("export"):  # another thread's
            pass
    before = times["export"]
    time.sleep(0.01)
    assert times["export"] == before > 0.01 and times["reading"] == 0
