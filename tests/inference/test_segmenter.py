"""Nuclei of images and slides, streams of them, and what goes wrong on the way."""

import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from numpy.typing import NDArray

from benchmarks.colour_network import RedIsNucleus
from nucseg_jax import Segmenter, runs
from nucseg_jax.errors import UserError
from nucseg_jax.inference.blocks import BlockCutter
from nucseg_jax.inference.box import Box
from nucseg_jax.inference.magnification import Magnification, of_checkpoint
from nucseg_jax.inference.tile_store import LARGEST_DENSITY, TilesInMemory, TileStore
from nucseg_jax.inference.tiles import Tiling
from nucseg_jax.inference.timing import STAGES, StageTimes
from nucseg_jax.inference.workers import processes
from nucseg_jax.slides import slide_of_array
from nucseg_jax.stain.optical_density import optical_density
from nucseg_jax.stain.separation import concentrations
from tests.drawn_tissue import EOSIN, MPP, config_of, identical_part, of_whole, segmenter, tissue
from tests.untrained import write_run


def test_a_stream_has_crops_probabilities_and_dye() -> None:
    image = np.tile(np.array(EOSIN, np.uint8), (100, 120, 1))
    image[30:42, 50:60] = (51, 255, 51)
    image[72:, :, 2] = 0  # what is farther than 20 pixels
    with slide_of_array(image, MPP) as slide:
        stream = segmenter().stream(slide)
        (nucleus,) = stream
    assert (nucleus.id, nucleus.top, nucleus.left) == (1, 30, 50)
    assert nucleus.mask.shape == (12, 10) and nucleus.mask.all() and nucleus.mask.dtype == bool
    assert nucleus.probability == pytest.approx(0.8)
    assert nucleus.hematoxylin == pytest.approx(51 / 255 * LARGEST_DENSITY)
    assert (nucleus.hematoxylin_contrast, nucleus.hematoxylin_entropy_bits) == (0, 0)  # of one colour
    assert nucleus.eosin_ring == pytest.approx((255 - EOSIN[2]) / 255 * LARGEST_DENSITY)
    assert stream.frame.network_size == (100, 120)
    assert set(stream.times) == set(STAGES) and stream.times["reading"] > 0
    assert stream.megapixels == pytest.approx(100 * 120 / 1e6)


def test_an_empty_slide_has_none_and_is_not_computed() -> None:
    progress: list[float] = []
    with slide_of_array(np.full((300, 300, 3), 243, np.uint8), MPP) as slide:
        stream = segmenter().stream(slide, on_progress=progress.append)
        assert list(stream) == [] and stream.places == [] and progress == [1.0]


def test_tiles_without_tissue_are_skipped() -> None:
    image = np.full((640, 640, 3), 245, np.uint8)
    image[:200, :200] = tissue(200, 200, 60)
    network = RedIsNucleus()
    with slide_of_array(image, MPP) as slide:
        stream = segmenter(network=network).stream(slide)
        assert 0 < stream.megapixels < 0.2 < 0.41
        count = len(list(stream))
    assert count == of_whole(image, config_of("watershed")).max()
    assert (network.estimated_from.min(axis=-1) < 245).mean() > 0.2
    network.looks_at_stain = False
    with slide_of_array(image, MPP) as slide:
        assert len(list(segmenter(network=network).stream(slide))) == count
    assert network.estimated_from.shape == (0, 3)


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
        def kept(self, tiles, hematoxylin, tiling):
            raise FloatingPointError("no device")

    for small_px in (0, 10**6):
        with pytest.raises(FloatingPointError, match="no device"):
            segmenter(network=Broken(), small_px=small_px)(tissue(64, 64, 5), MPP)


def test_other_processes_cut_the_same_nuclei() -> None:
    image = tissue(230, 310, 100)
    with segmenter(workers=1, block_px=128) as one:
        np.testing.assert_array_equal(one(image, MPP), segmenter(block_px=128)(image, MPP))


