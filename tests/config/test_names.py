"""What settings may name is what there is, in rooms that the config cannot import."""

from nucseg_jax.config import names
from nucseg_jax.models import recompute
from nucseg_jax.runs.checkpoint import SCORES
from nucseg_jax.training.feeds import FEEDS
from nucseg_jax.training.objectives import OBJECTIVES


def test_names_are_those_that_there_are() -> None:
    assert names.PIPELINES == tuple(FEEDS)
    assert names.LOSSES == tuple(OBJECTIVES)
    assert names.SCORES == SCORES
    assert names.RECOMPUTE == recompute.RECOMPUTE
