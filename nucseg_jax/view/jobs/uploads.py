"""Images that a client sends: limited, kept apart, named by us, and kept only if they can be opened."""

import contextlib
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from nucseg_jax.errors import UserError, in_short
from nucseg_jax.io import disk
from nucseg_jax.slides import SUFFIXES
from nucseg_jax.view.slides.displayed_slide import DisplayedSlide, Opening

_OF_SEVERAL_FILES = (".mrxs", ".vms", ".vmu", ".dcm", ".zarr")
TAKEN = tuple(suffix for suffix in SUFFIXES if suffix not in _OF_SEVERAL_FILES)
"""Endings of what can be sent: of slides that are one file."""

_ROOM_BYTES = 200 << 20  # that an upload leaves on the disk


async def receive(parts: AsyncIterator[bytes], name: str, folder: Path) -> Path:
    """Write what comes to a file of ours, and keep it if it is an image or a slide.

    Args:
      parts: of the file; what is too large raises.
      name: as the client calls it; its ending alone counts.
      folder: that it goes to, which exists.

    Returns:
      The file.

    Raises:
      UserError: of another ending; it cannot be opened; the disk is full. Nothing is left.
    """
    suffix = Path(name.lower()).suffix
    if suffix not in TAKEN:
        raise UserError(
            f"{in_short(name, 80)}: is no image or slide of one file by its name ({', '.join(TAKEN)}). Name "
            "others when you start nucseg view"
        )
    path = folder / f"{secrets.token_hex(10)}{suffix}"
    try:
        with path.open("xb") as file:
            async for part in parts:
                disk.check_room(folder, _ROOM_BYTES)
                await run_in_threadpool(file.write, part)
        await run_in_threadpool(_check, path, name)
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise
    return path


def _check(path: Path, name: str) -> None:
    try:
        with DisplayedSlide(Opening(path)) as slide:
            slide.region(1, 0, 0, 1, 1)
    except UserError as error:
        raise UserError(str(error).replace(str(path), in_short(name, 80))) from error
