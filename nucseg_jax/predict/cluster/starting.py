"""The cluster that a user names: started here, or found by its address."""

import contextlib
import importlib
import logging
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, NamedTuple, TypeVar

import dask
from distributed import Client, Nanny, Scheduler
from distributed.deploy.cluster import Cluster as DaskCluster
from distributed.deploy.spec import SpecCluster
from tqdm import tqdm

from nucseg_jax.errors import UserError, in_short
from nucseg_jax.predict.cluster.choice import LOCAL, Cluster, ClusterFile

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

_SETTINGS: dict[str, Any] = {
    # Lost workers come back to `submission`, which knows what each was at.
    "distributed.scheduler.allowed-failures": 0,
    # A slide waits for the next free worker, and not for a certain one.
    "distributed.scheduler.worker-saturation": 1.0,
    # For clusters that grow with the work: a slide is no matter of half a second.
    "distributed.scheduler.default-task-durations": {"slide": "10m"},
    # Workers have processes that cut nuclei.
    "distributed.worker.daemon": False,
    # Only results of some lines are kept: nothing can be spilled, and a worker that pauses would stay so.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    # As without Dask: no limits on threads.
    "distributed.nanny.pre-spawn-environ": {
        "DASK_LOGGING__DISTRIBUTED": "critical",
        **dict.fromkeys(_THREADS),
    },
}

T = TypeVar("T")

_TIMEOUT_S = 20.0  # for a scheduler to answer
_START_S = 120.0  # for a cluster to start

_TALKATIVE = ("asyncio", "bokeh", "dask_jobqueue", "dask_kubernetes", "distributed", "tornado")
_MOST_LETTERS = 500  # of an error; those of queues begin with the command

_COUNT = """
import jax
devices = jax.local_devices()
print(devices[0].platform, len(devices))
"""


class Connection(NamedTuple):
    """A cluster.

    Attributes:
      client: connected to its scheduler.
      per_machine: workers that share this machine; None where they may be anywhere.
      trouble: gives the last error of the cluster, as of a job that its queue refuses; "" for none.
    """

    client: Client
    per_machine: int | None
    trouble: Callable[[], str]


@contextlib.contextmanager
def connected(cluster: Cluster) -> Iterator[Connection]:
    """Start a cluster, or find one, and close at the end what was started.

    Raises:
      UserError: it cannot be started or reached.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(_SETTINGS))
        kept = stack.enter_context(_silence())
        count = None
        if isinstance(cluster, ClusterFile):
            place: Any = stack.enter_context(_started(cluster))
        elif cluster == LOCAL:
            platform, count = _devices()
            place = stack.enter_context(_local(platform, count))
        else:
            place = cluster
        try:
            client = stack.enter_context(Client(place, timeout=_TIMEOUT_S, set_as_default=False))
        except (OSError, ValueError) as error:
            named = cluster.path if isinstance(cluster, ClusterFile) else cluster
            raise UserError(
                f"--cluster {named}: no scheduler answers ({in_short(error)}). Start one with `dask "
                "scheduler`, or give its address"
            ) from error
        yield Connection(client, count, lambda: kept.last)


class _Kept(logging.Handler):
    """Keeps the last exception that was logged, and shows nothing."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self.last = in_short(record.exc_info[1], _MOST_LETTERS)


@contextlib.contextmanager
def _silence() -> Iterator[_Kept]:
    """Keep Dask from telling of lost workers and other ports: this command says what matters of that."""
    kept = _Kept()
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in _TALKATIVE]
    loggers = [logging.root, *map(logging.getLogger, names)]
    before = [list(logger.handlers) for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="distributed")
        for logger in loggers:
            logger.handlers = [kept] if logger is logging.root or logger.handlers else []
        try:
            yield kept
        finally:
            for logger, handlers in zip(loggers, before, strict=True):
                logger.handlers = handlers


