"""Addresses, https://… and s3://…, by fsspec: only where the user names one is anything fetched.

OME-Zarr and TIFF are read there piece by piece. What else there is must be downloaded first.
"""

from pathlib import Path
from typing import Any, BinaryIO, Literal, cast
from urllib.parse import urlsplit

from nucseg_jax.errors import DataError, MissingExtraError, in_short
from nucseg_jax.io.names import address

REMEDY = "Check the address and the network, and give the command again"

_SCHEMES = ("https", "http", "s3")
_TIFF_SUFFIXES = (".tif", ".tiff", ".btf")
_BLOCK_BYTES, _BLOCKS = 2**20, 64
"""Of a TIFF, that is fetched at once, and how many are kept."""

_DOWNLOAD = "Download the file, and give its path"


def kind(path: Path) -> Literal["zarr", "tiff"]:
    """What lies at an address, by the end of its name.

    Raises:
      DataError: it is of another scheme or kind, or has a part that summaries must not keep.
    """
    parts = urlsplit(address(path))
    if parts.scheme not in _SCHEMES:
        raise DataError(
            f"{path}: is an address, and only https://, http:// and s3:// are read. Give the file's path"
        )
    if parts.query or parts.fragment or parts.username:
        raise DataError(
            f"{path}: is an address with a password, or with a part after ? or #, which is often a secret, "
            f"and results would keep it. {_DOWNLOAD}"
        )
    suffix = path.suffix.lower()
    if suffix == ".zarr":
        return "zarr"
    if suffix in _TIFF_SUFFIXES:
        return "tiff"
    raise DataError(
        f"{path}: is an address, and only OME-Zarr and TIFF (.zarr, {', '.join(_TIFF_SUFFIXES)}) are read "
        f"from one. {_DOWNLOAD}"
    )


def open_file(path: Path) -> BinaryIO:
    """The file at an address, of which blocks are fetched when they are read.

    Raises:
      MissingExtraError: a package is not installed.
      DataError: it is not there, or its server gives no parts of files.
    """
    place = address(path)
    system = _file_system(path)
    try:
        file = system.open(
            place,
            "rb",
            block_size=_BLOCK_BYTES,
            cache_type="blockcache",
            cache_options={"maxblocks": _BLOCKS},
        )
    except Exception as error:  # of many types: of the network's libraries
        raise unreadable(path, error) from error
    try:
        file.seek(max(0, file.size - 1))  # a server that gives the beginning alone would fail in the midst
        file.read(1)
        file.seek(0)
    except Exception as error:
        file.close()
        if isinstance(error, (ValueError, TypeError)):  # of fsspec's, where parts or the size are not given
            raise DataError(f"{path}: its server gives no parts of files. {_DOWNLOAD}") from error
        raise unreadable(path, error) from error
    return cast(BinaryIO, file)


def zarr_store(path: Path) -> Any:
    """The store of a zarr hierarchy at an address.

    Raises:
      MissingExtraError: a package is not installed.
    """
    from zarr.storage import FsspecStore

    return FsspecStore(_file_system(path, asynchronous=True), path=_stripped(path), read_only=True)


def unreadable(path: Path, error: Exception) -> DataError:
    """What is said of an address that cannot be read."""
    cause = error.__cause__ or error  # fsspec says "not found" of servers that do not answer, too
    if isinstance(error, FileNotFoundError) and (cause is error or getattr(cause, "status", None) == 404):
        return DataError(f"{path}: no such file at this address. Check its spelling")
    return DataError(f"{path}: cannot be fetched ({in_short(cause)}). {REMEDY}")


def _stripped(path: Path) -> str:
    """An address as fsspec's file systems take it: s3's without its scheme."""
    return address(path).removeprefix("s3://")


def _file_system(path: Path, **options: Any) -> Any:
    scheme = urlsplit(address(path)).scheme
    try:
        import fsspec

        return fsspec.filesystem(scheme, **options)
    except ImportError as error:
        raise MissingExtraError("s3" if scheme == "s3" else "remote", error) from error
