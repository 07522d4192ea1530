"""Which slides are to be done: arguments, lists, shares, results that are there."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from nucseg_jax.errors import UserError
from nucseg_jax.predict.jobs import SlideJob, plan, read_list, share, unfinished
from tests.predict.test_command import ROOT, predict, tissue, write_tiff
from tests.predict.test_command import run as run


def test_the_plan(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    for name in ("b.svs", "a.png", ".hidden.png", "c.txt", "more/d.tif"):
        (tmp_path / name).touch()
    out = tmp_path / "out"
    found = plan([tmp_path, tmp_path / "a.png", tmp_path / "more" / "d.tif", Path("gone.svs")], out)
    assert [(job.source.name, job.folder) for job in found] == [
        ("a.png", out / "a"),
        ("b.svs", out / "b"),
        ("d.tif", out / "d"),
        ("gone.svs", out / "gone"),
    ]
    with pytest.raises(UserError, match="is a file"):
        plan([], tmp_path / "a.png")
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="none: no slide or image"):
        plan([tmp_path / "none"], out)


def test_a_list(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("a.svs\n\n# b.svs\n  c d.svs  \n")
    assert read_list(tmp_path / "list") == [Path("a.svs"), Path("c d.svs")]


def test_several_lists(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "abc":
        write_tiff(tmp_path / f"{name}.tif", tissue())
        (tmp_path / f"{name}.txt").write_text(str(tmp_path / f"{name}.tif"))
    lists = [tmp_path / f"{name}.txt" for name in "abc"]
    out = tmp_path / "out"
    assert predict(run, out, "--list", lists[0], "--list", *lists[1:], "--formats", "csv", "csv") == 0
    assert sorted(path.name for path in out.iterdir()) == ["a", "b", "c"]
    assert predict(run, out, "--list", *lists, "--formats", "csv") == 0
    assert "3 of 3 finished already" in capsys.readouterr().out
    assert predict(run, out, "--list", lists[0], tmp_path / "b.tif") == 2
    assert "b.tif: cannot be read" in (message := capsys.readouterr().err) and "before --list" in message


def test_what_is_finished(tmp_path: Path) -> None:
    job = SlideJob(tmp_path / "a.svs", tmp_path / "out" / "a")
    request = {"mpp": 0.25, "instances": {"method": "components"}}
    assert unfinished([job], request) == [job]
    job.folder.mkdir(parents=True)
    assert unfinished([job], request) == [job]
    done = {"config": {"request": {**request, "source": str(job.source.resolve())}}}
    (job.folder / "summary.json").write_text(json.dumps(done))
    assert unfinished([job], request) == []
    assert unfinished([job], request, overwrite=True) == [job]
    with pytest.raises(UserError, match=r"out/a: mpp 0\.25 and not 0\.5\n.*--overwrite"):
        unfinished([job], {**request, "mpp": 0.5})
    with pytest.raises(UserError, match=r"out/a: source "):
        unfinished([SlideJob(tmp_path / "b" / "a.svs", job.folder)], request)
    job.source.write_bytes(b"another slide of this name")
    with pytest.raises(UserError, match=r"out/a: bytes None and not 26"):
        unfinished([job], request)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "content", [{"Dat0000.dat": "x"}, {"summary.json": '{"config": {"request": null}}'}, None]
)
def test_what_is_no_result_is_never_replaced(
    tmp_path: Path,
    run: Path,
    capsys: pytest.CaptureFixture[str],
    content: dict[str, str] | None,
    overwrite: bool,
) -> None:
    """The folder that MRXS has beside its file; another program's; the slide itself, if it has no ending."""
    write_tiff(tmp_path / "a.tif", tissue())
    if content is None:
        (tmp_path / "a.tif").rename(tmp_path / "a")
    else:
        (tmp_path / "a").mkdir()
        for name, text in content.items():
            (tmp_path / "a" / name).write_text(text)
    before = sorted(tmp_path.rglob("*"))
    source = tmp_path / ("a" if content is None else "a.tif")
    assert predict(run, tmp_path, source, *(["--overwrite"] if overwrite else [])) == 2
    assert f"{tmp_path / 'a'}: is there already, but is not a readable result" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_shares() -> None:
    jobs = [SlideJob(Path(f"{i}.svs"), Path(f"out/{i}")) for i in range(7)]
    shares = [share(jobs, f"{i}/3") for i in (1, 2, 3)]
    assert sorted(sum(shares, [])) == jobs and [len(part) for part in shares] == [3, 2, 2]
    assert share(jobs[:1], "2/2") == []
    for wrong in ("0/3", "4/3", "3", "a/b", "1/0", "-1/3"):
        with pytest.raises(UserError, match=f"--share {wrong}: must be K/N"):
            share(jobs, wrong)


def test_a_share_without_a_slide_is_said(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiff(tmp_path / "a.tif", tissue())
    assert predict(run, tmp_path / "out", tmp_path / "a.tif", "--share", "3/3") == 0
    assert capsys.readouterr().out == "nothing to do: of 1 slides --share 3/3 has none\n"


@pytest.mark.parametrize(
    ("array", "share"),
    [
        ({}, "1/1"),
        ({"COUNT": "3", "MIN": "1", "ID": "3", "STEP": "1"}, "3/3"),
        ({"COUNT": "4", "MIN": "2", "ID": "6", "STEP": "2"}, "3/4"),
    ],
)
def test_an_array_of_tasks_shares_a_list(tmp_path: Path, array: dict[str, str], share: str) -> None:
    """The command is replaced by one that prints its arguments."""
    fake = tmp_path / "python"
    fake.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    slurm = {f"SLURM_ARRAY_TASK_{name}": value for name, value in array.items()}
    result = subprocess.run(
        [str(ROOT / "launch/slurm_predict.sh"), "my slides.txt", "out", "--workdir", "a run", "--mpp=1"],
        env={**os.environ, "PYTHON": str(fake), **slurm},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = ["-m", "nucseg_jax.predict", "--list", "my slides.txt", "--share", share, "--out", "out"]
    assert result.stdout.splitlines() == [*expected, "--workdir", "a run", "--mpp=1"]