def _devices() -> tuple[str, int]:
    """Platform and number of this machine's devices, by a process that ends: this one takes none of them."""
    found = subprocess.run([sys.executable, "-c", _COUNT], capture_output=True, text=True, check=False)
    if found.returncode:
        last = found.stderr.strip().rpartition("\n")[2]
        raise UserError(f"--cluster local: JAX finds no devices ({in_short(last)})")
    platform, count = found.stdout.split()[-2:]
    # A CPU is one device, whatever XLA shows. Of the others, only GPUs are shared out by the environment.
    return platform, int(count) if platform == "gpu" else 1


@contextlib.contextmanager
def _local(platform: str, count: int) -> Iterator[DaskCluster]:
    """A worker process for each device of this machine; only processes of this machine reach them."""
    place = {"host": "127.0.0.1", "protocol": "tcp://"}
    options = {**place, "nthreads": 1, "memory_limit": 1 / count}  # of all that the machine has
    workers = {
        number: {"cls": Nanny, "options": {**options, "env": _only_device(number) if count > 1 else {}}}
        for number in range(count)
    }
    dashboard = {"dashboard": True, "dashboard_address": "127.0.0.1:8787"}
    scheduler = {"cls": Scheduler, "options": {**place, **dashboard}}
    try:
        cluster = _within(
            _START_S, lambda: SpecCluster(workers=workers, scheduler=scheduler, silence_logs="critical")
        )
    except Exception as error:
        raise UserError(f"--cluster local: cannot be started ({in_short(error)})") from error
    with _closing(cluster):
        yield cluster


def _within(seconds: float, make: Callable[[], T]) -> T:
    """What a function makes; Dask waits without end for workers that cannot start.

    Raises:
      TimeoutError: it takes longer. It goes on in a thread that ends with this process.
    """
    made: Future[T] = Future()

    def run() -> None:
        try:
            made.set_result(make())
        except BaseException as error:
            made.set_exception(error)

    threading.Thread(target=run, name="cluster", daemon=True).start()
    try:
        return made.result(seconds)
    except FutureTimeout:
        raise TimeoutError(f"it has not begun to work within {seconds:g} s: look at its options") from None


def _only_device(number: int) -> dict[str, str]:
    return {f"JAX_{kind}_VISIBLE_DEVICES": str(number) for kind in ("CUDA", "ROCM")}


@contextlib.contextmanager
def _started(file: ClusterFile) -> Iterator[DaskCluster]:
    where = f"--cluster {file.path}"
    module, _, name = file.kind.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0].replace("_", "-")
        raise UserError(
            f"{where}: {in_short(error.msg)}. Install it with pip install {package}, or mend `cluster`"
        ) from error
    except AttributeError as error:
        raise UserError(f"{where}: {module} has no {name}") from error
    if not (isinstance(kind, type) and issubclass(kind, DaskCluster)):
        raise UserError(f"{where}: {file.kind} is no cluster of Dask")
    try:
        cluster: Any = _within(_START_S, lambda: kind(**file.options))
    except Exception as error:
        raise UserError(f"{where}: {file.kind} cannot be started ({in_short(error)})") from error
    with _closing(cluster):
        for method, arguments in (("scale", file.scale), ("adapt", file.adapt)):
            if arguments is None:
                continue
            try:
                getattr(cluster, method)(**arguments)
            except (TypeError, ValueError, AttributeError) as error:
                raise UserError(f"{where}: {method} {arguments} means nothing ({in_short(error)})") from error
        yield cluster


@contextlib.contextmanager
def _closing(cluster: Any) -> Iterator[DaskCluster]:
    """Close a cluster at the end; what goes wrong then changes nothing in the results."""
    try:
        yield cluster
    finally:
        try:
            cluster.close()
        except Exception as error:
            cluster.shutdown_on_close = False  # Dask would try again at the end of this process
            said = in_short(error)
            tqdm.write(f"note: the cluster could not be closed ({said}). Look whether its processes go on")
