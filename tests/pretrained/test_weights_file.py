"""Models in one file: there and back, and every way in which a file can be wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
from jax.sharding import Mesh
from safetensors.numpy import save_file

from nucseg_jax import Segmenter, pretrained
from nucseg_jax.errors import UserError

INFO = {"config": {"model": {"name": "unet"}}, "classes": ["background", "nucleus"]}


def write(path: Path) -> str:
    random = np.random.default_rng(0)
    tensors = {
        "params.conv.kernel": random.standard_normal((3, 3, 4, 8)).astype(np.float16),
        "batch_stats.bn.mean": random.standard_normal(8).astype(np.float32),
    }
    return pretrained.write(path, "mine", INFO, 7, tensors)


def test_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    sha256 = write(path)
    found = pretrained.load(path)
    assert (found.name, found.info, found.step, found.sha256) == ("mine", INFO, 7, sha256)
    assert {key: (a.dtype.str, a.shape) for key, a in found.tensors.items()} == {
        "params.conv.kernel": ("<f2", (3, 3, 4, 8)),
        "batch_stats.bn.mean": ("<f4", (8,)),
    }
    again = tmp_path / "again.safetensors"
    assert write(again) == sha256 and again.read_bytes() == path.read_bytes()


def test_a_damaged_file_is_one_clear_line(tmp_path: Path) -> None:
    """Cut off, a changed weight, a changed config: each names the file and what to do."""
    path = tmp_path / "mine.safetensors"
    write(path)
    whole = path.read_bytes()
    weight = bytearray(whole)
    weight[-3] ^= 1
    config = whole.replace(b"background", b"backgr0und")
    assert config != whole
    for content in (whole[:-10], whole[:100], b"", b"no model", bytes(weight), config):
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged") as error:
            pretrained.load(path)
        assert str(error.value).startswith(f"{path}: ") and "again" in str(error.value)
        assert "\n" not in str(error.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"x": np.zeros(3)}, other)
    with pytest.raises(UserError, match="is no model of nucseg_jax"):
        pretrained.load(other)
    save_file({"x": np.zeros(3)}, other, {"nucseg_jax": '{"version": 9, "sha256": ""}'})
    with pytest.raises(UserError, match="of version 9, and this release of nucseg_jax reads 1"):
        pretrained.load(other)
    with pytest.raises(UserError, match="folder.safetensors: is a folder, not a model's file"):
        (tmp_path / "folder.safetensors").mkdir()
        pretrained.load(tmp_path / "folder.safetensors")
    with pytest.raises(UserError, match="he.safetensors: is an address, and nothing is fetched"):
        pretrained.load("https://a.b/he.safetensors")
    for kind in ("BF16", "F8_E4M3"):  # of which NumPy knows nothing
        arrays = {"x": {"dtype": kind, "shape": [1], "data_offsets": [0, 1 + (kind == "BF16")]}}
        facts = {"nucseg_jax": json.dumps({"version": 9, "sha256": ""})}
        for header, said in (
            (arrays, "is no model of nucseg_jax"),
            ({"__metadata__": facts, **arrays}, "of version 9, and this release"),
        ):
            encoded = json.dumps(header).encode()
            other.write_bytes(len(encoded).to_bytes(8, "little") + encoded + bytes(2)[: 1 + (kind == "BF16")])
            with pytest.raises(UserError, match=said):
                pretrained.load(other)
    with pytest.raises(UserError, match="missing.safetensors: no such file"):
        pretrained.load(tmp_path / "missing.safetensors")
    with pytest.raises(UserError, match="ends with .safetensors"):
        pretrained.write(tmp_path / "mine.npz", "mine", INFO, 7, {})


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(UserError, match="no model 'hee' is installed: did you mean he"):
        pretrained.load("hee")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"step": "7"}, "its step is '7'"),
        ({"step": -1}, "its step is -1"),
        ({"step": True}, "its step is True"),
        ({"step": None}, "its step is None"),
        ({"name": 5}, "its name is 5"),
        ({"name": ""}, "its name is ''"),
        ({"name": "a\nb"}, r"its name is 'a\\nb'"),
    ],
)
def test_facts_that_fit_their_digest_and_are_of_no_release(
    tmp_path: Path, changed: dict[str, object], said: str
) -> None:
    path = tmp_path / "mine.safetensors"
    given = {"name": "mine", "info": INFO, "step": 7, "tensors": {"x": np.zeros(3, np.float32)}}
    pretrained.write(path, **(given | changed))
    with pytest.raises(UserError, match=rf"^{path}: {said}, so no release wrote it\. Give one that") as error:
        pretrained.load(path)
    assert "\n" not in str(error.value)


RESOLUTION = {"image_mpp": 0.25, "network_mpp": 0.25, "source": "given by --mpp"}


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("resolution", {}, "does not say at what resolution it was trained"),
        ("resolution", "0.25", "holds no model that this release understands"),
        ("resolution", {**RESOLUTION, "network_mpp": "0.25"}, "does not say at what resolution"),
        ("resolution", {**RESOLUTION, "network_mpp": 1e-9}, "says that it was trained at 1e-09 µm a pixel"),
        ("resolution", {**RESOLUTION, "image_mpp": None}, "holds no model that this release understands"),
        ("version", None, "holds no model that this release understands .*its version is no text"),
        ("config", {}, "holds no model that this release understands"),
        ("stain", 5, "holds no model that this release understands"),
    ],
)
def test_a_model_whose_info_is_of_no_release(
    tmp_path: Path, key: str, value: object, said: str, one_device: Mesh
) -> None:
    """The default model's file with something else in its info, and a digest that fits."""
    model, path = pretrained.load("he"), tmp_path / "mine.safetensors"
    pretrained.write(path, model.name, {**model.info, key: value}, model.step, model.tensors)
    with pytest.raises(UserError, match=f"^{path}: {said}") as error:
        Segmenter.from_pretrained(path, mesh=one_device)
    assert "\n" not in str(error.value)
