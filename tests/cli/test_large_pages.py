"""A training asks for memory in large pages, where glibc and Linux give it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nucseg_jax.cli import large_pages
from nucseg_jax.cli.large_pages import TUNABLES, with_large_pages

NEW = ("glibc", "2.36")


@pytest.fixture
def setting(tmp_path: Path) -> Path:
    path = tmp_path / "enabled"
    path.write_text("always [madvise] never\n")
    return path


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, "glibc.malloc.hugetlb=1"),
        ({TUNABLES: "glibc.malloc.arena_max=1"}, "glibc.malloc.arena_max=1:glibc.malloc.hugetlb=1"),
    ],
)
def test_the_tunable_is_added(before: dict[str, str], after: str, setting: Path) -> None:
    assert with_large_pages({"A": "b", **before}, setting, NEW) == {"A": "b", TUNABLES: after}


@pytest.mark.parametrize("value", ["0", "1", "2"])
def test_what_the_user_has_set_stays(value: str, setting: Path) -> None:
    assert with_large_pages({TUNABLES: f"glibc.malloc.hugetlb={value}"}, setting, NEW) is None


@pytest.mark.parametrize("libc", [("glibc", "2.34"), ("musl", "1.2.5"), ("", ""), ("glibc", "")])
def test_other_libraries_have_no_such_tunable(libc: tuple[str, str], setting: Path) -> None:
    assert with_large_pages({}, setting, libc) is None


@pytest.mark.parametrize("text", ["[always] madvise never\n", "always madvise [never]\n", None])
def test_a_system_that_gives_them_always_or_never(text: str | None, setting: Path) -> None:
    setting.unlink() if text is None else setting.write_text(text)
    assert with_large_pages({}, setting, NEW) is None


@pytest.mark.skipif(with_large_pages({}) is None, reason="this system has no large pages on demand")
def test_the_same_process_runs_the_same_command(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        "import os, sys\nfrom nucseg_jax.cli.large_pages import start_again\nprint('started', flush=True)\n"
        "start_again(sys.argv[1:])\nprint(os.getpid(), sys.argv[1:], sys.flags.optimize, "
        f"os.environ['{TUNABLES}'])\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != TUNABLES}
    command = [sys.executable, "-O", str(script), "a b", "--c"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    printed, _ = process.communicate(timeout=60)
    last = f"{process.pid} ['a b', '--c'] 1 glibc.malloc.hugetlb=1"
    assert printed.splitlines() == ["started", "started", last]


@pytest.mark.parametrize("option", ["--help", "-h", "--version"])
def test_help_is_not_delayed(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("started again"))
    monkeypatch.delenv(TUNABLES, raising=False)
    large_pages.start_again(["train", option])
