"""How large a slide counts."""

from pathlib import Path

from nucseg_jax.predict.cluster.sizes import bytes_of


def test_files_folders_and_addresses(tmp_path: Path) -> None:
    (tmp_path / "a.svs").write_bytes(b"x" * 10)
    (tmp_path / "b.mrxs").write_bytes(b"x" * 5)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "Data0001.dat").write_bytes(b"x" * 100)
    (tmp_path / "c.ome.zarr" / "0" / "c").mkdir(parents=True)
    (tmp_path / "c.ome.zarr" / "0" / "c" / "0").write_bytes(b"x" * 50)
    names = ("a.svs", "b.mrxs", "c.ome.zarr", "missing.svs")
    assert [bytes_of(tmp_path / name) for name in names] == [10, 105, 50, 0]
    assert bytes_of(Path("https://host/d.ome.zarr")) > 1 << 50, "it may be the largest"
