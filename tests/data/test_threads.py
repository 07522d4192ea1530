"""Work in threads: in order, and not far ahead of who takes its results."""

from collections.abc import Iterator

import pytest

from nucseg_jax.data.threads import in_threads


def test_results_come_in_order_and_few_items_are_taken_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nucseg_jax.data.threads.usable_cores", lambda: 2)
    taken: list[int] = []

    def items() -> Iterator[int]:
        for i in range(100):
            taken.append(i)
            yield i

    found = in_threads(lambda i: i * i, items())
    for i, result in enumerate(found):
        assert result == i * i and len(taken) <= i + 4
    assert len(taken) == 100


def test_an_error_reaches_who_asks() -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda i: 1 // i, [2, 1, 0, 5]))
