"""The benchmarks' arguments, tiny, and how one is run in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

TINY = ["--width", "0.0625", "--size", "32"]
CASES = {
    "train_step": ["unet", *TINY, "--batch", "2", "--repeats", "2", "--matrix", "64"],
    "inference": ["unet", *TINY, "--batch", "2", "--repeats", "2", "--matrix", "64"],
    "input": [*TINY, "--batch", "2", "--repeats", "2", "--images", "2", "--image-size", "64"],
    "startup": ["unet", *TINY, "--batch", "2", "--repeats", "1"],
    "networks": ["unet", *TINY],
    "recompute": ["unet", "--timed", "unet", *TINY, "--batch", "2", "--repeats", "2"],
}


def run(name: str, arguments: list[str], environment: dict[str, str], out: Path) -> tuple[str, Any]:
    """What a benchmark printed, and its JSON."""
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-m", f"benchmarks.{name}", *arguments, "--out", out],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(out.read_text())
