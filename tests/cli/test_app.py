"""`nucseg`: its verbs, its help, its version."""

import re
import subprocess
import sys

import pytest
import typer

import nucseg_jax
from nucseg_jax.cli.app import app
from nucseg_jax.cli.arguments import Command
from tests.cli.commands import ROOT, run, the_error

VERBS = (
    "compare",
    "convert",
    "evaluate",
    "export",
    "merge",
    "models",
    "predict",
    "prepare",
    "report",
    "stain",
    "suggest",
    "to-torch",
    "train",
    "tune",
    "view",
)
OPTIONS = {
    "predict": ("--model", "--workdir", "--network-mpp", "--share", "--roi", "--simplify"),
    "report": ("--ensemble", "--predictions"),
    "train": ("CONFIG", "--set", "--init"),
    "convert": ("--channel-order",),
}


def test_help_names_every_verb() -> None:
    shown = run("--help")
    assert shown.returncode == 0 and not shown.stderr
    assert all(re.search(rf"^. {verb} +\S", shown.stdout, re.M) for verb in VERBS), shown.stdout


def test_every_verb_has_help_with_examples() -> None:
    group = typer.main.get_command(app)
    assert tuple(sorted(group.commands)) == VERBS
    for verb, command in group.commands.items():
        leaves = getattr(command, "commands", {"": command})
        for name, leaf in leaves.items():
            assert isinstance(leaf, Command), verb  # whose options keep all their values
            if len(leaf.params) > 7:
                assert len({getattr(p, "rich_help_panel", None) for p in leaf.params}) > 1, (verb, name)
            assert f"\nnucseg {verb} {name}".rstrip() in leaf.help, (verb, name)
            for parameter in leaf.params:
                assert getattr(parameter, "help", None) or parameter.name == "help", (verb, parameter.name)


@pytest.mark.parametrize("verb", OPTIONS)
def test_help_of_a_verb(verb: str) -> None:
    shown = run(verb, "--help").stdout
    assert all(option in shown for option in OPTIONS[verb]), shown
    assert f"nucseg {verb}" in shown


def test_version() -> None:
    assert run("--version").stdout == f"nucseg_jax {nucseg_jax.__version__}\n"


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_and_version_import_no_jax(argument: str) -> None:
    code = (
        "import sys\nfrom nucseg_jax.cli import main\n"
        f"main([{argument!r}])\nassert not {{'jax', 'numpy', 'scipy'}} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["segment"], "No such command 'segment'"),
        (["prepare", "coco"], "No such command 'coco'"),
        (["predict", "a.png", "--workdir", "r"], "Missing option '--out'"),
        (["stain", "a.png", "--target", "t", "--out", "x", "--method", "magic"], "'magic' is not one of"),
        (
            ["predict", "a.png", "--workdir", "r", "--out", "x", "--mpp", "fine"],
            "'--mpp': Input should be a valid number, unable to parse string as a number, got 'fine'",
        ),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], message: str) -> None:
    assert message in the_error(run(*arguments))


def test_no_arguments_show_the_help() -> None:
    shown = run()
    assert "predict" in shown.stdout and shown.returncode == 2


def test_the_script_is_declared() -> None:
    assert 'nucseg = "nucseg_jax.cli:script"' in (ROOT / "pyproject.toml").read_text()
