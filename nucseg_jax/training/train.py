"""Training: from a config to a trained network. The step is in step.py, what surrounds it in loop.py."""

import functools
import math
from collections.abc import Sequence
from pathlib import Path

import optax
from ml_collections import ConfigDict

from nucseg_jax import data, devices
from nucseg_jax.config import check_values
from nucseg_jax.data.annotation import check_annotated, check_nuclei
from nucseg_jax.data.dataset import Example, shown_sources
from nucseg_jax.data.patches import PatchPlan, balanced_crops, images_of_step, packed_annotation
from nucseg_jax.data.rasters import Rasters, rasters, rasters_with_depth
from nucseg_jax.devices import say
from nucseg_jax.errors import UserError
from nucseg_jax.inference.layout import tilings_of
from nucseg_jax.models import IMAGENET_ENCODERS, count_parameters
from nucseg_jax.models.network import FunctionalNetwork, Weights
from nucseg_jax.models.targets import check_classes
from nucseg_jax.runs.checkpoint import Checkpoints, describe
from nucseg_jax.runs.compatibility import best_by
from nucseg_jax.runs.loading import newest_info
from nucseg_jax.runs.unseen import check_scored
from nucseg_jax.slides.resolution import check_prepared
from nucseg_jax.training import augmentation, feeds, held_out, objectives, optim, start, validation
from nucseg_jax.training import origin as origins
from nucseg_jax.training.cycles import Cycles, epoch_length
from nucseg_jax.training.logs import RunLog
from nucseg_jax.training.loop import Interruption, Loop, NeverAsked
from nucseg_jax.training.self_correction import SelfCorrection
from nucseg_jax.training.sharding import Sharding, shown_sharing
from nucseg_jax.training.step import Given, Step, TrainState, train_step


