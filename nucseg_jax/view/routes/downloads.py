"""What a client saves: its name, and files that are made for it alone."""

from pathlib import Path, PurePath
from urllib.parse import quote

from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send

from nucseg_jax.errors import shown
from nucseg_jax.view.library import Library, ListedResult


class PassingFileResponse(FileResponse):
    """A file that is deleted once the client has it, or has gone."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            Path(self.path).unlink(missing_ok=True)


def attachment(name: str) -> dict[str, str]:
    """The header that has a browser save an answer as a file of this name (RFC 6266)."""
    return {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}


def slide_name(library: Library, result: ListedResult) -> str:
    """The name of the slide's file that a result is of, as the user has it; else that of the result."""
    if result.slide is not None:
        return library.slide(result.slide).name
    source = result.summary.get("source")
    path = source.get("path") if isinstance(source, dict) else None
    return shown(PurePath(path).name) if isinstance(path, str) and PurePath(path).name else result.name
