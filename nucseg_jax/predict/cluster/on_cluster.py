"""Slides by a cluster: what `all_slides` calls."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nucseg_jax.cores import usable_cores
from nucseg_jax.io.leftovers import has_leftovers, marked_in, remove_leftovers
from nucseg_jax.io.names import is_address
from nucseg_jax.predict.asking import MOST_WORKERS
from nucseg_jax.predict.cluster.choice import LOCAL, Cluster
from nucseg_jax.predict.cluster.overview import Overview
from nucseg_jax.predict.cluster.starting import connected
from nucseg_jax.predict.cluster.submission import Submission
from nucseg_jax.predict.cluster.worker import SlidePlugin
from nucseg_jax.predict.jobs import SlideJob
from nucseg_jax.predict.progress import ProgressFile
from nucseg_jax.predict.request import PredictionRequest
from nucseg_jax.pretrained import SUFFIX


def absolute(
    jobs: Sequence[SlideJob], request: PredictionRequest
) -> tuple[list[SlideJob], PredictionRequest]:
    """Slides and request with paths that mean the same in processes of other folders."""
    model = request.model
    if model.endswith(SUFFIX):
        model = os.path.abspath(model)
    places = [job._replace(source=_absolute(job.source), folder=_absolute(job.folder)) for job in jobs]
    return places, replace(
        request,
        out=_absolute(request.out),
        workdir=None if request.workdir is None else _absolute(request.workdir),
        scratch=None if request.scratch is None else _absolute(request.scratch),
        model=model,
    )


def _absolute(path: Path) -> Path:
    return path if is_address(path) else Path(os.path.abspath(path))


def segment_on_cluster(
    jobs: Sequence[SlideJob], asked: Mapping[str, Any], request: PredictionRequest, cluster: Cluster
) -> list[tuple[SlideJob, str]]:
    """Do slides by the workers of a cluster.

    Args:
      jobs: those without a result, or that are to be done again; `absolute`.
      asked: what results depend on beside the slides, as summaries keep it.
      request: what the user asks; `absolute`.
      cluster: as the user names it.

    Returns:
      Slides that failed, and what was wrong. The others are done.

    Raises:
      UserError: the cluster cannot be started or reached.
      FailedError: its workers can do no slide, or its scheduler was lost.
      DiskFullError: there is no room for a slide.
    """
    if not jobs:
        return []
    progress = ProgressFile(request.progress)
    try:
        with (
            connected(cluster) as connection,
            Overview(len(jobs), connection.trouble, progress) as overview,
        ):
            tqdm.write(f"dashboard: {connection.client.dashboard_link}")
            if connection.per_machine is not None and request.workers is None:
                share = usable_cores() // connection.per_machine
                request = replace(request, workers=max(1, min(MOST_WORKERS, share)))
            submission = Submission(connection.client, jobs, overview)
            plugin = SlidePlugin(submission.session, request, asked, ignores_interrupts=cluster == LOCAL)
            with submission.prepared(plugin):
                submission.run()
            return submission.failed
    finally:
        _clean(jobs)


def _clean(jobs: Sequence[SlideJob]) -> None:
    """Delete what workers have left that were killed on this machine."""
    there = {folder: marked_in(folder) for folder in {job.folder.parent for job in jobs}}
    for job in jobs:
        if has_leftovers(job.folder, there[job.folder.parent]):
            remove_leftovers(job.folder)
