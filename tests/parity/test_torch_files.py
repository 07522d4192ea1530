"""Files of PyTorch that are damaged, or would run code."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz.child import REFUSED, RIGHT
from tests.fuzz.readers import READERS
from tests.fuzz.running import verdicts
from tests.networks import empty_network

torch = pytest.importorskip("torch")
from nucseg_jax.torch_bridge.checkpoints import TorchFileError, read_state_dict  # noqa: E402
from nucseg_jax.torch_bridge.weights import ConversionError, as_array, load_state_dict  # noqa: E402


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


# --- tensors that are no plain arrays ---

PLAIN = torch.arange(6.0).reshape(2, 3)
ODD = {
    "sparse_coo": lambda: PLAIN.to_sparse(),
    "sparse_csr": lambda: PLAIN.to_sparse_csr(),
    "sparse_csc": lambda: PLAIN.to_sparse_csc(),
    "sparse_bsr": lambda: PLAIN.to_sparse_bsr((1, 1)),
    "qint8": lambda: torch.quantize_per_tensor(PLAIN, 0.1, 0, torch.qint8),
    "quint8": lambda: torch.quantize_per_channel(PLAIN, torch.ones(2), torch.zeros(2), 0, torch.quint8),
    "nested": lambda: torch.nested.nested_tensor([PLAIN, PLAIN[:1]]),
    "without values, on the device meta": lambda: torch.empty(2, 3, device="meta"),
    "bits8": lambda: torch.zeros(2, dtype=torch.uint8).view(torch.bits8),
    "100,000,000,000 values": lambda: torch.ones(1).expand(10**11),
}


@pytest.mark.filterwarnings("ignore")  # PyTorch calls some of these experimental
@pytest.mark.parametrize("kind", ODD)
def test_a_tensor_that_is_no_plain_array_is_named(kind: str, tmp_path: Path) -> None:
    """In a file alone, in a checkpoint, and given by a program."""
    state = {"a.weight": torch.ones(2), "a.bias": ODD[kind]()}
    path = tmp_path / "a.pt"
    for content in (state, {"epoch": 3, "state_dict": state}):
        torch.save(content, path)
        with pytest.raises(TorchFileError) as error:
            read_state_dict(path)
        message = str(error.value)
        assert message.startswith(f"{path}: a.bias ({kind}): not tensors of plain numbers. Make them so")
        assert "\n" not in message
    with pytest.raises(ConversionError, match=r"^a\.bias \("):
        load_state_dict(empty_network("unet", width=1 / 32), state)


def test_views_of_plain_numbers_are_taken() -> None:
    """PyTorch may keep a sign or a conjugation beside the numbers."""
    both = torch.complex(PLAIN, PLAIN)
    np.testing.assert_array_equal(as_array(both.conj().imag), -PLAIN.numpy())
    np.testing.assert_array_equal(as_array(both.conj()), both.numpy().conj())
    assert as_array(PLAIN.bfloat16()).dtype == np.float32
