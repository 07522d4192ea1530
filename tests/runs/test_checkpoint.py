"""Which checkpoint is the best: by the score that the run's config names, also of earlier releases' files."""

import json
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from configs import demo
from nucseg_jax import runs
from nucseg_jax.config import names
from nucseg_jax.errors import DiskFullError, InUseError, UserError
from nucseg_jax.io.locks import lock_inside
from nucseg_jax.models.network import Weights, split_network
from nucseg_jax.runs import checkpoint, compatibility
from nucseg_jax.runs.checkpoint import Checkpoints
from nucseg_jax.runs.loading import load_model
from nucseg_jax.runs.restoring import CheckpointError
from tests.io.test_locks import Holder
from tests.networks import filled_network
from tests.small_disk import run_on_small_disk

# The best by AJI is not the best by Dice, and neither is the last.
SCORES = {1: {"aji": 0.2, "dice": 0.8}, 2: {"aji": 0.4, "dice": 0.7}, 3: {"aji": 0.3, "dice": 0.6}}
BEST = {"aji": 2, "dice": 1}


@pytest.fixture(scope="module")
def weights() -> Weights:
    _, params, batch_stats = split_network(
        filled_network("unet", lambda shape: np.ones(shape, np.float32), width=1 / 16)
    )
    return Weights(params, batch_stats)


def info_of(best_by: str) -> dict:
    config = demo.get_config()
    config.model.width = 1 / 16
    config.checkpoint.best_by = best_by
    return checkpoint.describe(config, {}, None, None)


def save(workdir: Path, weights: Weights, best_by: str, steps: tuple[int, ...] = (1, 2, 3)) -> None:
    with Checkpoints(workdir, keep=1) as checkpoints:
        for step in steps:
            checkpoints.save(step, weights, info_of(best_by), scores=SCORES[step])


def as_an_earlier_release_wrote(workdir: Path) -> None:
    """The Dice alone, as `f1`, without a digest."""
    for path in workdir.glob("checkpoints/*/metrics/metrics"):
        path.write_text(json.dumps({"f1": json.loads(path.read_text())["dice"]}))
        described = path.parents[1] / "info" / "metadata"
        info = json.loads(described.read_text())
        del info["sha256"], info["init"]
        described.write_text(json.dumps(info))


def test_the_best_is_kept_and_loaded_by_the_score_that_the_config_names(
    weights: Weights, one_device: Mesh, tmp_path: Path
) -> None:
    for best_by, best in BEST.items():
        save(tmp_path / best_by, weights, best_by)
        assert load_model(tmp_path / best_by, one_device).step == best
        kept = {path.name for path in (tmp_path / best_by / "checkpoints").iterdir()}
        assert kept == {str(best), "3"}, "the best and the last"
        metrics = json.loads((tmp_path / best_by / f"checkpoints/{best}/metrics/metrics").read_text())
        assert metrics == {**SCORES[best], "score": SCORES[best][best_by]}


def test_an_earlier_releases_checkpoints_are_chosen_by_what_they_have(
    weights: Weights, one_device: Mesh, tmp_path: Path
) -> None:
    """Also where this release goes on with the run, by the Dice."""
    save(tmp_path, weights, "dice", steps=(1, 2))
    as_an_earlier_release_wrote(tmp_path)
    assert load_model(tmp_path, one_device).step == 1
    save(tmp_path, weights, "dice", steps=(3,))
    assert load_model(tmp_path, one_device).step == 1


def test_aji_chooses_where_nuclei_are_cut_and_an_old_run_keeps_what_it_was_chosen_by() -> None:
    config = demo.get_config()
    config.instances.method = "components"
    assert compatibility.best_by(config, None) == "dice"
    for method in ("watershed", "boundary"):
        config.instances.method = method
        assert compatibility.best_by(config, None) == "aji"
    old = {"config": {"checkpoint": {"every": 1, "keep": 2}}}
    assert compatibility.best_by(config, old) == "dice"
    for kept in names.SCORES:
        assert compatibility.best_by(config, {"config": {"checkpoint": {"best_by": kept}}}) == kept
    config.checkpoint.best_by = "aji"
    assert compatibility.best_by(config, old) == "aji", "what is given is compared with the run's"


