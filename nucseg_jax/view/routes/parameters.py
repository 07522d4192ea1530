"""What clients send, checked: numbers in addresses, JSON and bodies of a limited size."""

import json
import math
import re
from collections.abc import AsyncIterator
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from nucseg_jax.errors import in_short

MOST_JSON_BYTES = 1 << 20


def number(request: Request, name: str, *, default: float | None = None) -> float:
    """A number of the query, finite.

    Raises:
      HTTPException: 400: it is none, or is missing without a default.
    """
    text = request.query_params.get(name)
    if text is None:
        if default is None:
            raise HTTPException(400, f"the address needs {name}=NUMBER")
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or abs(value) > 1e9:
        raise HTTPException(400, f"{name} must be a number of at most 1e9, got {in_short(text, 40)}")
    return value


def whole(text: str, name: str) -> int:
    """A whole number of at most nine digits.

    Raises:
      HTTPException: 400: it is none.
    """
    if not re.fullmatch("[0-9]{1,9}", text):
        raise HTTPException(400, f"{name} must be a whole number, got {in_short(text, 40)}")
    return int(text)


async def body_parts(request: Request, most_bytes: int, remedy: str = "") -> AsyncIterator[bytes]:
    """The body part by part.

    Raises:
      HTTPException: 413: it has more than `most_bytes`; `remedy` follows in the message.
    """
    total = 0
    async for part in request.stream():
        total += len(part)
        if total > most_bytes:
            raise HTTPException(413, f"more than {most_bytes:,} bytes are not taken{remedy}")
        yield part


async def json_body(request: Request, most_bytes: int = MOST_JSON_BYTES) -> Any:
    """The body as JSON.

    Raises:
      HTTPException: 400: it is none; 413: it is too large.
    """
    content = b"".join([part async for part in body_parts(request, most_bytes)])
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the request is no JSON ({in_short(error, 80)})") from error
