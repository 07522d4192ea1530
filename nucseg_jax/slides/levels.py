"""How coarse a level of a pyramid is, by its size."""

import math

from nucseg_jax.slides.reader import Level


def level_of(height: int, width: int, base_height: int, base_width: int) -> Level:
    """A level by its size and that of the base level, in pixels.

    Most programs halve again and again, and drop a row or column that is over, or add one: their pixels are a
    whole number of base pixels, though the sizes' ratio is another, so that at the foot of a tall slide it
    would be off by nearly a pixel of the level. Sizes that no whole number explains are of resized pictures,
    whose ratios count along each axis.
    """
    down, across = base_height / height, base_width / width
    ratio = down if base_height >= base_width else across  # the longer side says it more exactly
    for factor in (2 ** round(math.log2(ratio)), round(ratio)):
        if factor >= 1 and max(abs(base_height / factor - height), abs(base_width / factor - width)) < 1:
            return Level(height, width, float(factor), float(factor))
    return Level(height, width, max(1.0, down), max(1.0, across))
