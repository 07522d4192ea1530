"""What the verbs' arguments have in common."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from nucseg_jax.errors import UserError


class Command(TyperCommand):
    """A verb whose options with several values take them one after the other, or each behind the option.

    `--formats csv geojson` is `--formats csv --formats geojson`; `--formats=csv` takes one.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Typer's, on arguments in the second form.

        Raises:
          UserError: an option has another one, or an empty text, for its value; an argument is empty.
        """
        options = {name: parameter for parameter in self.params for name in parameter.opts}
        takes_value = {
            name
            for name, parameter in options.items()
            if name.startswith("-") and not getattr(parameter, "is_flag", False)
        } - {"--help", "-h"}
        for argument, following in itertools.pairwise(_before_dashes(args)):
            if argument in takes_value and following.partition("=")[0] in options:
                raise UserError(f"{argument} needs a value, got the option {following}")
            if argument in takes_value and not following:
                raise UserError(f"{argument} needs a value, got an empty text: is a shell variable unset?")
        for argument in _before_dashes(args):
            option, equals, value = argument.partition("=")
            if not argument or (equals and not value and option in takes_value):
                what = f"{option} needs a value" if option else "an argument is needed"
                raise UserError(f"{what}, got an empty text: is a shell variable unset?")
        several = {name for name in takes_value if getattr(options[name], "multiple", False)}
        return super().parse_args(ctx, _spread(args, several))


def check_not_there(file: Path, overwrite: bool) -> None:
    """Raise UserError for a file that a command would replace unasked."""
    if file.exists() and not overwrite:
        raise UserError(f"{file}: is there already. Give --overwrite to replace it, or another name")


def _before_dashes(arguments: Sequence[str]) -> Sequence[str]:
    """Those before a --, behind which nothing is an option."""
    return arguments[: arguments.index("--")] if "--" in arguments else arguments


def _spread(arguments: Sequence[str], several: set[str]) -> list[str]:
    options = _before_dashes(arguments)
    result: list[str] = []
    option: str | None = None  # whose further values come
    fresh = False  # nothing has followed it yet
    for argument in options:
        if argument.startswith("-") and argument != "-":
            option, fresh = (argument if argument in several else None), True
            result.append(argument)
        elif option is None or fresh:
            result.append(argument)
            fresh = False
        else:
            result += [option, argument]
    return [*result, *arguments[len(options) :]]


Experiment = Annotated[
    str,
    typer.Argument(metavar="CONFIG", help="An experiment by its name, such as psp, or its file."),
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Settings that differ from the config's."),
]
SIZES = "Resolution and size"
DEEP_PIXELS = "Images of 16 bits"
RESOLUTION = "Resolution"
"""The panel of options about it, in a command's help."""

SlideMpp = Annotated[
    float | None,
    typer.Option(
        metavar="UM",
        help="µm a pixel of all the slides, whatever their files say.",
        rich_help_panel=RESOLUTION,
    ),
]

White = Annotated[
    int | None,
    typer.Option(
        metavar="VALUE",
        help="What is white in images of 16 bits a channel, such as 4095 of 12-bit cameras. Default: "
        "measured on the glass in the image.",
        rich_help_panel=DEEP_PIXELS,
    ),
]
NoCrop = Annotated[
    bool,
    typer.Option(
        "--no-crop",
        help="Take the full canvas of slides (MRXS, SCN, BIF), and not only the part that was scanned, which "
        "QuPath shows.",
    ),
]
Init = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="What training starts from: an installed model's name, a .safetensors file, or a run's folder. "
        "Default: random weights.",
    ),
]
Workdir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The run's folder. Default: runs/NAME of the config.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Do it again even if it is there.")]
RegionClass = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="A class of QuPath's annotations that are regions, besides Region*. May be given again.",
    ),
]
