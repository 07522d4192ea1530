"""`nucseg models`: the models that come with the install; a run's network as one file."""

from pathlib import Path
from typing import Annotated, Any

import typer

from nucseg_jax.cli.arguments import Command, check_not_there

_SCORES = {"aji": "AJI", "pq": "PQ", "dice": "Dice"}

models = typer.Typer(help="The models that come with the install, and a run's network as one file.")


@models.callback(invoke_without_command=True)
def show(context: typer.Context) -> None:
    """The models that come with the install, and a run's network as one file.

    \b
    nucseg models
    nucseg models save runs/unet_small unet_small.safetensors
    """
    if context.invoked_subcommand is None:
        from nucseg_jax import pretrained
        from nucseg_jax.errors import UserError

        wrong = []
        for name in pretrained.names():
            try:
                print("\n".join(_lines(name, pretrained.load(name), pretrained.card(name))))
            except UserError as error:  # the others can be used
                wrong.append(str(error))
        if wrong:
            raise UserError("; ".join(wrong))


@models.command(cls=Command)
def save(
    workdir: Annotated[Path, typer.Argument(metavar="RUN", help="A trained run's folder.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What is written: NAME.safetensors.")],
    step: Annotated[
        int | None, typer.Option(metavar="N", help="Which checkpoint. Default: the best, or the last.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Write a run's network to one file, in half precision: for `nucseg predict --model FILE`.

    It has how nuclei are made, too: as the run's tuning.json says (nucseg tune), or its config.

    \b
    nucseg models save runs/unet_small unet_small.safetensors
    """
    from nucseg_jax.cli.session import begin
    from nucseg_jax.errors import UserError, shown

    if file.suffix != ".safetensors":
        raise UserError(f"{file}: a model's file ends with .safetensors")
    check_not_there(file, overwrite)
    begin()
    from nucseg_jax import devices, pretrained, runs
    from nucseg_jax.runs.tensors import to_tensors

    given: dict[str, Any] = {} if step is None else {"eval.step": step}
    run = runs.open_run(workdir, devices.make_mesh(), given)
    model = run.model
    sha256 = pretrained.write(file, file.stem, runs.portable_info(run), model.step, to_tensors(model.weights))
    print(f"wrote {shown(file)}: {run.config.model.name}, step {model.step}, sha256 {sha256}")


def _lines(name: str, model: Any, card: Any) -> list[str]:
    """What the list says of a model."""
    resolution, config = model.info["resolution"], model.info["config"]
    images = ", ".join(f"{count} of {source}" for source, count in card.training_images.items())
    lines = [
        f"{name}: {card.title}",
        f"  network      {config['model']['name']}, {resolution['network_mpp']:g} µm a pixel",
        f"  classes      {', '.join(model.info['classes'])}",
        f"  licence      {card.licence}",
        f"  trained on   {sum(card.training_images.values())} images ({images}), {model.step:,} steps",
        f"  version      nucseg_jax {model.info['version']}, sha256 {model.sha256}",
    ]
    for row in card.scores:
        scores = ", ".join(f"{name} {row[key]:.3f}" for key, name in _SCORES.items() if key in row)
        lines.append(
            f"  its recipe   trained on {row['trained_on']}, scored on {row['scored_on']} "
            f"({row['images']} images): {scores}"
        )
    return lines
