"""What training minimises: the branches' losses put together, on annotations and on refined labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nucseg_jax.config import get_config
from nucseg_jax.models.network import Logits
from nucseg_jax.models.targets import class_map, class_probabilities, edge_map
from nucseg_jax.training import losses, objectives
from nucseg_jax.training.objectives import OBJECTIVES

SHAPE = (2, 12, 12)


def logits(classes: int) -> Logits:
    generator = np.random.default_rng(0)
    parts = [generator.standard_normal((*SHAPE, c)).astype(np.float32) for c in (classes, classes, 2)]
    return Logits(*map(jnp.asarray, parts))


@pytest.fixture
def batch() -> dict[str, jax.Array]:
    """Two nuclei that touch, one of them alone in the second image; refined labels of any kind."""
    label_map = np.zeros(SHAPE, np.int32)
    label_map[:, 2:9, 2:6] = 1
    label_map[0, 2:9, 6:10] = 2
    generator = np.random.default_rng(1)
    soft = {
        name: generator.dirichlet(np.ones(c), SHAPE).astype(np.float16)
        for name, c in (("soft_classes", 3), ("soft_edges", 2))
    }
    return jax.tree.map(jnp.asarray, {"label_map": label_map, **soft})


def hard(batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return {"label_map": batch["label_map"]}


def test_cross_entropy_turns_to_refined_labels(batch: dict[str, jax.Array]) -> None:
    loss = OBJECTIVES["cross_entropy"]
    labels = class_map(batch["label_map"], 3)
    found = loss(logits(3), hard(batch)), loss(logits(3), batch)
    classes = logits(3).classes
    expected = losses.cross_entropy(classes, labels), losses.kl_divergence(classes, batch["soft_classes"])
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=0)
    assert loss.refined == ("soft_classes",)


def test_ce2p_adds_up_three_branches(batch: dict[str, jax.Array]) -> None:
    """½ Lovász + ½ cross-entropy + a tenth of consistency for parsing and fusion, and the edges."""
    y, loss = logits(3), OBJECTIVES["ce2p"]
    labels, edges = class_map(batch["label_map"], 3), edge_map(batch["label_map"])
    assert y.parsing is not None and y.edge is not None
    kept = [
        0.5 * jax.jit(losses.lovasz_softmax)(x, labels)
        + 0.1 * jax.jit(losses.edge_consistency)(x, y.edge, labels)
        for x in (y.parsing, y.classes)
    ]
    replaced = {
        "hard": [0.5 * losses.cross_entropy(x, labels) for x in (y.parsing, y.classes)]
        + [losses.balanced_cross_entropy(y.edge, edges)],
        "soft": [0.5 * losses.kl_divergence(x, batch["soft_classes"]) for x in (y.parsing, y.classes)]
        + [losses.kl_divergence(y.edge, batch["soft_edges"])],
    }
    for given, parts in ((hard(batch), replaced["hard"]), (batch, replaced["soft"])):
        np.testing.assert_allclose(jax.jit(loss.loss)(y, given), sum(kept + parts), rtol=1e-5, atol=0)
    assert loss.refined == ("soft_classes", "soft_edges")


def test_every_branch_is_taught(batch: dict[str, jax.Array]) -> None:
    for given in (hard(batch), batch):
        gradients = jax.jit(jax.grad(OBJECTIVES["ce2p"].loss))(logits(3), given)
        assert all(np.abs(g).max() > 1e-5 and np.isfinite(g).all() for g in gradients)


def test_edges_lie_between_nuclei_that_touch(batch: dict[str, jax.Array]) -> None:
    """With two classes the class map does not show them: the edge branch learns more than the mask's."""
    edges, mask = edge_map(batch["label_map"])[0], class_map(batch["label_map"], 2)[0]
    assert edges[5, 5] == edges[5, 6] == 1 and mask[5, 5] == mask[5, 6] == 1
    assert edge_map(mask[None])[0, 5, 5] == 0


