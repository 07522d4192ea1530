"""How many CPU cores this process may use."""

import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def usable_cores(cgroups: Path = _CGROUPS, membership: Path = Path("/proc/self/cgroup")) -> int:
    """Cores by the affinity mask and by the quota of the container, whichever is less; at least 1.

    `os.cpu_count()` gives all 64 cores of a machine, also in a SLURM task or a container that may use two.

    Args:
      cgroups: where Linux shows the control groups (version 2, or 1).
      membership: of this process in them.
    """
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))  # noqa: TID251
    else:  # macOS and Windows have no such mask
        allowed = os.cpu_count() or 1
    quotas = [quota for path in _groups(cgroups, membership) if (quota := _quota(path)) is not None]
    return max(1, min([allowed, *(int(quota) for quota in quotas)]))


def _groups(cgroups: Path, membership: Path) -> list[Path]:
    """The folders of this process's control groups, and of all that these are in."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []
    found: list[Path] = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        roots = {"": cgroups, "cpu,cpuacct": cgroups / "cpu,cpuacct", "cpu": cgroups / "cpu"}
        root = roots.get(controllers)
        if root is None:
            continue
        group = root / name.lstrip("/")
        found += [folder for folder in (group, *group.parents) if folder.is_relative_to(root)]
    return found


def _quota(group: Path) -> float | None:
    """Cores that a control group may use; None for as many as there are."""
    try:
        if (group / "cpu.max").exists():
            limit, period = (group / "cpu.max").read_text().split()
        else:
            limit = (group / "cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu.cfs_period_us").read_text().strip()
        return None if limit in ("max", "-1") else float(limit) / float(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
