"""What options offer is what the rooms have: the verbs write it out, so that their help imports no room."""

from collections.abc import Callable, Collection
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import typer

from data_prep import manifest, normalize
from nucseg_jax import data
from nucseg_jax.cli import convert, prepare, stain
from nucseg_jax.cli.app import app
from nucseg_jax.evaluation.ensemble import OPERATORS
from nucseg_jax.export import EXTRA_FORMATS, FORMATS
from nucseg_jax.models.network import CHANNEL_ORDERS
from nucseg_jax.stain import NORMALIZERS


@pytest.mark.parametrize(
    ("verb", "name", "known"),
    [
        (stain.stain, "method", NORMALIZERS),
        (convert.convert, "channel_order", CHANNEL_ORDERS),
        (convert.convert, "stain", normalize.METHODS),
        (prepare.monuseg, "stain", normalize.METHODS),
        (prepare.monuseg, "stain_backend", normalize.BACKENDS),
        (prepare.folder, "stain", normalize.METHODS),
        (prepare.folder, "stain_backend", normalize.BACKENDS),
        (prepare.pack, "stain", normalize.METHODS),
        (prepare.pack, "dataset", data.COMMANDS),
        (prepare.label_noise, "stain", normalize.METHODS),
        (prepare.label_noise, "dataset", data.COMMANDS),
    ],
)
def test_choices(verb: Callable[..., None], name: str, known: Collection[str]) -> None:
    hint = get_type_hints(verb)[name]
    literals = [hint] if get_origin(hint) is Literal else get_args(hint)
    choices = {choice for literal in literals for choice in get_args(literal)}
    assert choices == set(known)


def help_of(verbs: str, option: str) -> str:
    command: Any = typer.main.get_command(app)
    for verb in verbs.split():
        command = command.commands[verb]
    (found,) = [parameter.help for parameter in command.params if option in parameter.opts]
    return found


@pytest.mark.parametrize(
    ("verbs", "option", "known"),
    [
        ("report", "--ensemble", OPERATORS),
        ("prepare monuseg", "--split", manifest.committed()),
        ("predict", "--formats", FORMATS | EXTRA_FORMATS),
    ],
)
def test_words_of_a_help(verbs: str, option: str, known: Collection[str]) -> None:
    assert known and all(word in help_of(verbs, option) for word in known)