def test_a_process_that_is_killed_is_an_error_and_not_the_end() -> None:
    with (
        segmenter(workers=1, block_px=24) as one,
        slide_of_array(tissue(400, 400, 300), MPP) as slide,
    ):
        with pytest.raises(BrokenProcessPool):
            for _ in one.stream(slide):
                for process in multiprocessing.active_children():
                    process.kill()
                    process.join()
        one.close()
        assert next(iter(one.stream(slide))).id == 1


STAIN = {
    "where": "prepare",
    "target": "a",
    "method": "macenko",
    "matrix": [[0.56, 0.72, 0.41], [0.22, 0.80, 0.56]],
    "max_concentrations": [2.0, 1.0],
}


UNTRAINED = pytest.mark.filterwarnings(r"ignore:image. (kept|left out|shows no)")
"""What a network that was never trained finds on drawn tissue is no nucleus."""


@UNTRAINED
@pytest.mark.parametrize(
    ("classes", "method", "cuts"),
    [
        pytest.param(2, "components", range(5), marks=pytest.mark.slow),
        pytest.param(3, "boundary", (0, 2, 4), marks=pytest.mark.slow),
        pytest.param(3, "boundary", (1, 3), marks=pytest.mark.slow),
    ],
)
def test_a_run_says_the_same_of_a_pixel_in_whatever_tiles_and_batches(
    tmp_path: Path, one_device: Mesh, classes: int, method: str, cuts: Sequence[int]
) -> None:
    """The real network: where tiles and blocks are cut, sizes of batches and the way of large slides change
    nothing."""
    chosen = {"method": method, f"{method}__min_area_um2": 0, "masked": ()}  # no tissue has these colours
    instances = {f"instances__{key}": value for key, value in chosen.items()}
    run = write_run(tmp_path, stain=STAIN, model__num_classes=classes, **instances)
    image = tissue(160, 300, 150)

    def found(
        block_px: int = 1024, small_px: int = 10**6, **overrides: int
    ) -> tuple[tuple[int, int], NDArray, NDArray]:
        """The side of a tile and tiles a batch; probabilities in 0 … 255, and nuclei."""
        one = Segmenter.load(
            run,
            network_mpp=MPP,
            mesh=one_device,
            overrides={f"eval.{key}": value for key, value in overrides.items()},
            block_px=block_px,
            small_px=small_px,
        )
        with slide_of_array(image, MPP) as slide:
            stream = one.stream(slide)
            tiles = stream.grid.tiling.tile, stream.batch_size
            return tiles, np.rint(one.nucleus_map(slide).nucleus * 255), one(image, MPP)

    tiles, expected, nuclei = found()
    assert tiles == (512, 1)  # none of the others has these tiles
    assert nuclei.shape == (160, 300) and nuclei.max() > 3 and np.ptp(expected) > 50
    ways: list[tuple[dict[str, int], tuple[int, int]]] = [
        ({"tile_px": 288}, (288, 1)),
        ({"tile_px": 288, "batch_size": 400}, (288, 4)),
        ({"tile_px": 320, "batch_size": 1000}, (320, 10)),
        ({"tile_px": 320, "small_px": 0, "block_px": 40}, (320, 1)),
        ({"tile_px": 352, "small_px": 0, "block_px": 100}, (352, 1)),
    ]
    for others, tiles in (ways[i] for i in cuts):
        used, probabilities, other = found(**others)
        assert used == tiles
        assert np.abs(probabilities - expected).max() <= 1, others
        assert (probabilities != expected).mean() < 1e-3, others
        assert identical_part(other, nuclei) > 0.99, others


