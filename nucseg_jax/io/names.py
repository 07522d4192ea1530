"""Names of temporary files and folders beside those that they are for."""

import hashlib
import os
import re
import secrets
import socket
from pathlib import Path

MOST_BYTES = 255
"""Of a name, on nearly all file systems."""

_MOST_HOST, _ENDING_BYTES = 48, 80  # an ending is .HOST-PROCESS-RANDOM.scratch
_ENDING = r"\.(?P<host>[^./]+)-\d+-[0-9a-f]{8}\.(tmp|old|scratch)"
_MARKED = re.compile(f".+{_ENDING}", re.DOTALL)


def shortened(name: str, room: int = 0) -> str:
    """A name that leaves `room` bytes for an ending: itself, or its beginning and 8 digits of its SHA-256.

    It is the same on every machine.
    """
    most = MOST_BYTES - room
    encoded = os.fsencode(name)
    if len(encoded) <= most:
        return name
    digits = hashlib.sha256(encoded).hexdigest()[:8]
    # What is cut may be half a letter, which some file systems refuse.
    return f"{encoded[: most - 9].decode('utf-8', 'ignore')}~{digits}"


def host() -> str:
    """This machine's name, as it stands in names of files: without a dot."""
    return re.sub(r"[^\w-]", "_", socket.gethostname(), flags=re.ASCII)[:_MOST_HOST]


def is_plain(name: str) -> bool:
    """Whether a text can be the name of a file, and of nothing in another folder."""
    if not name.isprintable() or len(name.encode()) > MOST_BYTES:
        return False
    return not set(name) & set("/\\") and name not in ("", ".", "..")


def is_address(path: Path) -> bool:
    """Whether a path is an address of the network, such as https://…, of which `Path` keeps one slash."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:[/\\]", str(path)) is not None and not path.exists()


def address(path: Path) -> str:
    """The address that a path is, as the network takes it: https://…, with both slashes."""
    scheme, _, rest = path.as_posix().partition(":")
    return f"{scheme.lower()}://{rest.lstrip('/')}"


def beside(path: Path, kind: str) -> Path:
    """A new name beside `path`, NAME.HOST-PROCESS-RANDOM.KIND; of a long NAME its beginning (`shortened`).

    Several machines may write to one folder, and in containers all processes have the same number.

    Args:
      path: what the file or folder is for.
      kind: tmp, old or scratch.
    """
    start = shortened(path.name, _ENDING_BYTES)
    return path.with_name(f"{start}.{host()}-{os.getpid()}-{secrets.token_hex(4)}.{kind}")


def is_marked(name: str) -> bool:
    """Whether `beside` may have made a name."""
    return _MARKED.fullmatch(name) is not None


def host_of(path: Path, name: str) -> str | None:
    """The machine that a name was made on, for `path`; None where `beside` did not make it for that."""
    start = shortened(path.name, _ENDING_BYTES)
    match = re.fullmatch(_ENDING, name.removeprefix(start)) if name.startswith(start) else None
    return match["host"] if match else None


def final(path: Path) -> Path:
    """The path that a user knows: of what is being written the later one, of a scratch folder its parent."""
    parts: list[str] = []
    for part in path.parts:
        marked = re.search(f"{_ENDING}$", part)
        if marked and part.endswith(".scratch"):
            break
        parts.append(part[: marked.start()] if marked and part.endswith(".tmp") else part)
    return Path(*parts)
