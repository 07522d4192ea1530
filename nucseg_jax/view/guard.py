"""Who is a client: only a page that knows the address which `nucseg view` has printed.

The server listens on 127.0.0.1 alone, but every web page that the user visits, and every other user of the
machine, can send requests there. So the address has a random token as the first part of its path, and a
request is refused without it; with the name of another host (DNS rebinding); or from another page (Origin).
There are no cookies: browsers send those to every server of 127.0.0.1, whatever its port.

A browser that we start has an address in its command line, which other users may see. So that address has a
ticket instead, which works once and leads to the one with the token.
"""

import secrets
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_OF_OPENSEADRAGON = "'sha256-9xTiqzfwFaL2SGb1rmr8gysEwVVjIvqWAgmZgqFqpEE='"
"""The one style sheet that OpenSeadragon 6.1.1 adds to the page."""

_SECURITY = {
    "Content-Security-Policy": f"default-src 'self'; style-src 'self' {_OF_OPENSEADRAGON}; "
    "img-src 'self' blob: data:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_OWN_PAGE = ("same-origin", "none")  # Sec-Fetch-Site of our page's requests, and of an address that is typed


def new_token() -> str:
    """A token that nobody can guess."""
    return secrets.token_urlsafe(32)


class Guard:
    """Lets requests of our own page through, and refuses all others with 403 and a line that says why.

    Args:
      app: what is behind.
      token: the first part of the path of every address.
      port: that the server listens on.
      ticket: the whole path, once, of an address that leads to the page; None: there is none.
    """

    def __init__(self, app: ASGIApp, *, token: str, port: int, ticket: str | None = None) -> None:
        self._app, self._token, self._ticket = app, token, ticket
        self._hosts = [f"{name}:{port}" for name in ("127.0.0.1", "localhost")]
        if port == 80:  # which browsers leave out
            self._hosts += ["127.0.0.1", "localhost"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_safe(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SECURITY.items():
                    headers[name] = value
            await send(message)

        headers, path = Headers(scope=scope), scope["path"]
        reason = self._why_foreign(headers)
        if not reason and self._ticket is not None and _same(path, f"/{self._ticket}"):
            self._ticket = None
            await RedirectResponse(f"/{self._token}/", 303)(scope, receive, send_safe)
            return
        reason = reason or self._why_unknown(path)
        if reason:
            await PlainTextResponse(reason + "\n", 403)(scope, receive, send_safe)
        else:
            await self._app({**scope, "root_path": f"/{self._token}"}, receive, send_safe)

    def _why_foreign(self, headers: Headers) -> str:
        """One line on why a request is not of our page; "" where it may be."""
        if not _all_in(headers.getlist("host"), self._hosts):
            return (
                "refused: this is not the host that nucseg view runs on. Use the address that it has printed"
            )
        origins = headers.getlist("origin")
        if origins and not _all_in(origins, [f"http://{host}" for host in self._hosts]):
            return "refused: the request comes from another page"
        sites = headers.getlist("sec-fetch-site")
        if sites and not _all_in(sites, _OWN_PAGE):
            return "refused: the request comes from another page"
        return ""

    def _why_unknown(self, path: str) -> str:
        """One line on why an address is not ours; "" where it is."""
        first = path.removeprefix("/").partition("/")[0]
        if not _same(first, self._token):
            return "refused: the address lacks the token of this start. Use the one that is printed"
        return ""


def _same(given: str, secret: str) -> bool:
    """Whether they are the same; the time it takes does not tell how much of it."""
    return secrets.compare_digest(given.encode("utf-8", "replace"), secret.encode())


def _all_in(values: Iterable[str], allowed: Iterable[str]) -> bool:
    """Whether there is a value, and all are allowed."""
    values, known = list(values), set(allowed)
    return bool(values) and all(value.lower() in known for value in values)