@pytest.mark.slow
@UNTRAINED
def test_a_network_that_sees_its_whole_tile_has_its_tiles_blended(tmp_path: Path, one_device: Mesh) -> None:
    """No seam where tiles meet; sizes of batches and blocks change nothing."""
    run = write_run(tmp_path, eval__overlap_px=16, eval__batch_size=8)
    with pytest.raises(UserError, match="eval.overlap_px must be 0 or more, got -1"):
        Segmenter.load(run, network_mpp=MPP, mesh=one_device, overrides={"eval.overlap_px": -1})
    image = tissue(150, 170, 60)
    whole = Segmenter.load(run, network_mpp=MPP, mesh=one_device)
    other = Segmenter.load(
        run, network_mpp=MPP, mesh=one_device, overrides={"eval.batch_size": 9}, block_px=40, small_px=0
    )
    assert identical_part(whole(image, MPP), other(image, MPP)) > 0.99

    def seam(overlap_px: int) -> float:
        overrides = {"eval.overlap_px": overlap_px}
        one = Segmenter.load(run, network_mpp=MPP, mesh=one_device, overrides=overrides)
        with slide_of_array(image, MPP) as slide:
            steps = np.abs(np.diff(one.nucleus_map(slide).nucleus, axis=0))
        return float(steps[31::32].mean() / steps.mean())

    assert seam(0) > 1.5 > seam(16)


