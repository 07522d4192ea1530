"""PyTorch's files: a state dict in, a state dict out."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nucseg_jax.errors import MissingExtraError, UserError
from nucseg_jax.io.files import replacing
from nucseg_jax.torch_bridge.weights import shown_odd

try:
    import torch
except ImportError as error:
    raise MissingExtraError("torch", error) from error


class TorchFileError(UserError):
    """A file is not a PyTorch checkpoint that can be read safely."""


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """The state dict of a file of `torch.save`, alone or in a checkpoint beside other things.

    Only tensors and plain values are read (`weights_only`): the file cannot run code.

    Raises:
      TorchFileError: no such file, not one of PyTorch's, without exactly one state dict, or with tensors
        whose values lie in no plain array.
    """
    if not path.is_file():
        raise TorchFileError(f"no file {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # reading a foreign file as a pickle can end in any of them
        raise TorchFileError(
            f"{path} is not a PyTorch file, or holds more than tensors and plain values (a whole network, "
            "NumPy numbers); load it in PyTorch, where you trust it, and save the network's state_dict()"
        ) from error
    if _is_state_dict(content):
        return _checked(path, content)
    held = dict(content) if isinstance(content, Mapping) else {}
    found = [key for key, value in held.items() if _is_state_dict(value)]
    if len(found) != 1:
        what = f"several state dicts, {found}" if found else f"no state dict, but {_brief(content)}"
        raise TorchFileError(
            f"{path} holds {what}; save the one that is meant alone: torch.save(model.state_dict(), FILE)"
        )
    return _checked(path, held[found[0]])


def _checked(path: Path, state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    if odd := shown_odd(state_dict):
        raise TorchFileError(f"{path}: {odd}")
    return dict(state_dict)


def write_state_dict(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Save arrays as tensors under their keys, for PyTorch's `load_state_dict`.

    Raises:
      TorchFileError: the file's folder does not exist, or the path is a folder.
    """
    if not path.parent.is_dir() or path.is_dir():
        raise TorchFileError(f"cannot write {path}: it is a folder, or {path.parent} is none")
    tensors = {key: torch.tensor(array) for key, array in arrays.items()}
    with replacing(path) as temporary:
        content = io.BytesIO()  # PyTorch, given a file, hides that a disk is full
        torch.save(tensors, content)
        temporary.write_bytes(content.getbuffer())


def _is_state_dict(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items())
    )


def _brief(content: Any) -> str:
    return f"{list(content)}"[:300] if isinstance(content, Mapping) else type(content).__name__
