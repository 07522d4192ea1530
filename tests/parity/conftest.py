"""Every parity test starts from the same random state and takes one core."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Fixed initial weights and dropout; one thread, since pytest's workers already fill the cores."""
    import torch  # here, so that without PyTorch the modules are skipped instead of this file failing

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)
