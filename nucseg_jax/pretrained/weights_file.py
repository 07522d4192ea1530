"""Models in one file: a network's arrays in the format safetensors, with all that is needed to use them.

The file's metadata has one entry, `nucseg_jax`, a JSON object: `version` of this format, `name`, `step`,
`info` (that of a run's checkpoint: config, classes, resolution, training images, version) and `sha256`, a
digest of everything else. No code is run when a file is read.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

from nucseg_jax.errors import UserError, in_short
from nucseg_jax.io.files import check_file, replacing

SUFFIX = ".safetensors"
VERSION = 1
_ENTRY = "nucseg_jax"  # one only: the format keeps no order


class PretrainedModel(NamedTuple):
    """What a file holds.

    Attributes:
      name: of the model, such as "he".
      path: of the file.
      info: the `info` of the checkpoint that it was made of.
      step: training step of that checkpoint.
      tensors: arrays by name (`runs.tensors`).
      sha256: digest of all these.
    """

    name: str
    path: Path
    info: dict[str, Any]
    step: int
    tensors: dict[str, NDArray[np.generic]]
    sha256: str


def write(
    path: Path, name: str, info: Mapping[str, Any], step: int, tensors: Mapping[str, NDArray[np.generic]]
) -> str:
    """Write a model, whole or not at all.

    Args:
      path: of the file, which ends with SUFFIX.
      name: of the model.
      info: of its checkpoint.
      step: of its checkpoint.
      tensors: arrays by name.

    Returns:
      The digest.

    Raises:
      UserError: another ending.
    """
    if path.suffix != SUFFIX:
        raise UserError(f"{path}: a model's file ends with {SUFFIX}")
    facts = {"version": VERSION, "name": name, "step": step, "info": dict(info)}
    sha256 = _digest(facts, tensors)
    metadata = {_ENTRY: json.dumps({**facts, "sha256": sha256}, sort_keys=True)}
    content = save({key: np.ascontiguousarray(values) for key, values in tensors.items()}, metadata)
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return sha256


def read(path: Path) -> PretrainedModel:
    """Read a model.

    Raises:
      UserError: there is no such file; it cannot be read, is none of these, of another version, or damaged.
    """
    check_file(path, f"is a folder, not a model's file. {_OTHER}")
    try:
        with safe_open(path, framework="numpy") as file:
            facts, sha256 = _facts(path, file.metadata() or {})
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no dict
    except (UserError, MemoryError):
        raise
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror or in_short(error)}). Ask for permission to read it, "
            "or check its disk"
        ) from error
    except Exception as error:  # its decoder raises errors of many types on damaged files
        raise UserError(f"{path}: is no model's file, or is damaged ({in_short(error)}). {REMEDY}") from error
    if _digest(facts, tensors) != sha256:
        raise UserError(f"{path}: is damaged: its SHA-256 is not the one that was written. {REMEDY}")
    _check_kinds(path, facts)
    return PretrainedModel(facts["name"], path, facts["info"], facts["step"], tensors, sha256)


def _facts(path: Path, metadata: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """What the metadata says, and the digest; a later version may say, and hold, what is not known here."""
    if _ENTRY not in metadata:
        raise UserError(f"{path}: holds arrays, but is no model of nucseg_jax. {_OTHER}")
    try:
        facts = json.loads(metadata[_ENTRY])
        version, sha256 = facts["version"], facts.pop("sha256")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: is damaged ({in_short(error)}). {REMEDY}") from error
    if version != VERSION:
        raise UserError(
            f"{path}: is a model's file of version {in_short(version)}, and this release of nucseg_jax reads "
            f"{VERSION}. Take the release that wrote it"
        )
    return facts, sha256


def _check_kinds(path: Path, facts: Mapping[str, Any]) -> None:
    """Raise UserError unless facts are of the kinds that `write` takes; what `info` says is not looked at."""
    kinds = {
        "name": lambda value: isinstance(value, str) and value != "" and value.isprintable(),
        "step": lambda value: type(value) is int and value >= 0,
        "info": lambda value: isinstance(value, dict),
    }
    for key, is_right in kinds.items():
        if not is_right(value := facts.get(key)):
            raise UserError(f"{path}: its {key} is {in_short(repr(value))}, so no release wrote it. {_OTHER}")


_OTHER = "Give one that `nucseg models save` has made of a run"
REMEDY = "Install nucseg_jax again (pip install --force-reinstall), or copy the file again"


def _digest(facts: Mapping[str, Any], tensors: Mapping[str, NDArray[np.generic]]) -> str:
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for key in sorted(tensors):
        values = np.ascontiguousarray(tensors[key])
        digest.update(f"{key}\0{values.dtype.str}\0{values.shape}\0".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()
