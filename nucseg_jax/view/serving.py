"""Starts the server, on this machine alone, and shows where it is."""

import os
import socket
import threading
import webbrowser
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from nucseg_jax.errors import UserError, in_short
from nucseg_jax.view.app import create_app
from nucseg_jax.view.guard import new_token
from nucseg_jax.view.library import Library

HOST = "127.0.0.1"
_SHUTDOWN_S = 3  # that answers may still take at the end


def serve(paths: Sequence[Path], *, port: int, browser: bool) -> None:
    """Serve the page until the process is interrupted.

    Args:
      paths: what clients may read: slides, images, results, and folders of them.
      port: to listen on; 0: any that is free.
      browser: open the page in one.

    Raises:
      UserError: a path has nothing to show; the port is taken.
    """
    library = Library()
    for path in paths:
        library.add(path)
    for note in library.notes:
        print(f"note: {note}")
    with listening(port) as listener:
        number = int(listener.getsockname()[1])
        token, ticket = new_token(), new_token()
        app = create_app(library, token=token, port=number, cache=cache_folder(), ticket=ticket)
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
        uvicorn.Server(config).run([listener])


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


def cache_folder() -> Path:
    """`nucseg_jax/view` in the user's cache folder (XDG_CACHE_HOME, or ~/.cache)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~/.cache"))
    return root / "nucseg_jax" / "view"
