"""All slides that were asked for: what is to be done of them, and what a user is told at the end."""

from collections.abc import Collection, Sequence
from contextlib import ExitStack

from nucseg_jax.devices.platform import stay_on_cpu
from nucseg_jax.errors import FailedError, shown
from nucseg_jax.export import check_formats
from nucseg_jax.export.summary import FORMAT_VERSION
from nucseg_jax.io.files import output_folder
from nucseg_jax.predict.asking import asked_of, segmenter_for
from nucseg_jax.predict.cluster.choice import Cluster
from nucseg_jax.predict.jobs import SlideJob, unfinished
from nucseg_jax.predict.progress import Progress, ProgressFile
from nucseg_jax.predict.request import PredictionRequest
from nucseg_jax.predict.results import format_of
from nucseg_jax.predict.rounds import Rounds
from nucseg_jax.slides import check_dicom


def segment_all(jobs: Sequence[SlideJob], request: PredictionRequest, cluster: Cluster | None = None) -> None:
    """Segment all slides that are not finished, and wait for those that other processes work on.

    Args:
      jobs: the slides.
      request: how.
      cluster: what does them; None: this process.

    Raises:
      UserError: the run cannot be used, the folder cannot be written, or has results of another request; or
        the cluster cannot be started or reached.
      FailedError: some slides failed; the message names them. The others are done, here or by others.
      DiskFullError: there is no room for the next slide; nothing of it is left.
    """
    check_formats(request.formats, "--formats: ", simplify_um=request.simplify_um, gzip=request.gzip)
    check_sources(jobs, request.formats)
    ProgressFile(request.progress).tell(Progress("loading"))
    if cluster is not None:
        from nucseg_jax.predict.cluster import on_cluster  # imports Dask

        stay_on_cpu()  # the devices are for the workers
        jobs, request = on_cluster.absolute(jobs, request)
    with segmenter_for(request) as segmenter:
        for note in segmenter.notes:
            print(shown(note))
        asked = asked_of(segmenter, request)
        missing = unfinished(jobs, asked, overwrite=request.overwrite)
        if len(missing) < len(jobs):
            print(f"{len(jobs) - len(missing)} of {len(jobs)} finished already")
            _say_of_other_releases(set(jobs) - set(missing))
        with ExitStack() as stack:
            if missing:
                stack.enter_context(output_folder(request.out, "--out"))
                if request.scratch is not None:
                    stack.enter_context(output_folder(request.scratch, "--scratch"))
            if cluster is None:
                rounds = Rounds(segmenter, asked, request)
                rounds.run(missing)
                failed = rounds.failed
            else:
                failed = on_cluster.segment_on_cluster(missing, asked, request, cluster)
    if failed:
        lines = [f"  {job.source}: {message}" for job, message in failed]
        raise FailedError(f"{len(lines)} failed:", *lines)


def _say_of_other_releases(finished: Collection[SlideJob]) -> None:
    if others := sum(format_of(job.folder) != FORMAT_VERSION for job in finished):
        print(
            f"note: {others} of them have files of another release, with other columns and ids. `nucseg "
            "merge` refuses them; --overwrite does them again"
        )


def check_sources(jobs: Sequence[SlideJob], formats: Sequence[str] | None) -> None:
    """Raise DataError for a slide that a format cannot be written of."""
    if "dicom" in (formats or ()):
        for job in jobs:
            check_dicom(job.source)
