"""Processes as a user starts them, with caches and temporary files of their own."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that a killed process has half written must not be read by other tests."""
    for name, variable in (("jax", "JAX_COMPILATION_CACHE_DIR"), ("tmp", "TMPDIR")):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / name))


@pytest.fixture(autouse=True)
def real_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """The 8 devices that the other tests simulate take threads and memory that no user's process has."""
    monkeypatch.delenv("XLA_FLAGS")
