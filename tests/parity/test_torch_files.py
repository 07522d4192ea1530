"""Files of PyTorch that are damaged, or would run code."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz.child import REFUSED, RIGHT
from tests.fuzz.readers import READERS
from tests.fuzz.running import verdicts

torch = pytest.importorskip("torch")
from nucseg_jax.torch_bridge.checkpoints import TorchFileError, read_state_dict  # noqa: E402


class RunsCode:
    """Unpickled, it makes a folder."""

    def __init__(self, marker: Path):
        self._marker = marker

    def __reduce__(self) -> tuple[Callable, tuple]:
        return os.mkdir, (str(self._marker),)


def _zipped(content: object, path: Path) -> None:
    torch.save(content, path)


def _of_early_releases(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def _pickled(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize("save", [_zipped, _of_early_releases, _pickled])
@pytest.mark.parametrize("place", ["alone", "beside tensors", "in a checkpoint"])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(
    save: Callable[[object, Path], None], place: str, tmp_path: Path
) -> None:
    marker, path = tmp_path / "it ran", tmp_path / "a.pth"
    code, tensor = RunsCode(marker), torch.ones(2)
    content = {
        "alone": code,
        "beside tensors": {"a.weight": tensor, "a.bias": code},
        "in a checkpoint": {"state_dict": {"a.weight": tensor}, "optimizer": code},
    }[place]
    save(content, path)
    with pytest.raises(TorchFileError) as error:
        read_state_dict(path)
    message = str(error.value)
    assert str(path) in message and "save the network's state_dict()" in message and "\n" not in message
    assert not marker.exists()
    # The file is one that runs code: PyTorch runs it where it is told to trust it.
    if save is _pickled:
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert marker.exists()


def test_damaged_files() -> None:
    """As in tests/fuzz, which has no PyTorch in every install."""
    found = list(verdicts(READERS["pytorch"], range(300)))
    assert not [(number, verdict) for number, verdict in found if verdict.outcome not in (RIGHT, REFUSED)]
    assert {verdict.outcome for _, verdict in found} == {RIGHT, REFUSED}
