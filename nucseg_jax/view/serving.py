"""Starts the server, on this machine alone, and shows where it is."""

import contextlib
import os
import socket
import threading
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import uvicorn

from nucseg_jax.errors import UserError, in_short
from nucseg_jax.io.locks import alone, lock_inside
from nucseg_jax.view.app import ServerOptions, create_app
from nucseg_jax.view.guard import new_token
from nucseg_jax.view.library import Library
from nucseg_jax.view.truths.listing import add_truths
from nucseg_jax.view.truths.reading import DrawOutlines, is_outlines

HOST = "127.0.0.1"
_SHUTDOWN_S = 3  # that answers may still take at the end


def serve(
    paths: Sequence[Path],
    *,
    port: int = 0,
    browser: bool = True,
    workdir: Path | None = None,
    state: Path | None = None,
    most_upload_mb: int = 2000,
    truths: Sequence[Path] = (),
    region_classes: Sequence[str] = (),
    load_outlines: Callable[[], DrawOutlines] | None = None,
    is_asked_to_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Serve the page until that is to end.

    Args:
      paths: what clients may read: slides, images, results, and folders of them.
      port: to listen on; 0: any that is free.
      browser: open the page in one.
      workdir: the run that jobs take; None: an installed model.
      state: folder for jobs, their results, uploads and corrections, made if need be; None: in the user's
        data folder.
      most_upload_mb: how large an upload may be.
      truths: ground truths of the slides (`truths`): files, and folders of them.
      region_classes: names of QuPath's classes of regions in truths, besides Region*.
      load_outlines: gives what draws the outlines of truths; called where a truth has outlines.
      is_asked_to_stop: whether the process has been interrupted; asked ten times a second.

    Raises:
      UserError: a path has nothing to show; the port is taken; `workdir` is no folder.
      InUseError: another server uses the folder.
    """
    if workdir is not None and not workdir.is_dir():
        raise UserError(f"--workdir {workdir}: no such folder. Name that of a trained run")
    if most_upload_mb < 1:
        raise UserError(f"--max-upload-mb {most_upload_mb}: must be 1 or more")
    library = Library()
    for path in paths:
        library.add(path)
    has_outlines = any(is_outlines(truth.folder) for truth in add_truths(library, truths, region_classes))
    draw_outlines = load_outlines() if has_outlines and load_outlines is not None else None
    for note in library.notes:
        print(f"note: {note}")
    state = _user_folder("XDG_DATA_HOME", "~/.local/share") if state is None else state
    cache = _user_folder("XDG_CACHE_HOME", "~/.cache")
    for folder in (state, cache):  # which tell of patients
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with alone(lock_inside(state), state, print), listening(port) as listener:
        number = int(listener.getsockname()[1])
        token, ticket = new_token(), new_token()
        options = ServerOptions(
            token,
            number,
            cache,
            state,
            ticket,
            None if workdir is None else workdir.absolute(),
            most_upload_mb * 10**6,
            draw_outlines=draw_outlines,
        )
        app = create_app(library, options)
        print(f"The page is at http://{HOST}:{number}/{token}/ (Ctrl-C ends it)", flush=True)
        if browser:
            address = f"http://{HOST}:{number}/{ticket}"
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="on",
            log_level="warning",
            access_log=False,  # it would show the token
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_SHUTDOWN_S,
        )
        _Server(config, is_asked_to_stop).run([listener])


class _Server(uvicorn.Server):
    """A server that leaves signals to the command: uvicorn sends each again, which means "at once" there.

    Args:
      config: of uvicorn.
      is_asked_to_stop: asked ten times a second.
    """

    def __init__(self, config: uvicorn.Config, is_asked_to_stop: Callable[[], bool]) -> None:
        super().__init__(config)
        self._is_asked_to_stop = is_asked_to_stop

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Whether to end."""
        return await super().on_tick(counter) or self._is_asked_to_stop()


def listening(port: int) -> socket.socket:
    """A socket that listens on this machine's own address.

    Raises:
      UserError: the port is taken, or may not be listened on.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name != "nt":  # where it would let two servers have the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        raise UserError(f"--port {port}: cannot be used ({in_short(error)}). Give another one") from error
    return listener


def _user_folder(variable: str, otherwise: str) -> Path:
    """`nucseg_jax/view` in a folder of the user's, as the XDG specification says."""
    base = os.environ.get(variable, "")
    root = Path(base) if os.path.isabs(base) else Path(os.path.expanduser(otherwise))
    return root / "nucseg_jax" / "view"
