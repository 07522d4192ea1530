"""What `import nucseg_jax` offers, and that it is quick."""

import subprocess
import sys
from pathlib import Path

import pytest

import nucseg_jax


@pytest.mark.parametrize("name", nucseg_jax.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(nucseg_jax, name) is not None
    assert name in dir(nucseg_jax)


def test_they_are_what_they_say() -> None:
    assert nucseg_jax.metrics.score.__name__ == "score"
    assert nucseg_jax.stain.VahadaneNormalizer.__name__ == "VahadaneNormalizer"
    assert issubclass(nucseg_jax.UserError, ValueError)
    with pytest.raises(AttributeError, match="has no attribute 'Segmentor'"):
        nucseg_jax.Segmentor  # noqa: B018


def test_nothing_slow_is_imported_before_it_is_asked_for() -> None:
    code = "import sys, nucseg_jax; assert not {'jax', 'numpy'} & set(sys.modules); nucseg_jax.Segmenter"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_few_modules_lie_outside_of_a_room() -> None:
    """A newcomer looks here first."""
    (folder,) = nucseg_jax.__path__
    assert len(list(Path(folder).glob("*.py"))) <= 8
