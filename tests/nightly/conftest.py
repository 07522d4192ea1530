"""Processes that may be killed have caches and temporary files of their own."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that a killed process has half written must not be read by other tests."""
    for name, variable in (("jax", "JAX_COMPILATION_CACHE_DIR"), ("tmp", "TMPDIR")):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / name))
