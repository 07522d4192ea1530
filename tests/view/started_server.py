"""The server as a user starts it, in a process of its own."""

import http.client
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.cli.commands import ROOT


class StartedServer:
    """`nucseg view` of some paths, until the end of a with block.

    Attributes:
      process: its own.
      port, token: where it is.
    """

    def __init__(self, paths: Sequence[Path], state: Path, *options: str) -> None:
        code = "from nucseg_jax.cli import script; script()"
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                code,
                "view",
                *map(str, paths),
                "--no-browser",
                "--state",
                str(state),
                *options,
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        form = r"The page is at http://127\.0\.0\.1:(\d+)/([\w-]{43})/ \(Ctrl-C ends it\)\n"
        found = re.fullmatch(form, line)
        if found is None:
            self.__exit__()
            raise AssertionError(line)
        self.port, self.token = int(found[1]), found[2]

    def __enter__(self) -> "StartedServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    @property
    def address(self) -> str:
        """Of the page."""
        return f"http://127.0.0.1:{self.port}/{self.token}/"

    def status(self, path: str) -> int:
        """The status that a path has."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", path)
        status = connection.getresponse().status
        connection.close()
        return status

    def asked(self, path: str) -> Any:
        """The JSON of a path of the page, once the server has made it."""
        status = 503
        while status == 503:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            connection.request("GET", f"/{self.token}/{path}")
            answer = connection.getresponse()
            status, content = answer.status, answer.read()
            connection.close()
        return json.loads(content)
