"""From what the models say of one image to the ensemble's nuclei."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import relabel_sequential

from nucseg_jax.evaluation.ensemble.parsing import EnsembleError, Expression, Model, Operation
from nucseg_jax.instances import NucleusMap
from nucseg_jax.metrics import check_label_map, overlaps

Split = Callable[[Expression, NucleusMap], NDArray[np.int32]]
"""(a model or an operation, what it says of the image) → its nuclei, int32 [H, W]."""


def calibrated(nucleus_map: NucleusMap, threshold: float) -> NucleusMap:
    """A model's map with its threshold moved to 0.5: 0 … threshold … 1 becomes 0 … 0.5 … 1, evenly.

    So that models whose thresholds differ can be combined: their masks stay as they are.

    Args:
      nucleus_map: as the network has it.
      threshold: above which a pixel is of a nucleus, between 0 and 1.
    """
    p = nucleus_map.nucleus
    above = p > np.float32(threshold)
    low, high = 0.5 * p / threshold, 0.5 + 0.5 * (p - threshold) / (1 - threshold)
    # The mask stays as it is, and a probability a probability, whatever the rounding.
    half, one = np.float32(0.5), np.float32(1)
    moved = np.where(above, np.clip(high, np.nextafter(half, one), one), np.minimum(low, half))
    moved = moved.astype(np.float32)
    if nucleus_map.boundary is None:
        return NucleusMap(moved)
    # The boundary is a part of the nucleus, and stays the same part.
    part = np.divide(nucleus_map.boundary, p, out=np.zeros_like(p), where=p > 0)
    return NucleusMap(moved, part * moved)


def combine(
    expression: Expression,
    maps: Mapping[str, NucleusMap],
    split: Split,
    scores: Mapping[str, float] | None = None,
) -> NDArray[np.int32]:
    """The nuclei of one image as an ensemble sees them.

    The pixel operators make one map of theirs, which is split. `or`, `and` and `majority` give
    probabilities of 0 and 1. A boundary is the mean (`weighted`: the weighted mean) of the arguments' that
    have one, or None.

    Args:
      expression: of `parse`.
      maps: what each model says of the image, by its name, `calibrated`; all [H, W].
      split: makes nuclei: int32 [H, W], 0 = background.
      scores: of the models on validation images, above 0; only `weighted` needs them.

    Returns:
      int32 [H, W], 0 = background: what `split` made, or what `vote` made of several such.

    Raises:
      EnsembleError: `weighted` without a score of one of its models.
      ValueError: a model without a map, or maps of different shapes.
    """
    scores = scores or {}
    check_scores(expression, scores)
    _check_maps(expression.models, maps)
    expression = _in_order(expression)
    if isinstance(expression, Operation) and expression.operator == "vote":
        return vote([split(a, _pixels(a, maps, scores)) for a in expression.arguments])
    return split(expression, _pixels(expression, maps, scores))


def combined_map(
    expression: Expression, maps: Mapping[str, NucleusMap], scores: Mapping[str, float] | None = None
) -> NucleusMap:
    """What a model, or an operation other than `vote`, says of an image: what `combine` splits.

    Args:
      expression, maps, scores: as for `combine`.
    """
    return _pixels(_in_order(expression), maps, scores or {})


def check_scores(expression: Expression, scores: Mapping[str, float]) -> None:
    """Raises an EnsembleError unless each model that is weighted has a score above 0.

    To be called before the models predict; `combine` does so too.
    """
    if isinstance(expression, Model):
        return
    for argument in expression.arguments:
        check_scores(argument, scores)
    for name in expression.models if expression.operator == "weighted" else ():
        if name not in scores:
            raise EnsembleError(
                f"{expression} needs a validation score of {name!r}, which has none: "
                "train it with validation images, or use mean instead"
            )
        if not 0 < scores[name] < math.inf:
            raise EnsembleError(f"{expression} needs scores above 0, got {scores[name]} of {name!r}")


def _check_maps(names: Sequence[str], maps: Mapping[str, NucleusMap]) -> None:
    if missing := [name for name in names if name not in maps]:
        raise ValueError(f"no map of {', '.join(missing)}")
    shapes = {name: maps[name].nucleus.shape for name in names}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"maps differ in shape: {', '.join(f'{n} {s}' for n, s in shapes.items())}")


def _in_order(expression: Expression) -> Expression:
    """With sorted arguments: how they were written then decides neither a rounding nor a tie."""
    if isinstance(expression, Model):
        return expression
    return Operation(expression.operator, tuple(sorted(map(_in_order, expression.arguments), key=str)))


def _pixels(
    expression: Expression, maps: Mapping[str, NucleusMap], scores: Mapping[str, float]
) -> NucleusMap:
    """What a model, or an operator other than `vote`, says of the image."""
    if isinstance(expression, Model):
        return maps[expression.name]
    weighted = expression.operator == "weighted"
    weights = [scores[str(argument)] if weighted else 1.0 for argument in expression.arguments]
    arguments = [_pixels(argument, maps, scores) for argument in expression.arguments]
    if weighted or expression.operator == "mean":
        nucleus = _mean([argument.nucleus for argument in arguments], weights)
    else:
        nucleus = _agreed(expression.operator, np.stack([argument.mask for argument in arguments]))
    bounded = [(a.boundary, w) for a, w in zip(arguments, weights, strict=True) if a.boundary is not None]
    boundary = _mean([b for b, _ in bounded], [w for _, w in bounded]) if bounded else None
    return NucleusMap(nucleus, boundary)


def _mean(probabilities: Sequence[NDArray[np.float32]], weights: Sequence[float]) -> NDArray[np.float32]:
    mean = np.average(np.stack(probabilities), axis=0, weights=np.asarray(weights))
    return np.asarray(mean, dtype=np.float32)


def _agreed(operator: str, masks: NDArray[np.bool_]) -> NDArray[np.float32]:
    """float32 [H, W] of 0 and 1, of masks [K, H, W]."""
    votes = np.count_nonzero(masks, axis=0)
    match operator:
        case "or":
            return (votes > 0).astype(np.float32)
        case "and":
            return (votes == len(masks)).astype(np.float32)
        case "majority":
            return (2 * votes > len(masks)).astype(np.float32)
    raise ValueError(f"{operator!r} does not combine masks")


# --- nuclei ----------------------------------------------------------------------------------


def vote(label_maps: Sequence[NDArray[np.integer]]) -> NDArray[np.int32]:
    """The nuclei that more than half of the label maps, the voters, have.

    Nuclei of two voters are the same if their IoU is above 0.5; a nucleus has at most one such partner in
    each other map. Nuclei that are the same, directly or through others, make a group, which has at most one
    nucleus of each voter: pairs are joined from the highest IoU down, and one that would bring two nuclei of
    a voter together is passed over.

    A group of more than half of the voters becomes a nucleus: the pixels that are in more than half of its
    members, so the intersection of two, and what any two of three share. A pixel that two groups have so (it
    takes four voters) goes to the one with more members at that pixel, then to the larger group.

    Ties, of IoUs and of such groups, go to the earlier label map, there to the lower id.

    Args:
      label_maps: two or more, integer [H, W], 0 = background; ids need not be contiguous.

    Returns:
      int32 [H, W], 0 = background: nuclei 1, 2, … without gaps, in the order of their first pixels, row by
      row. A nucleus may be in several pieces: a few pixels apart, where ragged outlines cross.

    Raises:
      ValueError: the maps differ in shape, or one is no label map.
    """
    label_maps = [check_label_map(f"label map {i}", label_map) for i, label_map in enumerate(label_maps)]
    pairs = _same_nuclei(label_maps)
    # One numbering for the nuclei of all voters: 1, 2, …; 0 stays the background.
    nuclei = np.stack([relabel_sequential(label_map)[0].astype(np.int64) for label_map in label_maps])
    counts = nuclei.max(axis=(1, 2), initial=0)
    before = np.cumsum(counts) - counts
    nuclei = np.where(nuclei > 0, nuclei + before[:, None, None], 0)
    joined = ((before[a] + i + 1, before[b] + j + 1) for a, i, b, j in pairs)
    group = _groups(joined, voter=np.repeat(np.arange(len(counts)), counts))

    members = np.bincount(group)
    kept = np.flatnonzero(2 * members > len(counts))
    kept = kept[kept > 0]
    # Ranks 1, 2, … of the kept groups: of two with as many members at a pixel the higher one has it.
    kept = kept[np.lexsort((-kept, members[kept]))]
    rank = np.zeros(len(members), dtype=np.int64)
    rank[kept] = np.arange(1, len(kept) + 1)
    return _in_order_of_pixels(_winners(rank[group][nuclei], np.concatenate([[0], members[kept]])))


def _same_nuclei(label_maps: Sequence[NDArray[np.integer]]) -> list[tuple[int, int, int, int]]:
    """(voter, its nucleus, later voter, its nucleus) of IoU > 0.5, highest first; nuclei count from 0."""
    found = []
    for (a, first), (b, second) in combinations(enumerate(label_maps), 2):
        table = overlaps(first, second)
        iou = table.iou
        for pair in np.flatnonzero(iou > 0.5):
            found.append((-iou[pair], a, int(table.truth[pair]), b, int(table.prediction[pair])))
    return [(a, i, b, j) for _, a, i, b, j in sorted(found)]


def _groups(pairs: Iterable[tuple[int, int]], voter: NDArray[np.integer]) -> NDArray[np.int64]:
    """int64 [1 + nuclei]: each nucleus's group, by the lowest nucleus in it; the background's is 0.

    Args:
      pairs: of nuclei, which count from 1, in the order in which they are to be joined.
      voter: int [nuclei], whose each is.
    """
    group = list(range(len(voter) + 1))
    members = [[nucleus] for nucleus in group]
    for pair in pairs:
        into, other = sorted(group[nucleus] for nucleus in pair)
        voters = {voter[nucleus - 1] for nucleus in members[into]}
        if voters.isdisjoint(voter[nucleus - 1] for nucleus in members[other]):
            for nucleus in members[other]:
                group[nucleus] = into
            members[into] += members[other]
    return np.array(group, dtype=np.int64)


def _winners(claims: NDArray[np.int64], members: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 [H, W]: the rank of the group that has each pixel, 0 where none has.

    Args:
      claims: int64 [voters, H, W], the rank of the group of each voter's nucleus at each pixel; 0 = none.
      members: int64 [1 + groups], of the group of each rank.
    """
    best = np.zeros(claims.shape[1:], dtype=np.int64)
    for claim in claims:
        votes = np.count_nonzero(claims == claim, axis=0)
        has = (claim > 0) & (2 * votes > members[claim])
        best = np.maximum(best, np.where(has, votes * len(members) + claim, 0))
    return best % len(members)


def _in_order_of_pixels(label_map: NDArray[np.int64]) -> NDArray[np.int32]:
    """The nuclei numbered 1, 2, … in the order of their first pixels."""
    ids, first = np.unique(label_map, return_index=True)
    ids = ids[np.argsort(first)]
    ids = ids[ids > 0]
    new_id = np.zeros(label_map.max(initial=0) + 1, dtype=np.int32)
    new_id[ids] = np.arange(1, len(ids) + 1)
    return new_id[label_map]
