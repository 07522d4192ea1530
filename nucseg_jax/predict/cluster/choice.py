"""What a user names with `--cluster`: local, the address of a scheduler, or a file."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from nucseg_jax.errors import MissingExtraError, UserError, in_short

LOCAL = "local"

_ENDINGS = (".yaml", ".yml")
_SCHEMES = ("tcp", "tls", "ws", "wss", "ucx")
_KEYS = ("cluster", "options", "scale", "adapt")


class ClusterFile(NamedTuple):
    """A cluster that a file describes.

    Attributes:
      path: of the file.
      kind: the class of the cluster, with its module, such as "dask_jobqueue.SLURMCluster".
      options: of this class.
      scale: arguments of its method `scale`; None: that is not called.
      adapt: arguments of its method `adapt`; None: that is not called.
    """

    path: Path
    kind: str
    options: Mapping[str, Any]
    scale: Mapping[str, Any] | None
    adapt: Mapping[str, Any] | None


Cluster = str | ClusterFile
"""LOCAL, the address of a scheduler, or a file."""


def read_choice(text: str) -> Cluster:
    """Understand the value of `--cluster`.

    Raises:
      MissingExtraError: Dask is not installed.
      UserError: it is none of the three; or the file is wrong.
    """
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("cluster", error) from error
    if text == LOCAL:
        return LOCAL
    if text.endswith(_ENDINGS):
        return _read_file(Path(text))
    scheme, separator, rest = text.partition("://")
    if separator and scheme in _SCHEMES and rest:
        return text
    raise UserError(
        f"--cluster {text}: give local, the address of a Dask scheduler such as tcp://HOST:8786, or a file "
        "that ends with .yaml"
    )


def _read_file(path: Path) -> ClusterFile:
    import yaml

    where = f"--cluster {path}"
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{where}: cannot be read ({in_short(error)})") from error
    except yaml.YAMLError as error:
        raise UserError(f"{where}: is no YAML ({in_short(error)})") from error
    if not isinstance(found, dict):
        raise UserError(f"{where}: has no keys. `cluster: dask_jobqueue.SLURMCluster` is the least")
    for key in found:
        if key not in _KEYS:
            near = get_close_matches(str(key), _KEYS, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UserError(f"{where}: unknown key {key!r}: {hint}there are {', '.join(_KEYS)}")
    kind = found.get("cluster")
    if not (isinstance(kind, str) and "." in kind):
        raise UserError(
            f"{where}: cluster must be a class with its module, such as dask_jobqueue.SLURMCluster, got "
            f"{kind!r}"
        )
    options = found.get("options")
    if options is None:
        options = {}
    if not _are_arguments(options):
        raise UserError(f"{where}: options must be names and values, got {in_short(repr(options))}")
    scale, adapt = _scale(found.get("scale"), where), found.get("adapt")
    if adapt is not None and not _are_arguments(adapt):
        raise UserError(f"{where}: adapt must be names and values, such as {{maximum: 8}}, got {adapt!r}")
    if scale is not None and adapt is not None:
        raise UserError(f"{where}: has scale and adapt: leave one of them out")
    return ClusterFile(path, kind, options, scale, adapt)


def _scale(value: Any, where: str) -> Mapping[str, Any] | None:
    if value is None or _are_arguments(value):
        return value  # type: ignore[no-any-return]
    if type(value) is int and value > 0:
        return {"n": value}
    raise UserError(f"{where}: scale must be a number of workers, or such as {{jobs: 8}}, got {value!r}")


def _are_arguments(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)