def test_the_choice_is_part_of_a_run() -> None:
    saved, now, old = (info_of(best_by) | {"dataset": {}} for best_by in ("aji", "dice", "dice"))
    del old["config"]["checkpoint"]["best_by"]
    with pytest.raises(UserError, match="checkpoint.best_by: 'aji' → 'dice'"):
        compatibility.check_same_run(saved, now, Path("run"))
    compatibility.check_same_run(old, now, Path("run"))
    with pytest.raises(UserError, match="checkpoint.best_by: 'dice' → 'aji'"):
        compatibility.check_same_run(old, saved, Path("run"))
    now["config"]["checkpoint"] |= {"every": 7, "keep": 7}
    compatibility.check_same_run(old, now, Path("run"))


def test_a_run_that_goes_on_says_what_has_changed() -> None:
    def notes(saved: dict, **changes: object) -> str:
        config = demo.get_config()
        config.instances.method, config.data.validation = "watershed", ("a",)
        config.checkpoint.best_by = "aji"
        config.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
        return "\n".join(compatibility.notes_on_changes(saved, checkpoint.describe(config, {}, None, None)))

    config = demo.get_config()
    config.instances.method, config.checkpoint.best_by = "watershed", "aji"
    saved = checkpoint.describe(config, {}, None, None)
    assert notes(saved) == "" == notes(saved, num_steps=8)
    assert notes(saved, instances__boundary__threshold=0.9) == "", "not the method that makes its nuclei"
    found = notes(saved, instances__watershed__threshold=0.9)
    assert "other nuclei so far (instances.watershed.threshold: 0.5 → 0.9)" in found
    assert notes(saved, instances__watershed__threshold=0.9, checkpoint__best_by="dice") == ""
    del saved["config"]["checkpoint"]["best_by"]
    assert notes(saved) == "", "all epochs: nothing was squeezed"
    assert "did not squeeze optim.restart_epochs into num_steps = 8" in notes(saved, num_steps=8)
    assert notes(saved, num_steps=8, self_correction__cycles=1) == ""


def test_a_run_may_go_on_with_other_recomputation() -> None:
    """It changes memory and time, and the last digits. An earlier release's run had each network's own."""
    config = demo.get_config()
    saved, now, old = (checkpoint.describe(config, {}, None, None) for _ in range(3))
    now["config"]["model"]["recompute"] = "blocks"
    del old["config"]["model"]["recompute"]
    for before in (saved, old):
        compatibility.check_same_run(before, now, Path("run"))
        assert compatibility.notes_on_changes(before, now) == [
            "was started with model.recompute auto and goes on with blocks: equal to float rounding, not "
            "always to the bit"
        ]
    assert compatibility.notes_on_changes(old, saved) == []


def test_curves_of_an_earlier_release_have_todays_names(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 1, "loss": 0.5}\n{"step": 1, "validation_f1": 0.6}\n'
        '{"step": 2, "validation_aji": 0.3, "validation_dice": 0.7}\n'
    )
    for step, dice in ((1, 0.6), (2, 0.7), (3, None)):
        run = runs.Run(tmp_path, ConfigDict({"step": step}), ConfigDict(), False, None)  # type: ignore[arg-type]
        assert run.validation_dice() == dice
    assert run.curves()[1] == {"step": 1, "validation_dice": 0.6}


def parameter_files(checkpoint: Path) -> list[Path]:
    """The files that hold a model's values, the largest first."""
    files = [path for path in (checkpoint / "model").rglob("*") if path.is_file()]
    return sorted(files, key=lambda path: -path.stat().st_size)


