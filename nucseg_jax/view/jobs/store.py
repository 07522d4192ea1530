"""Jobs and uploads in a database on the disk, so that they survive a restart of the server."""

import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from nucseg_jax.errors import UserError, in_short
from nucseg_jax.view.slides.displayed_slide import Opening

State = Literal["queued", "running", "done", "failed", "cancelled"]

_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  path TEXT NOT NULL,
  mpp REAL,
  white INTEGER,
  crop INTEGER NOT NULL,
  model TEXT,
  state TEXT NOT NULL,
  message TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS uploads (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  file TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL
);
"""


class Job(NamedTuple):
    """A slide whose nuclei are to be found.

    Attributes:
      id: ours.
      name: of the slide, as the page shows it.
      opening: of the slide.
      model: an installed model's name; None: the run that the server was started with, or the default model.
      state: where it is.
      message: why it failed; "" otherwise.
    """

    id: str
    name: str
    opening: Opening
    model: str | None
    state: State
    message: str


_COLUMNS = "id, name, path, mpp, white, crop, model, state, message"


class JobStore:
    """The queue: jobs are done in the order they came.

    Args:
      path: of the database; made if need be.

    Raises:
      UserError: it is no database, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            self._database = sqlite3.connect(path, check_same_thread=False)
            with self._transaction() as database:
                database.executescript(_TABLES)
        except sqlite3.Error as error:
            raise UserError(
                f"{path}: cannot be used ({in_short(error)}). Delete it, which forgets the jobs, or give "
                "another folder with --state"
            ) from error

    def add(self, name: str, opening: Opening, model: str | None) -> Job:
        """Queue a slide; see `Job`."""
        job = Job(secrets.token_hex(10), name, opening, model, "queued", "")
        with self._transaction() as database:
            database.execute(
                f"INSERT INTO jobs ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (job.id, name, str(opening.path), *opening[1:], *job[3:]),
            )
        return job

    def jobs(self) -> list[Job]:
        """All jobs, in the order they came."""
        with self._transaction() as database:
            rows = database.execute(f"SELECT {_COLUMNS} FROM jobs ORDER BY number").fetchall()
        return [
            Job(id_, name, Opening(Path(path), mpp, white, bool(crop)), *rest)
            for id_, name, path, mpp, white, crop, *rest in rows
        ]

    def job(self, id_: str) -> Job | None:
        """A job by its id; None where there is none."""
        return next((job for job in self.jobs() if job.id == id_), None)

    def take(self) -> Job | None:
        """The next queued job, which is running from now on; None where none is queued."""
        with self._transaction() as database:
            row = database.execute("SELECT id FROM jobs WHERE state = 'queued' ORDER BY number").fetchone()
            if row is None:
                return None
            database.execute("UPDATE jobs SET state = 'running' WHERE id = ?", row)
        return self.job(row[0])

    def change(self, id_: str, *, of: State, to: State, message: str = "") -> bool:
        """Move a job from one state to another; False where it is not in the first."""
        with self._transaction() as database:
            cursor = database.execute(
                "UPDATE jobs SET state = ?, message = ? WHERE id = ? AND state = ?", (to, message, id_, of)
            )
            return cursor.rowcount == 1

    def queue_again(self) -> None:
        """Queue what was running when the server ended."""
        with self._transaction() as database:
            database.execute("UPDATE jobs SET state = 'queued' WHERE state = 'running'")

    def add_upload(self, file: str, name: str) -> None:
        """Remember an upload: the name of its file, which is ours, and that of the user's."""
        with self._transaction() as database:
            database.execute("INSERT INTO uploads (file, name) VALUES (?, ?)", (file, name))

    def uploads(self) -> list[tuple[str, str]]:
        """All uploads, in the order they came: the name of the file, and that of the user's."""
        with self._transaction() as database:
            rows: list[tuple[str, str]] = database.execute(
                "SELECT file, name FROM uploads ORDER BY number"
            ).fetchall()
        return rows

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._database as database:
            yield database
