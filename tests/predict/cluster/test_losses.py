"""Which slide a lost worker is blamed on."""

from nucseg_jax.predict.cluster.losses import Losses
from nucseg_jax.predict.cluster.messages import Event


def test_a_slide_that_only_waited_is_not_to_blame() -> None:
    losses = Losses()
    losses.begun(Event(7, "worker", None))
    assert losses.at_work() == {7}
    assert losses.blame(7, "worker") == 1
    assert losses.blame(8, "worker") == 0, "in either order"
    assert losses.at_work() == set()

    losses.begun(Event(7, "another", None))
    assert losses.blame(8, "another") == 0
    assert losses.blame(7, "another") == 2


def test_a_worker_that_was_lost_before_it_said_what_it_is_at() -> None:
    assert Losses().blame(3, "worker") == 1


def test_a_scheduler_that_has_tried_itself() -> None:
    """With the default of Dask it tells of a loss after four."""
    losses = Losses()
    for worker in "abcd":
        losses.begun(Event(3, worker, None))
    assert losses.blame(3, "d") == 4


def test_losses_are_counted_by_slide() -> None:
    losses = Losses()
    losses.begun(Event(1, "a", None))
    losses.ended(1, "a")
    losses.begun(Event(2, "a", None))
    assert losses.blame(2, "a") == 1
    losses.begun(Event(1, "b", None))
    assert losses.blame(1, "b") == 1


def test_why() -> None:
    losses = Losses()
    losses.over_memory("a")
    assert losses.why("a") == "out of memory"
    assert losses.why("b") == "killed, or its machine was"
