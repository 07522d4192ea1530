"""MATLAB's files: the same numbers as SciPy's reader gives, and never the end of the process."""

import struct
import zlib
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.io import loadmat, savemat

from nucseg_jax.io import mat_files

KINDS = ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")


def read(path: Path) -> dict[str, np.ndarray]:
    """All matrices of numbers of a file, by name."""
    found = {v.name: v.values() for v in mat_files.variables(path) if v.dtype is not None}
    assert all(
        values.shape == v.shape
        for v in mat_files.variables(path)
        if (values := found.get(v.name)) is not None
    )
    return found


@pytest.mark.parametrize("options", [{}, {"do_compression": True}, {"format": "4"}], ids=str)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_what_scipy_wrote(
    options: dict, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kinds = ("f8", "f4", "i4", "i2", "u2", "u1") if "format" in options else KINDS
    shape = arrays.array_shapes(min_dims=2, max_dims=2 if "format" in options else 4, max_side=7)
    names = st.from_regex(r"[a-zA-Z][a-zA-Z0-9_]{0,30}", fullmatch=True)
    content = data.draw(
        st.dictionaries(
            names, st.sampled_from(kinds).flatmap(lambda kind: arrays.arrays(kind, shape)), min_size=1
        )
    )
    path = tmp_path_factory.mktemp("mat") / "a.mat"
    savemat(path, content, **options)
    found = read(path)
    assert found.keys() == content.keys()
    for name, values in content.items():
        np.testing.assert_array_equal(found[name], values)


def test_variables_of_other_kinds_are_named(tmp_path: Path) -> None:
    from scipy.sparse import csc_array

    others = {
        "cell": np.array([["a"]], object),
        "struct": {"x": 1},
        "text": "abc",
        "sparse": csc_array(np.eye(3)),
        "complex": np.array([[1j]]),
        "inst_map": np.arange(6).reshape(2, 3),
    }
    savemat(tmp_path / "a.mat", others)
    kinds = {v.name: v.kind for v in mat_files.variables(tmp_path / "a.mat")}
    assert kinds == {
        "cell": "a cell array",
        "struct": "a structure",
        "text": "text",
        "sparse": "a sparse matrix",
        "complex": "complex numbers",
        "inst_map": "numbers",
    }
    assert read(tmp_path / "a.mat")["inst_map"].tolist() == [[0, 1, 2], [3, 4, 5]]


def element(kind: int, content: bytes, order: str) -> bytes:
    return struct.pack(f"{order}2I", kind, len(content)) + content + bytes(-len(content) % 8)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("packed", [False, True])
def test_doubles_in_bytes_as_matlab_stores_them(order: str, packed: bool, tmp_path: Path) -> None:
    """Files of either order of bytes; whole doubles lie in the fewest bytes that hold them."""
    matrix = element(6, struct.pack(f"{order}2I", 6, 0), order) + element(
        5, struct.pack(f"{order}2i", 2, 3), order
    )
    matrix += element(1, b"inst_map", order) + element(2, bytes([0, 3, 1, 4, 2, 5]), order)
    variable = element(14, matrix, order)
    if packed:
        variable = zlib.compress(variable)
        variable = struct.pack(f"{order}2I", 15, len(variable)) + variable
    end = b"\0\1IM" if order == "<" else b"\1\0MI"
    (tmp_path / "a.mat").write_bytes(b"MATLAB 5.0".ljust(124) + end + variable)
    found = read(tmp_path / "a.mat")["inst_map"]
    assert found.dtype == np.float64 and found.tolist() == [[0, 1, 2], [3, 4, 5]]
    np.testing.assert_array_equal(loadmat(tmp_path / "a.mat")["inst_map"], found)


def test_the_check_sum_of_a_compressed_variable_is_compared(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    savemat(path, {"a": np.arange(5000.0).reshape(50, 100)}, do_compression=True)
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(mat_files.MatError, match="incorrect data check"):
        read(path)


def test_damage_is_an_error_of_one_kind(tmp_path: Path) -> None:
    """One changed byte at a time, each of the first 300: numbers, no more than there are, or MatError."""
    path = tmp_path / "a.mat"
    random = Random(0)
    for options in ({}, {"do_compression": True}, {"format": "4"}):
        savemat(path, {"a": np.arange(12.0).reshape(3, 4), "name": np.eye(3, dtype=np.int32)}, **options)
        whole = path.read_bytes()
        errors = 0
        for place in range(min(300, len(whole))):
            damaged = bytearray(whole)
            damaged[place] ^= random.randrange(1, 256)
            path.write_bytes(damaged)
            try:
                for values in read(path).values():
                    assert values.nbytes <= 8 * 4 * 12
            except mat_files.MatError:
                errors += 1
        assert errors > 20