@pytest.mark.parametrize("damage", ["cut off", "emptied", "a flipped bit", "info"])
def test_a_damaged_checkpoint_is_one_line_that_names_another(
    damage: str, weights: Weights, one_device: Mesh, tmp_path: Path
) -> None:
    """Whatever Orbax makes of it: an error of its own, or values that nobody wrote."""
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, weights, info_of("dice"))
    newest = tmp_path / "checkpoints" / "2"
    largest = parameter_files(newest)[0]
    content = bytearray(largest.read_bytes())
    if damage == "info":
        (newest / "info" / "metadata").write_text('{"config": ')
    elif damage == "a flipped bit":
        content[len(content) // 2] ^= 1
        largest.write_bytes(content)
    else:
        largest.write_bytes(content[: len(content) // 2] if damage == "cut off" else b"")
    with pytest.raises(CheckpointError) as error:
        load_model(tmp_path, one_device)
    message = str(error.value)
    assert message.startswith(f"{newest}: is damaged (") and "\n" not in message
    assert "Take the one of step 1: eval.step=1" in message
    assert load_model(tmp_path, one_device, 1).step == 1


@pytest.mark.parametrize("file", ["info/metadata", "metrics/metrics", "_CHECKPOINT_METADATA"])
@pytest.mark.parametrize("content", ["[]", "5", '{"config": {}, "score": "x"}', "[" * 99999, "\xff"])
def test_a_damaged_description_is_one_line(
    file: str, content: str, weights: Weights, one_device: Mesh, tmp_path: Path
) -> None:
    save(tmp_path, weights, "dice", steps=(1,))
    (tmp_path / "checkpoints" / "1" / file).write_text(content, encoding="latin-1")
    try:
        assert load_model(tmp_path, one_device).step == 1  # Orbax does without what is not needed
    except CheckpointError as error:
        assert str(tmp_path) in str(error) and "\n" not in str(error) and len(str(error)) < 700


def test_a_changed_config_is_found(weights: Weights, one_device: Mesh, tmp_path: Path) -> None:
    """It is JSON, in which a changed number is a number still."""
    save(tmp_path, weights, "dice", steps=(1,))
    path = tmp_path / "checkpoints" / "1" / "info" / "metadata"
    info = json.loads(path.read_text())
    info["config"]["model"]["input_scale"] = 0.5
    path.write_text(json.dumps(info))
    with pytest.raises(CheckpointError, match="the SHA-256 of its item info is not the one that"):
        load_model(tmp_path, one_device)
    del info["sha256"], info["init"]  # as an earlier release wrote it
    path.write_text(json.dumps(info))
    assert load_model(tmp_path, one_device).info["config"]["model"]["input_scale"] == 0.5


@pytest.mark.parametrize("item", ["info", "metrics", "model", None])
def test_a_digest_that_is_not_there_is_damage(
    item: str | None, weights: Weights, one_device: Mesh, tmp_path: Path
) -> None:
    """Its name is damaged, or that of all of them (None); it would hide another fault."""
    save(tmp_path, weights, "dice", steps=(1,))
    path = tmp_path / "checkpoints" / "1" / "info" / "metadata"
    info = json.loads(path.read_text())
    named = info if item is None else info["sha256"]
    named["damaged"] = named.pop(item or "sha256")
    path.write_text(json.dumps(info))
    with pytest.raises(CheckpointError, match=f"is damaged .the SHA-256 of its item {item or 'info'} is not"):
        load_model(tmp_path, one_device)


def test_a_changed_score_is_found(weights: Weights, one_device: Mesh, tmp_path: Path) -> None:
    """It would make another step the best: for who loads the run, and for a training that goes on."""
    save(tmp_path, weights, "dice", steps=(1, 2))
    path = tmp_path / "checkpoints" / "2" / "metrics" / "metrics"
    content = path.read_text()
    path.write_text(content.replace('"score": 0.7', '"score": 0.9'))
    assert path.read_text() != content
    message = r"checkpoints/2: is damaged \(the SHA-256 of its item metrics is not .* Take the one of step 1"
    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path, one_device)
    with pytest.raises(CheckpointError, match=message):
        Checkpoints(tmp_path, keep=1)
    assert load_model(tmp_path, one_device, 2).step == 2, "its weights are sound"
    path.write_text(content)
    assert load_model(tmp_path, one_device).step == 1
    shutil.rmtree(path.parent)
    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path, one_device)


@pytest.mark.parametrize(
    "said",
    [
        ValueError("PERMISSION_DENIED: Error opening file"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory"),
        PermissionError(13, "Permission denied"),
        MemoryError(),
    ],
)
def test_what_says_nothing_of_the_file_is_not_called_damage(
    said: Exception, weights: Weights, one_device: Mesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise said

    save(tmp_path, weights, "dice", steps=(1, 2))
    monkeypatch.setattr(ocp.CheckpointManager, "restore", refuse)
    with pytest.raises(CheckpointError, match=r"checkpoints/2: cannot be read \(.*\)\. Mend that") as error:
        load_model(tmp_path, one_device, 2)
    assert "damaged" not in str(error.value)
    monkeypatch.setattr(ocp.CheckpointManager, "__init__", refuse)
    with pytest.raises(CheckpointError, match=r"checkpoints: cannot be read \(.*\)\. Mend that") as error:
        load_model(tmp_path, one_device, 2)
    assert "damaged" not in str(error.value)


def test_a_network_of_another_release_is_not_called_damage(
    weights: Weights, one_device: Mesh, tmp_path: Path
) -> None:
    info = info_of("dice")
    info["config"]["model"]["name"] = "of_tomorrow"
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(7, weights, info)
    with pytest.raises(CheckpointError, match="checkpoints/7: does not fit this release .unknown network"):
        load_model(tmp_path, one_device)


def test_weights_that_are_not_finite_are_refused(weights: Weights, one_device: Mesh, tmp_path: Path) -> None:
    broken = Weights(jax.tree.map(lambda x: x * np.float32(np.nan), weights.params), weights.batch_stats)
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(7, broken, info_of("dice"))
    with pytest.raises(CheckpointError, match="item model has values that are not finite"):
        load_model(tmp_path, one_device)


def test_loading_says_nothing_of_other_libraries(
    weights: Weights, one_device: Mesh, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, weights, "aji", steps=(1,))
    logging.set_verbosity(logging.WARNING)
    caplog.clear()
    load_model(tmp_path, one_device)
    assert [record.message for record in caplog.records if record.levelname != "INFO"] == []
    assert logging.get_verbosity() == logging.WARNING, "the user's own setting stays"


def test_what_a_killed_training_was_writing_is_deleted(tmp_path: Path, weights: Weights) -> None:
    save(tmp_path, weights, "aji", steps=(1,))
    unfinished = tmp_path / "checkpoints" / "7.orbax-checkpoint-tmp-3"
    (unfinished / "model").mkdir(parents=True)
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        assert not unfinished.exists() and checkpoints.latest == 1


FULL = """
import sys
from pathlib import Path
import typer
from nucseg_jax.cli.running import run
from tests.untrained import write_run
app = typer.Typer(add_completion=False)

@app.command()
def work():
    write_run(Path(sys.argv[1]) / "run")

sys.exit(run(app, [], "test"))
"""


def test_a_checkpoint_on_a_full_disk(tmp_path):
    status, printed, left = run_on_small_disk(tmp_path, 40, [sys.executable, "-c", FULL, tmp_path])
    assert status == 1, printed
    checkpoints = tmp_path / "run" / "checkpoints"
    assert printed.startswith(
        f"error: {checkpoints}: 0.5 MB are to be written, and its disk has 0.0 MB free. "
    )
    assert len(printed.splitlines()) == 1
    assert left == []  # no folder that has nothing in it


def test_a_disk_that_becomes_full_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    """Orbax says it, at the end."""

    def full():
        raise ValueError("RESOURCE_EXHAUSTED: Failed to write 9 bytes: No space left on device")

    with pytest.raises(DiskFullError, match=f"{tmp_path}: cannot be written, because the disk .* is full"):
        with Checkpoints(tmp_path, keep=1) as checkpoints:
            monkeypatch.setattr(checkpoints._manager, "wait_until_finished", full)
            checkpoints.wait()
    assert not (tmp_path / ".lock").exists()


def test_all_processes_stop_where_the_first_may_not_train(tmp_path, monkeypatch):
    """None of them may wait for the others in Orbax, for ever."""
    told: list[bool] = []
    monkeypatch.setattr(checkpoint.devices, "any_process", lambda flag: told.append(flag) or True)
    monkeypatch.setattr(checkpoint.ocp, "CheckpointManager", None)
    with Holder(lock_inside(tmp_path)), pytest.raises(InUseError):
        Checkpoints(tmp_path, keep=1)
    monkeypatch.setattr(checkpoint.devices, "is_first_process", lambda: False)
    with pytest.raises(UserError, match=f"{tmp_path}: training cannot use it; the first process says why"):
        Checkpoints(tmp_path, keep=1)
    assert told == [True, False]


def test_two_trainings_in_one_folder(tmp_path):
    with Holder(lock_inside(tmp_path)) as holder:
        with pytest.raises(InUseError, match=f"{tmp_path}: process {holder.pid} on .* works on it"):
            Checkpoints(tmp_path, keep=1)
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    with Checkpoints(tmp_path, keep=1):
        assert (tmp_path / ".lock").exists()
    assert not (tmp_path / ".lock").exists()
