"""Two examples of different sizes, random in every pixel, and a plan of their patches."""

import numpy as np

from nucseg_jax.data.dataset import Example
from nucseg_jax.data.patches import PatchPlan


def example(name: str, height: int, width: int) -> Example:
    generator = np.random.default_rng(height)
    image = generator.integers(0, 256, (height, width, 3)).astype(np.uint8)
    labels = generator.integers(0, 2000, (height, width)).astype(np.int32)
    return Example(name, "breast", image, labels, image, labels)


EXAMPLES = [example("a", 40, 50), example("b", 33, 60)]
PLAN = PatchPlan(3, ((40, 50), (33, 60)), crop=16, random_crops=20, fresh=True, turns=True, flips=True)