def train(config: ConfigDict, workdir: Path, interruption: Interruption | None = None) -> Weights:
    """Train, or go on from the last checkpoint in `workdir`, to the config's last step.

    Args:
      config: the experiment.
      workdir: the run's folder.
      interruption: may ask it to stop.

    Returns:
      What training has come to: with cycles of self-correction the average of the cycles' parameters.

    Raises:
      DataError: no prepared dataset, unknown validation images, an image smaller than a patch, a resolution
        at which nothing can be segmented, a split without nuclei, or an image without an annotated pixel.
      NonFiniteLossError: the loss, a parameter or a batch statistic became infinite or NaN.
      TrainingStopped: it was asked to stop, and has written a checkpoint of the step that it had come to.
      UserError: a bad config value, `workdir` holds a run of another config, or an image is in two splits;
        training cannot start from what `init.source` names, or that has seen an image to be scored.
    """
    mesh = devices.make_mesh()
    check_values(config, mesh.devices.size)
    check_classes(config.model.num_classes)
    tilings_of(config)  # what evaluation cannot do is found now
    saved = newest_info(workdir)
    # A run that goes on has its weights, its encoder and its stain target in its checkpoint: the files may
    # be gone.
    origin = None if saved or not config.init.source else origins.read(config.init.source, mesh)
    dataset = data.load(config.data)
    check_prepared(dataset.prepared_mpp, dataset.name)
    other_mpp = origin and origins.check_resolution(origin, dataset)
    dataset.check_sizes(config.data.crop_size, augmentation.window_size(config))
    config, chosen_here = held_out.with_chosen(config, dataset, saved, origin)
    examples, unseen = dataset.training(config.data.validation)
    parts = {"training images": examples, "held-out images": unseen}
    bare = [check_nuclei(dataset.name, part, images) for part, images in parts.items() if images]
    partly = [check_annotated(dataset.name, part, images) for part, images in parts.items() if images]
    plan = plan_patches(config, examples)
    steps_per_epoch = len(plan) / config.batch_size
    cycles = Cycles.of(config, steps_per_epoch)
    rates = optim.table(learning_rates(config, cycles, steps_per_epoch), cycles.num_steps)
    optimizer, given = make_optimizer(config), Given.of(rates, config.seed)
    with Checkpoints(workdir, config.checkpoint.keep) as checkpoints:
        stain = origins.stain_of(origin, config.stain, dataset) if saved is None else saved.get("stain")
        resolution = {
            "image_mpp": dataset.mpp,
            "network_mpp": dataset.prepared_mpp,
            "source": dataset.mpp_source,
        }
        init = origin.record() if origin else (saved or {}).get("init")
        info = describe(config, dataset.metadata, stain, resolution, init)
        info["config"]["checkpoint"]["best_by"] = chosen = best_by(config, saved)
        check_scored(workdir, info, dataset)
        if saved is None:
            encoder = config.model.encoder_weights
            begun = start.fresh(config, mesh, optimizer, given, encoder, stain, origin)
        else:
            start.check_continues(saved, info, workdir)
            begun = start.resumed(config, mesh, optimizer, given, checkpoints, stain)
        network, first = begun.network, begun.first
        correction = SelfCorrection(config, mesh, network, examples, cycles, workdir)
        if begun.averaged is not None:
            correction.resume(first, begun.averaged)
        if unseen and chosen != (usual := best_by(config, None)):
            say(
                f"note: {workdir} goes on choosing its best checkpoint by {chosen}, as it was started: a new "
                f"run would by {usual}"
            )
        say(
            f"{dataset.name}: {len(examples)} training images{shown_sources([e.source for e in examples])}, "
            f"{len(unseen)} held out, {len(plan):,} patches an epoch; {config.model.name}, "
            f"{count_parameters(begun.shapes.params):,} parameters; "
            f"steps {first} to {cycles.num_steps} of batch {config.batch_size} on {mesh.devices.size} "
            "device(s)"
        )
        if config.shard != "none":
            say(shown_sharing(config.shard, begun.shapes))
        for note in filter(None, bare):
            say(f"note: {note}. All their annotated pixels are background")
        of_origin = origins.notes(origin, info) if origin else ()
        loaded = loading(config, dataset.name, examples)
        for note in filter(None, [*partly, other_mpp, chosen_here, loaded, *of_origin]):
            say(f"note: {note}")
        is_random = first == 0 and init is None and not config.model.encoder_weights
        if is_random and config.model.name in IMAGENET_ENCODERS:
            say(
                "note: the encoder starts from random weights, and is meant to start from ImageNet's: "
                "model.encoder_weights=FILE (see the README)"
            )
        cut = rasters_of(config, examples)
        feed = feeds.build(config, mesh, make_step(config, network, optimizer), plan, begun.shapes)
        validate = None
        if unseen:
            validate = validation.validator(config, network, devices.own_mesh(), dataset, unseen, stain)
        with RunLog(workdir, first, cycles.num_steps, config.batch_size) as log:
            loop = Loop(
                config,
                rates,
                checkpoints,
                info,
                correction,
                validate,
                log,
                images_of=functools.partial(
                    images_of_step, plan, config.batch_size, [e.id for e in examples]
                ),
                interruption=interruption or NeverAsked(),
            )
            if origin is not None and validate is not None:
                loop.begin(begun.state())
            state: TrainState | None = None
            for phase in () if loop.is_over(first) else cycles.phases(first):
                advance = feed({**cut, **correction.rasters()}, phase)  # compiles while weights are drawn
                state = loop.run(state or begun.state(), advance, phase)
                if int(state.step) < phase.stop:
                    break
                state = loop.end(state)
            state = state or begun.state()
        for line in held_out.how_it_ended(
            workdir, info, (first, int(state.step), cycles.num_steps), checkpoints.best
        ):
            say(line)
    return correction.weights or state.result


def rasters_of(config: ConfigDict, examples: Sequence[Example]) -> Rasters:
    """What patches are cut from but for refined labels: with depths where these teach."""
    return rasters_with_depth(examples) if config.model.boundary == "distance" else rasters(examples)


def loading(config: ConfigDict, name: str, examples: Sequence[Example]) -> str | None:
    """A sentence that says how much memory all training images take; None where they need none, or have it.

    Args:
      config: the experiment.
      name: of the dataset.
      examples: the training images.
    """
    pipeline = config.data.pipeline
    if pipeline == "streamed" or all(e.in_memory for e in examples):
        return None
    height, width = (max(side) for side in zip(*(e.size for e in examples), strict=True))
    size = len(examples) * height * width * 7  # an image's 3 bytes a pixel, and 4 of its label map
    return (
        f"{name}: data.pipeline={pipeline} holds all {len(examples):,} training images in memory, "
        f"{size / 1e9:.1f} GB; data.pipeline=streamed reads each when it is needed"
    )


