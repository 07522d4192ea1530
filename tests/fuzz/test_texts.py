"""What people and programs could write: drawn by hypothesis, read by the same child as damaged files."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucseg_jax.config import flatten, get_config
from nucseg_jax.evaluation.ensemble import OPERATORS
from tests.fuzz.child import REFUSED, RIGHT, Verdict
from tests.fuzz.mutations import TEXTS
from tests.fuzz.readers import READERS
from tests.fuzz.running import Child

# Of the signs of Unicode all but those that UTF-8 cannot write.
TEXT = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(TEXTS)
KEYS = (
    "method",
    "matrix",
    "mean",
    "best",
    "parameters",
    "threshold",
    "watershed",
    "images",
    "id",
    "split",
    "config",
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | TEXT, inner, max_size=4)
    ),
    max_leaves=12,
)
MODELS = st.sampled_from(("unet", "fcn8", "psp_segnet", "self_correction", "or"))
EXPRESSION = st.recursive(
    MODELS,
    lambda inner: st.builds(
        lambda operator, arguments, comma: f"{operator}({comma.join(arguments)})",
        st.sampled_from(OPERATORS),
        st.lists(inner, min_size=1, max_size=3),
        st.sampled_from((",", ", ", " ,\t", ",,")),
    ),
    max_leaves=10,
)
OVERRIDE = st.builds(
    lambda key, sign, value: key + sign + value,
    st.sampled_from(sorted(flatten(get_config().to_dict()))) | TEXT,
    st.sampled_from(("=", "", "==")),
    TEXT
    | st.integers().map(str)
    | st.floats().map(str)
    | st.sampled_from(("True", "a,b", "('a', 'b')", "[1]")),
)
DRAWN = {
    "manifest": JSON.map(json.dumps),
    "tuning": JSON.map(json.dumps),
    "stain-record": JSON.map(json.dumps),
    "finished-result": JSON.map(json.dumps),
    "curves": st.lists(JSON.map(json.dumps)).map("\n".join),
    "ensemble": EXPRESSION | TEXT,
    "overrides": st.lists(OVERRIDE, max_size=4).map("\n".join),
    "list-of-slides": st.lists(TEXT, max_size=4).map("\n".join),
}
"""Reader → texts for its file."""


@pytest.mark.parametrize("name", DRAWN)
def test_drawn_texts(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    (tmp_path / "whole").mkdir()
    (tmp_path / "input").mkdir()
    wholes = reader.seeds(tmp_path / "whole")
    path = reader.seeds(tmp_path / "input")[0]
    file = next(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else path
    with Child(reader, wholes) as child:
        _check(DRAWN[name], file, lambda: child.read(path))


def _check(texts: st.SearchStrategy[str], file: Path, read: Callable[[], Verdict]) -> None:
    @settings(max_examples=100, deadline=None, derandomize=True, database=None)
    @given(texts)
    def check(text: str) -> None:
        file.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
        verdict = read()
        assert verdict.outcome in (RIGHT, REFUSED), verdict

    check()