def test_flips_and_turns_are_laid_back(tmp_path: Path, one_device: Mesh) -> None:
    """With test-time augmentation a turned image gives the turned result."""
    run = write_run(tmp_path)

    segmenters = {
        augment: Segmenter.load(run, network_mpp=MPP, mesh=one_device, overrides={"eval.augment": augment})
        for augment in (False, True)
    }

    def maps(augment: bool, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        with slide_of_array(np.ascontiguousarray(image), MPP) as slide:
            return segmenters[augment].nucleus_map(slide).nucleus

    image = tissue(64, 64, 24)
    straight = maps(True, image)
    assert np.ptp(straight) > 0.1
    for turned in (np.rot90, np.fliplr):
        assert np.abs(turned(straight) - maps(True, turned(image))).max() <= 1.01 / 255
    assert np.abs(np.rot90(maps(False, image)) - maps(False, np.rot90(image))).max() > 5 / 255


def test_stain_is_normalised_once_a_slide(tmp_path: Path, one_device: Mesh) -> None:
    """The style of the whole slide goes to every tile; the dye is measured before."""
    image = tissue(300, 300, 60)
    run = write_run(tmp_path, stain=STAIN)
    one = Segmenter.load(run, network_mpp=MPP, mesh=one_device)
    with slide_of_array(image, MPP) as slide:
        scan = one.stream(slide)
        scan.estimate()
        tile = scan.read(scan.places[0])
        normalized, _ = scan.start([tile])
        dye, eosin = scan.at_once()[-2:]
    normalizer = runs.open_run(run, one_device, {}).model.stain
    style = normalizer.estimate(image).style
    np.testing.assert_allclose(scan.stain.style.matrix, style.matrix, atol=0.02)
    expected = normalizer.transform(tile, source=scan.stain.style)
    assert np.abs(np.asarray(normalized[0], np.int16) - expected).max() <= 1
    assert dye[image[..., 0] < 100].mean() > dye[image[..., 0] == 230].mean()
    amounts = concentrations(optical_density(jnp.float32(EOSIN)[:, None]), scan.stain.matrix, 0.0)
    expected = np.asarray(amounts)[:, 0] / LARGEST_DENSITY * 255
    around = image[..., 0] == EOSIN[0]  # all of one colour
    np.testing.assert_allclose([dye[around].mean(), eosin[around].mean()], expected, atol=0.6)
    assert expected[1] > 5 and np.ptp(eosin[around]) == 0


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
    found = of_checkpoint({"config": {"data": data}, "dataset": dataset})
    assert found.network_mpp == pytest.approx(expected)
    assert found.assumed


def test_a_checkpoint_carries_its_resolution() -> None:
    known = {"image_mpp": 0.23, "network_mpp": 0.46, "source": "TIFF resolution tags"}
    assert of_checkpoint({"resolution": known}) == Magnification(0.46, "TIFF resolution tags")
    assert of_checkpoint({"resolution": known | {"source": "assumed: 40×"}}).assumed


def test_what_a_user_should_know_of_a_run(tmp_path: Path, one_device: Mesh) -> None:
    old = write_run(tmp_path / "old", data__stain="vahadane")
    with pytest.warns(UserWarning, match="old: ") as caught:
        notes = Segmenter.load(old, mesh=one_device).notes
    assert len(notes) == 2 and "taken to be trained at 0.25" in notes[0] and "(vahadane)" in notes[1]
    assert tuple(str(warning.message) for warning in caught) == notes
    assert all(warning.filename == __file__ for warning in caught)  # the line that loads
    new = write_run(tmp_path / "new", stain=STAIN, data__stain="macenko")
    assert Segmenter.load(new, mesh=one_device, network_mpp=MPP).notes == ()


def test_a_resolution_of_training_that_cannot_be_known() -> None:
    info = {"config": {"data": {"dataset": "folder"}}, "dataset": {"size": 300}}
    with pytest.raises(UserError, match=r"300 × 300 .*--network-mpp"):
        of_checkpoint(info)
    assert of_checkpoint(info, 0.5) == Magnification(0.5, "given")
    with pytest.raises(UserError, match=r"--network-mpp 5"):
        of_checkpoint(info, 5.0)


@pytest.mark.parametrize(
    ("resolution", "said"),
    [
        ({}, r"does not say at what resolution it was trained \(KeyError: 'network_mpp'\)"),
        ([0.25], "does not say at what resolution it was trained"),
        ({"network_mpp": 0.25}, r"\(KeyError: 'source'\)"),
        ({"network_mpp": "0.25", "source": "a"}, r"\(TypeError: network_mpp is '0.25'\)"),
        ({"network_mpp": True, "source": "a"}, r"\(TypeError: network_mpp is True\)"),
        ({"network_mpp": 0.25, "source": 5}, r"\(TypeError: source is 5\)"),
        ({"network_mpp": 1e-9, "source": "a"}, r"says that it was trained at 1e-09 µm .* within 0.05 … 1\."),
        ({"network_mpp": 1.01, "source": "a"}, "says that it was trained at 1.01 µm a pixel"),
        ({"network_mpp": float("nan"), "source": "a"}, "says that it was trained at nan µm a pixel"),
    ],
)
def test_a_checkpoint_whose_resolution_cannot_be(resolution: object, said: str) -> None:
    """Sizes would have no bound; whoever knows better gives the right value."""
    with pytest.raises(UserError, match=rf"^a\.safetensors: .*{said}") as raised:
        of_checkpoint({"resolution": resolution}, where="a.safetensors")
    assert "--network-mpp, or network_mpp= in Python" in str(raised.value)
    assert of_checkpoint({"resolution": resolution}, 0.5) == Magnification(0.5, "given")


def test_an_earlier_checkpoint_whose_resolution_cannot_be() -> None:
    for info, said in (
        ({"config": {"data": {"dataset": "monuseg"}}, "dataset": {"size": 10**9}}, "trained at 2.5e-07 µm"),
        ({"config": {"data": {}}}, r"\(KeyError: 'dataset'\)"),
        ({"config": {"data": {"dataset": "monuseg", "size": "x"}}}, r"\(TypeError: "),
    ):
        with pytest.raises(UserError, match=f"^run: .*{said}"):
            of_checkpoint(info, where="run")


def test_importing_the_package_is_light() -> None:
    code = "import sys, nucseg_jax; assert 'jax' not in sys.modules; print(nucseg_jax.Segmenter.__name__)\n"
    code += "import nucseg_jax.predict.all_slides\n"
    code += "print([m for m in ('tensorflow', 'torch', 'tensorboardX') if m in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split("\n")[:2] == ["Segmenter", "[]"]


def test_workers_have_no_jax() -> None:
    """As they run: what the pool and a block's cutter are unpickled from."""
    tiling = Tiling(tile=64)
    store = TileStore(TilesInMemory(), tiling, (64, 64), planes=4, squares=np.ones((1, 1), bool))
    store.tiles.put(0, 0, np.full((4, 64, 64), 255, np.uint8))
    cutter = BlockCutter(store, config_of("watershed"), MPP, has_boundary=True)
    with processes(1) as pool:
        found, _ = pool.submit(cutter, Box(0, 0, 64, 64)).result()
        assert len(found) == 1
        for package, there in (("jax", False), ("skimage", True)):
            assert pool.submit(eval, f"{package!r} in __import__('sys').modules").result() is there


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
