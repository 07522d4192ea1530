"""Full disks: how they are known, and one line about them."""

import errno
import sys
from pathlib import Path

import numpy as np
import pytest

from nucseg_jax.errors import DiskFullError
from nucseg_jax.io.disk import in_memory, is_full, named_when_full
from nucseg_jax.io.files import replacing, replacing_folder
from tests.small_disk import run_on_small_disk

WRITE = """
import sys
import numpy as np
from pathlib import Path
from nucseg_jax.errors import DiskFullError
from nucseg_jax.io.files import replacing_folder, write_text
from nucseg_jax.io.images import write_image
folder = Path(sys.argv[1])
noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)

def whole_folder():
    with replacing_folder(folder / "set") as temporary:
        (temporary / "file").write_bytes(bytes(400_000))

for write in (
    lambda: write_image(folder / "a.png", noise),
    lambda: write_image(folder / "a.tif", noise),
    lambda: write_text(folder / "a.txt", "a" * 400_000),
    whole_folder,
):
    try:
        write()
    except DiskFullError as error:
        print(error)
"""


def test_files_and_folders_on_a_full_disk(tmp_path: Path) -> None:
    status, printed, left = run_on_small_disk(tmp_path, 200, [sys.executable, "-c", WRITE, tmp_path])
    why = "cannot be written, because the disk (or your quota on it) is full"
    end = f": {why}. Make room, and start the command again"
    assert status == 0, printed
    assert printed.splitlines() == [f"{tmp_path / name}{end}" for name in ("a.png", "a.tif", "a.txt", "set")]
    assert left == []


def test_how_libraries_say_that_a_disk_is_full() -> None:
    assert is_full(OSError(errno.ENOSPC, "no")) and is_full(OSError(errno.EDQUOT, "no"))
    assert is_full(ValueError("RESOURCE_EXHAUSTED: /x; No space left on device"))
    assert not is_full(OSError(errno.EIO, "no")) and not is_full(None)
    try:
        try:
            raise OSError(errno.ENOSPC, "no")
        except OSError as error:
            raise RuntimeError("writing failed") from error
    except RuntimeError as error:
        assert is_full(error)
    try:
        try:
            raise OSError(errno.ENOSPC, "no")
        except OSError:
            raise RuntimeError("another thing")  # noqa: B904
    except RuntimeError as error:
        assert not is_full(error)
    assert not is_full(OSError(errno.EACCES, "no", "no space left on device.svs"))
    assert not is_full(ValueError("3 requested and 2 written"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_numpy_hides_that_a_disk_is_full() -> None:
    with pytest.raises(OSError, match="1000 requested and 0 written") as raised:
        np.ones(1000).tofile("/dev/full")
    assert raised.value.errno is None and is_full(raised.value)


def test_other_errors_stay(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="broken"), named_when_full(tmp_path):
        raise OSError(errno.EIO, "broken")


def test_the_name_is_the_final_one(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match=rf"^{tmp_path}/a/nuclei\.csv: cannot be written"):
        with replacing_folder(tmp_path / "a") as temporary, named_when_full(temporary / "nuclei.csv"):
            raise OSError(errno.ENOSPC, "no")
    assert list(tmp_path.iterdir()) == []


def test_the_name_is_that_of_the_error_if_it_has_one(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match=r"^/cache/b: cannot be written"), named_when_full(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "no", "/cache/b")
    long = tmp_path / ("n" * 250)
    with pytest.raises(DiskFullError, match=f"^{long}: cannot be written"), replacing(long) as temporary:
        raise OSError(errno.ENOSPC, "no", str(temporary))


def test_folders_in_memory(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    (tmp_path / "a b" / "disk").mkdir(parents=True)
    escaped = str(tmp_path / "a b").replace(" ", "\\040")
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nnone {escaped} tmpfs rw 0 0\nx {escaped}/disk xfs rw 0 0\n")
    assert in_memory(tmp_path / "a b", mounts)
    assert not in_memory(tmp_path / "a b" / "disk", mounts) and not in_memory(tmp_path, mounts)
    assert not in_memory(tmp_path / "a b", tmp_path / "none")
