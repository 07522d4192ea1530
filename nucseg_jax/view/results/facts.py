"""What the summary.json of a result says, which another release or hand may have written."""

from nucseg_jax.errors import shown
from nucseg_jax.io.json_files import finite
from nucseg_jax.view.library import ListedResult


def value_of(result: ListedResult, *keys: str) -> object:
    """What lies below some keys of the summary, one after the other; None where nothing does."""
    found: object = result.summary
    for key in keys:
        if not isinstance(found, dict):
            return None
        found = found.get(key)
    return found


def number_of(result: ListedResult, *keys: str) -> float | None:
    """The same where it is a finite number; None where it is none."""
    return finite(value_of(result, *keys))


def text_of(result: ListedResult, *keys: str) -> str | None:
    """The same where it is a text, for one line; None where it is none."""
    found = value_of(result, *keys)
    return shown(found) if isinstance(found, str) and found else None


def model_of(result: ListedResult) -> str | None:
    """The name of the installed model, or the beginning of the digest of a run's parameters; None without."""
    name = text_of(result, "config", "request", "pretrained", "name")
    digest = text_of(result, "config", "request", "params_sha256")
    return name or (None if digest is None else f"run {digest[:12]}")


def notes_of(result: ListedResult) -> list[str]:
    """What the command has told of the result."""
    notes = value_of(result, "config", "notes")
    return [shown(note) for note in notes] if isinstance(notes, list) else []
