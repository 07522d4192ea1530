"""Commands as a user starts them, in a process of their own."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`nucseg` with arguments."""
    code = "from nucseg_jax.cli import script; script()"
    return _run([sys.executable, "-c", code, *map(str, arguments)])


def run_module(module: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`python -m` with a module and arguments."""
    return _run([sys.executable, "-m", module, *map(str, arguments)])


def the_error(result: subprocess.CompletedProcess[str]) -> str:
    """The one line that a command that was used wrongly ends with."""
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return line.removeprefix("error: ")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
