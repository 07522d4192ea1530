"""Finished folders: what is in one, and what it was asked for with."""

import os
from pathlib import Path
from typing import Any

from nucseg_jax.errors import UserError
from nucseg_jax.io.files import printable
from nucseg_jax.io.json_files import read_json
from nucseg_jax.io.names import is_address

SUMMARY = "summary.json"
"""In the folder of a finished slide; its `config.request` says what was asked for."""

ERROR_ENDING = ".error.txt"
"""Of the file beside a slide's folder that has the traceback of a failure."""


def request_of(folder: Path) -> dict[str, Any] | None:
    """What a finished folder's nuclei were asked for with; None where there is none, or an empty one.

    Raises:
      UserError: something else than a result is there, which must not be replaced: the files that belong to
        a slide, as MRXS has them, the slide itself, or someone's notes.
    """
    try:
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return None
        request = read_json(folder / SUMMARY, "")["config"]["request"]
    except (OSError, UserError, KeyError, TypeError):
        request = None
    if not isinstance(request, dict):
        raise UserError(
            f"{folder}: is there already, but is not a readable result of this command. Give another --out"
        )
    return request


def source_name(source: Path) -> str:
    """A slide as summaries name it: its whole path, links followed; or its address."""
    if is_address(source):
        return printable(source)
    return printable(Path(os.path.realpath(source)))


def source_of(folder: Path) -> str | None:
    """The slide that a finished folder is of, as summaries name it; None where there is no result."""
    try:
        request = request_of(folder)
    except UserError:
        return None
    source = (request or {}).get("source")
    return source if isinstance(source, str) else None


def format_of(folder: Path) -> object:
    """The version of a finished folder's files (`export.summary.FORMAT_VERSION`), as its summary has it."""
    summary = read_json(folder / SUMMARY, "")
    return summary.get("format_version")


def state_of(folder: Path) -> tuple[int, int] | None:
    """What changes when a folder's result is replaced; None without a result."""
    try:
        state = (folder / SUMMARY).stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns
