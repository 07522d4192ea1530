"""How commands end: exit codes, one line of error, interrupts."""

import os
import signal
import subprocess
import sys
import time

import pytest
import typer
from tqdm import tqdm

from nucseg_jax.cli.running import run
from nucseg_jax.errors import FailedError, UserError

INTERRUPTED = """
import signal, sys, time
import typer
from nucseg_jax.cli.running import run

{interrupts}
app = typer.Typer(add_completion=False)

@app.command()
def work():
    try:
        print("started", flush=True)
        {work}
    finally:
        print("cleaned", flush=True)

sys.exit(run(app, [], "test"))
"""
# Whatever the tests were started by: background jobs of scripts ignore interrupts.
HEARD = "signal.signal(signal.SIGINT, signal.default_int_handler)"
IN_PYTHON = "time.sleep(60)"
# A call that gives Python no turn, as XLA's compiler does: nothing of the `finally` can run.
IN_A_LIBRARY = "import hashlib; hashlib.pbkdf2_hmac('sha256', b'a', b'b', 10**9)"


def app_that(error: BaseException | None) -> typer.Typer:
    app = typer.Typer(add_completion=False)

    @app.command()
    def work() -> None:
        if error is not None:
            raise error

    return app


def test_an_error_does_not_share_a_line_with_a_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer(add_completion=False)

    @app.command()
    def work() -> None:
        for _ in (bar := tqdm(range(2), desc="images")):
            raise UserError(f"a.png, image {bar.n}: is damaged")

    assert run(app, [], "test") == 2
    bar, error, rest = capsys.readouterr().err.rpartition("\nerror: a.png, image 0: is damaged\n")
    assert bar.strip().startswith("images:") and error and not rest


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (None, 0, ""),
        (UserError("a.png: is no image"), 2, "error: a.png: is no image\n"),
        (FailedError("1 failed"), 1, "error: 1 failed\n"),
        (
            PermissionError(13, "Permission denied", "/x"),
            1,
            "error: /x: Permission denied. Ask for permission\n",
        ),
        (
            FileNotFoundError(2, "No such file or directory", "/no/x.png.host-1-0123abcd.tmp"),
            1,
            "error: /no/x.png: No such file or directory. Check the path: its folder must exist\n",
        ),
        (typer.Exit(3), 3, ""),
    ],
)
def test_exit_codes(
    error: BaseException | None, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app_that(error), [], "test") == code
    assert capsys.readouterr().err == line


def test_a_fault_of_our_own_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run(app_that(ZeroDivisionError()), [], "test")


def start(work: str) -> subprocess.Popen[str]:
    """A command that is in the middle of its work."""
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED.format(work=work, interrupts=HEARD)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    time.sleep(0.1)
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt(number: signal.Signals, code: int) -> None:
    process = start(IN_PYTHON)
    process.send_signal(number)
    assert process.communicate(timeout=30) == ("cleaned\n", "\nstopped\n")
    assert process.returncode == code


def test_sigterm_after_an_interrupt_lets_it_clean_up() -> None:
    """As when a script's trap ends its children, too."""
    process = start(f"{IN_PYTHON}\n    finally:\n        time.sleep(1)\n    try:\n        pass")
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[1] == "\nstopped\n"
    assert process.returncode == 130


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_that_a_library_keeps_from_python(number: signal.Signals, code: int) -> None:
    """A second one ends the process, after the first was said to be heard."""
    with start(IN_A_LIBRARY) as process:
        assert process.stderr is not None
        process.send_signal(number)
        assert process.stderr.readline() == "\n"
        assert process.stderr.readline() == "stopping; Ctrl-C again stops at once\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == code


def test_sigterm_while_it_is_postponed_waits_for_the_library() -> None:
    """As long as a step takes, past the patience that other work has; a Ctrl-C ends it at once."""
    patience = "from nucseg_jax.cli import interruption; interruption._PATIENCE_S = 0.2"
    work = f"{patience}\n        with interruption.signals.postponed():\n            {IN_A_LIBRARY}"
    with start(work) as process:
        assert process.stderr is not None
        process.send_signal(signal.SIGTERM)
        assert process.stderr.readline() == "\n"
        assert process.stderr.readline() == "stopping after this step; Ctrl-C again stops at once\n"
        time.sleep(0.6)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 143


def test_a_signal_that_was_postponed_is_raised_where_it_is_checked() -> None:
    work = (
        "from nucseg_jax.cli.interruption import signals\n"
        "        with signals.postponed():\n            time.sleep(0.5)\n"
        "        print('whole', flush=True)\n        signals.check()\n        print('never')"
    )
    process = start(work)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[0] == "whole\ncleaned\n"
    assert process.returncode == 143


def test_an_ignored_interrupt_stays_ignored() -> None:
    """A script's background job has it ignored."""
    work = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
    code = INTERRUPTED.format(work=work, interrupts="signal.signal(signal.SIGINT, signal.SIG_IGN)")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "started\ncleaned\n"), result.stderr


def test_names_that_are_no_text_can_be_printed() -> None:
    code = INTERRUPTED.format(work=r"print('bad\udcff.svs')", interrupts="")
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert (result.returncode, result.stdout.splitlines()[1]) == (0, r"bad\udcff.svs"), result.stderr


def test_signals_are_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run(app_that(None), [], "test")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_an_interrupt_while_things_are_imported_is_quiet() -> None:
    code = (
        f"import os, signal, sys\n{HEARD}\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'typer': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from nucseg_jax.cli import script\n"
        "script()\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")
