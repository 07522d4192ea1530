"""Which slide a lost worker is blamed on."""

from nucseg_jax.predict.cluster.lost_workers import LostWorkers
from nucseg_jax.predict.cluster.messages import Event


def test_a_slide_that_only_waited_is_not_to_blame() -> None:
    lost = LostWorkers()
    lost.begun(Event(7, "worker", None))
    assert lost.at_work() == {7}
    assert lost.blame(7, "worker") == 1
    assert lost.blame(8, "worker") == 0, "in either order"
    assert lost.at_work() == set()

    lost.begun(Event(7, "another", None))
    assert lost.blame(8, "another") == 0
    assert lost.blame(7, "another") == 2


def test_a_worker_that_was_lost_before_it_said_what_it_is_at() -> None:
    assert LostWorkers().blame(3, "worker") == 1


def test_a_scheduler_that_has_tried_itself() -> None:
    """With the default of Dask it tells of a loss after four."""
    lost = LostWorkers()
    for worker in "abcd":
        lost.begun(Event(3, worker, None))
    assert lost.blame(3, "d") == 4


def test_losses_are_counted_by_slide() -> None:
    lost = LostWorkers()
    lost.begun(Event(1, "a", None))
    lost.ended(1, "a")
    lost.begun(Event(2, "a", None))
    assert lost.blame(2, "a") == 1
    lost.begun(Event(1, "b", None))
    assert lost.blame(1, "b") == 1


def test_why() -> None:
    lost = LostWorkers()
    lost.over_memory("a")
    assert lost.why("a") == "out of memory"
    assert lost.why("b") == "killed, or its machine was"
