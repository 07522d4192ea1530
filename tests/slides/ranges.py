"""A server of files on this machine that gives parts of them, and remembers what it was asked for."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    gives_parts = True

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
        self.asked: list[tuple[str, int]] = []


class _Handler(SimpleHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        wanted = self.headers.get("Range")
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        size = len(content)
        if wanted is not None and self.server.gives_parts:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = (int(first), int(last) + 1 if last else size) if first else (size - int(last), size)
            content = content[start:end]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{start + len(content) - 1}/{size}")
        else:
            self.send_response(200)
        if self.server.gives_parts:
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.server.asked.append((self.path, len(content)))
            with suppress(ConnectionError):  # of a client that has enough
                self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, _Server]]:
    """The address of a folder, and its server, of which `asked` has the paths and bytes that were given."""
    with _Server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", server
        finally:
            server.shutdown()
            thread.join()
