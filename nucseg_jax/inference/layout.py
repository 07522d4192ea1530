"""Which tiles a run's network looks at images in."""

import math

from ml_collections import ConfigDict

from nucseg_jax.errors import UserError, in_short
from nucseg_jax.inference.tiles import Tiling
from nucseg_jax.models import REACH_PX, STRIDE_PX, WHOLE_IMAGE_NETWORKS

KEPT_PX = (64, 128, 256, 512, 1024)
"""What may be kept of a tile where that changes nothing: small images need no large tiles, and more than the
largest takes gigabytes of a full-width network."""

_MOST_PX = 2**28
"""That are worked on at once: 800 MB of pixels, and many times as much within a network."""

_BLENDED_PART = 4  # of a training patch's side is shared by neighbours
_LARGEST_STRIDE_PX = 1024  # of the image, where it is reduced


def tilings_of(config: ConfigDict) -> tuple[Tiling, ...]:
    """The tilings that a run may use; all give the same result, but for float rounding.

    A network whose reach is known (`models.REACH_PX`) says the same of a pixel in every tile that has the
    pixel's surroundings: what lies within its reach of a tile's border is not kept, and the size of the tiles
    is free. Others are shown tiles of one size, which overlap by a quarter of a training patch and are
    blended. Where the network pools over all that it sees, they are as large as a training patch. Otherwise
    a tile begins every two training patches, so that an image of four patches a side takes four tiles.

    `eval.tile_px` sets the size of the tiles. `eval.overlap_px` sets what neighbours share and blend: with 0
    and tiles as large as training patches this is the paper's way.

    Args:
      config: the experiment.

    Raises:
      UserError: the tiles, or the batches, that `config.eval` asks for cannot be made.
    """
    crop, tile, overlap = config.data.crop_size, config.eval.tile_px, config.eval.overlap_px
    scale = config.model.input_scale
    if tile is not None and tile**2 > _MOST_PX:
        raise UserError(f"eval.tile_px must be at most {math.isqrt(_MOST_PX):,}, got {in_short(tile)}")
    if config.eval.batch_size * crop**2 > _MOST_PX:
        raise UserError(
            f"eval.batch_size × data.crop_size² = {in_short(config.eval.batch_size)} × {in_short(crop)}² are "
            f"more pixels than can be worked on at once ({_MOST_PX:,}): set a smaller eval.batch_size"
        )
    if tile is not None and (tile < 1 or tile * scale % STRIDE_PX):
        raise UserError(
            f"eval.tile_px × model.input_scale = {tile} × {scale:g} must be a multiple of {STRIDE_PX}"
        )
    if overlap is not None:
        if overlap < 0:
            raise UserError(f"eval.overlap_px must be 0 or more, got {overlap}")
        return (_blended(tile or crop, overlap),)
    margin = exact_margin(config)
    if margin is None:
        sees_all = config.model.name in WHOLE_IMAGE_NETWORKS or config.stain.where == "model"
        if tile is not None or sees_all:
            return (_blended(tile or crop, crop // _BLENDED_PART),)
        least = 2 * crop + crop // _BLENDED_PART
        sides = range(least, least + _LARGEST_STRIDE_PX)
        side = next((side for side in sides if side * scale % STRIDE_PX == 0), None)
        if side is None:
            raise UserError(
                f"model.input_scale = {scale:g}: no tile of up to {sides[-1]:,} px has a multiple of "
                f"{STRIDE_PX} pixels at this scale, as the network needs"
            )
        return (_blended(side, side - 2 * crop),)
    if tile is None:
        return tuple(Tiling(kept + 2 * margin, margin) for kept in KEPT_PX)
    if tile <= 2 * margin:
        raise UserError(
            f"eval.tile_px = {tile} leaves nothing: {config.model.name} sees {margin} px around a pixel, so "
            f"that tiles must be larger than {2 * margin} px. Or set eval.overlap_px, too"
        )
    return (Tiling(tile, margin),)


def _blended(tile: int, overlap: int) -> Tiling:
    if 2 * overlap > tile:
        raise UserError(
            f"tiles of {tile} px (eval.tile_px, or those of data.crop_size) cannot share {overlap} px "
            "(eval.overlap_px, or a quarter of data.crop_size): set a larger eval.tile_px, or an "
            "eval.overlap_px of at most half of it"
        )
    return Tiling(tile, blend=overlap)


def exact_margin(config: ConfigDict) -> int | None:
    """Pixels at a tile's border that see less than all; None where the network's reach is not known.

    A multiple of the network's stride, so that its pooling windows lie alike in all tiles.
    """
    reach, scale = REACH_PX.get(config.model.name), config.model.input_scale
    stride = STRIDE_PX / scale
    if reach is None or config.stain.where == "model" or stride != round(stride):
        return None
    resized = 0 if scale == 1 else 2  # pixels that resizing looks at, on both ways
    return math.ceil((reach + resized) / scale / stride) * round(stride)
