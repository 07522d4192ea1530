"""PyTorch's files: state dicts in, state dicts out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nucseg_jax.errors import UserError
from nucseg_jax.files import replacing


class TorchFileError(UserError):
    """A file is not a PyTorch checkpoint that can be read safely."""


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """The state dict of a file of `torch.save`, alone or in a checkpoint beside other things.

    Only tensors and plain values are read (`weights_only`): a file cannot run code.

    Raises:
      TorchFileError: no such file, not one of PyTorch's, or without exactly one state dict.
    """
    if not path.is_file():
        raise TorchFileError(f"no file {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling a foreign file can end in any of them
        raise TorchFileError(
            f"{path} is not a PyTorch file of tensors ({_first_line(error)}); if it holds a whole network, "
            "load it in PyTorch where you trust it and save its state_dict()"
        ) from error
    if _is_state_dict(content):
        return dict(content)
    found = (
        [key for key, value in content.items() if _is_state_dict(value)]
        if isinstance(content, Mapping)
        else []
    )
    if len(found) != 1:
        held = ", ".join(map(repr, content)) if isinstance(content, Mapping) else type(content).__name__
        raise TorchFileError(
            f"{path} holds {'no state dict' if not found else f'several state dicts, {found}'} (it holds: "
            f"{held or 'nothing'}); save the one that is meant alone, with torch.save(model.state_dict(), FILE)"
        )
    return dict(content[found[0]])


def write_state_dict(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Save arrays as tensors under their keys, for PyTorch's `load_state_dict`."""
    tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
    with replacing(path) as temporary:
        torch.save(tensors, temporary)


def _is_state_dict(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items())
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200] or type(error).__name__
