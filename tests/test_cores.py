"""Cores that a process may use: by its affinity mask and its container's quota."""

import os
from pathlib import Path

import pytest

from nucseg_jax.cores import usable_cores

MASK = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def groups(folder: Path, files: dict[str, str], membership: str) -> tuple[Path, Path]:
    for name, content in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (folder / "membership").write_text(membership)
    return folder / "cgroup", folder / "membership"


@pytest.mark.parametrize(
    ("files", "membership", "cores"),
    [
        ({"cpu.max": "max 100000\n"}, "0::/\n", MASK),
        ({"cpu.max": "100000 100000\n"}, "0::/\n", 1),
        ({"cpu.max": "50000 100000\n"}, "0::/\n", 1),  # half a core is one process
        ({"job/cpu.max": "max 100000\n", "cpu.max": "100000 100000\n"}, "0::/job/step\n", 1),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, "3:cpu:/\n", 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "3:cpu:/\n", MASK),
        ({"cpu.max": "nonsense\n"}, "0::/\n", MASK),
        ({}, "", MASK),
    ],
)
def test_the_smaller_of_mask_and_quota(
    tmp_path: Path, files: dict[str, str], membership: str, cores: int
) -> None:
    assert usable_cores(*groups(tmp_path, files, membership)) == cores


def test_no_such_files(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / "none", tmp_path / "none") == MASK