def test_cross_entropy_and_dice_of_labels_of_depths_and_of_refined_labels(
    batch: dict[str, jax.Array],
) -> None:
    """The truth is the class map, or the depths where there are some; refined labels go before both."""
    config = get_config()
    config.optim.loss, config.optim.boundary_weight = "cross_entropy_dice", 2.0
    objective, y = objectives.of(config), logits(3)
    depth = jnp.where(batch["label_map"] > 0, 100, 0).astype(jnp.uint8)
    for given, truth in (
        (hard(batch), jax.nn.one_hot(class_map(batch["label_map"], 3), 3)),
        (hard(batch) | {"depth": depth}, class_probabilities(batch["label_map"], 3, depth)),
        (batch | {"depth": depth}, batch["soft_classes"].astype(jnp.float32)),
    ):
        expected = losses.weighted_cross_entropy(y.classes, truth, (1, 1, 2)) + losses.dice(y.classes, truth)
        np.testing.assert_allclose(objective(y, given), expected, rtol=1e-6, atol=0)


# --- images that are annotated in part ---

MASK = np.zeros(SHAPE, bool)
MASK[:, :, 9:] = True  # cuts nucleus 2 of the first image, which goes up to column 9
REACHED = 7


def partly(batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return batch | {"unannotated": jnp.asarray(MASK), "label_map": jnp.where(MASK, 0, batch["label_map"])}


def whole(y: Logits) -> jax.Array:
    """All branches as one array."""
    return jnp.concatenate(list(y), axis=-1)


@pytest.mark.parametrize("refined", [False, True])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_unannotated_pixels_have_no_influence(name: str, refined: bool, batch: dict[str, jax.Array]) -> None:
    """Nor have labels outside, and the logits there have no gradient."""
    given = partly(batch if refined else hard(batch))
    compiled = jax.jit(jax.value_and_grad(OBJECTIVES[name].loss))
    y = logits(3)
    value, gradient = compiled(y, given)
    elsewhere = np.random.default_rng(7)
    other = dict(given)
    other["label_map"] = jnp.where(MASK, elsewhere.integers(0, 9, SHAPE), given["label_map"]).astype(
        jnp.int32
    )
    for key in set(given) & {"soft_classes", "soft_edges"}:
        other[key] = jnp.where(MASK[..., None], jnp.float16(0.5), given[key])
    moved = Logits(*(jnp.where(MASK[..., None], -x, x) for x in y))
    other_value, other_gradient = compiled(moved, other)
    assert value == other_value > 0
    np.testing.assert_array_equal(whole(gradient), whole(other_gradient))
    assert (np.asarray(whole(gradient))[MASK] == 0).all() and (np.asarray(whole(gradient)) != 0).any()


def test_boundaries_within_reach_of_the_border_are_ignored(batch: dict[str, jax.Array]) -> None:
    """With three classes; with two each annotated pixel counts. Nuclei's depths are the raster's matter."""
    given = partly(hard(batch))
    labels = given["label_map"]
    for classes, columns in ((3, REACHED), (2, 9)):
        x = logits(classes).classes
        found = OBJECTIVES["cross_entropy"](logits(classes), given)
        expected = losses.cross_entropy(x[:, :, :columns], class_map(labels, classes)[:, :, :columns])
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=0)
    depth = jnp.where(labels > 0, 100, 0).astype(jnp.uint8)
    truth = class_probabilities(labels, 3, depth)
    x = logits(3).classes[:, :, :9]
    found = OBJECTIVES["cross_entropy_dice"](logits(3), given | {"depth": depth})
    expected = losses.weighted_cross_entropy(x, truth[:, :, :9], (1, 1, 1)) + losses.dice(x, truth[:, :, :9])
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_patches_without_an_annotation_teach_nothing(name: str, batch: dict[str, jax.Array]) -> None:
    given = hard(batch) | {"unannotated": jnp.ones(SHAPE, bool)}
    value, gradient = jax.jit(jax.value_and_grad(OBJECTIVES[name].loss))(logits(3), given)
    assert value == 0 and (whole(gradient) == 0).all()