def make_optimizer(config: ConfigDict) -> optax.GradientTransformationExtraArgs:
    """The optimizer that the config names."""
    chosen = config.optim
    if chosen.method == "adamw":
        optimizer = optim.adamw(weight_decay=chosen.weight_decay)
    else:
        optimizer = optim.sgd(momentum=chosen.momentum, weight_decay=chosen.weight_decay)
    if chosen.encoder_learning_rate is None:
        return optimizer
    return optim.with_encoder_rate(optimizer, chosen.encoder_learning_rate / chosen.learning_rate)


def make_step(
    config: ConfigDict, network: FunctionalNetwork, optimizer: optax.GradientTransformationExtraArgs
) -> Step:
    """The training step as the config has it."""
    return functools.partial(
        train_step,
        network=network,
        optimizer=optimizer,
        objective=objectives.of(config),
        loss_scale=config.optim.loss_scale,
        accumulate=config.optim.accumulate,
        rescale=augmentation.rescale_of(config),
        average_decay=config.optim.average_decay,
        average_warmup=config.optim.average_warmup,
        sharding=Sharding.of(config.shard),
    )


def learning_rates(config: ConfigDict, cycles: Cycles, steps_per_epoch: float) -> optim.Schedule:
    """The config's schedule: cosine warm restarts, or self-correction's where it has cycles."""
    rate, chosen = scaled_rate(config), config.self_correction
    if not cycles.count:
        period = restart_period(config, steps_per_epoch)
        return optim.warm_restarts(rate, period, warmup_steps(config, steps_per_epoch, period))
    return optim.warm_up_and_cycles(
        list(cycles.phases()),
        learning_rate=rate,
        warmup=cycles.warmup,
        restart=chosen.restart,
        floor=chosen.floor,
    )


def scaled_rate(config: ConfigDict) -> float:
    """The learning rate at its highest: the config's, scaled to the batch where it says so."""
    reference = config.optim.reference_batch
    scale = 1.0 if reference is None else config.batch_size / reference
    return float(config.optim.learning_rate * scale)


def restart_period(config: ConfigDict, steps_per_epoch: float) -> int:
    """Steps from one warm restart to the next.

    A squeezed period is rounded up: rounded down, training would end a few steps after one restart too many.
    """
    exact = config.optim.restart_epochs * epoch_length(config, steps_per_epoch)
    if config.num_steps is None:
        return max(1, round(exact))
    return max(1, math.ceil(exact * (1 - 1e-9)))  # less what floating point adds to a whole number


def warmup_steps(config: ConfigDict, steps_per_epoch: float, period: int) -> int:
    """Steps of `optim.warmup_epochs`.

    Raises:
      UserError: they leave nothing of the first period.
    """
    epochs = config.optim.warmup_epochs
    steps = round(epochs * epoch_length(config, steps_per_epoch))
    if steps >= period:
        raise UserError(
            f"optim.warmup_epochs = {epochs} are {steps} steps, and leave nothing of the first period of "
            f"{period} (optim.restart_epochs = {config.optim.restart_epochs}): set fewer"
        )
    return steps


def plan_patches(config: ConfigDict, examples: Sequence[Example]) -> PatchPlan:
    """The patches of `examples` that the config trains on."""
    sizes = tuple(e.size for e in examples)
    crop, random_crops = augmentation.window_size(config), config.data.random_crops
    # Only masks that hide something are read: those of a sharded dataset are decoded for it.
    annotated = tuple(packed_annotation(e.unannotated) if e.unannotated_px else None for e in examples)
    if config.data.balance_sources:
        random_crops = balanced_crops([e.source for e in examples], sizes, crop, random_crops, annotated)
    return PatchPlan(
        seed=config.seed,
        sizes=sizes,
        crop=crop,
        random_crops=random_crops,
        fresh=config.data.fresh_crops,
        turns=config.data.turns,
        flips=config.data.flips,
        annotated=annotated if any(annotated) else (),
        margin=augmentation.hidden_margin(config),
    )
