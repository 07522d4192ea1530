import itertools

import numpy as np
import pytest

from nucseg_jax.metrics.statistics import MAX_EXACT_IMAGES, bootstrap_interval, paired_difference

SCORES = np.random.default_rng(0).uniform(0.4, 0.8, 30)
OTHERS = SCORES - np.random.default_rng(1).normal(0.01, 0.03, 30)


# --- bootstrap_interval ----------------------------------------------------------------------


@pytest.mark.parametrize("values", [[0.613], [0.5] * 8])
def test_nothing_that_varies_has_an_interval_of_no_width(values):
    assert bootstrap_interval(values) == (values[0], values[0])


def test_two_values_are_drawn_as_their_three_means():
    # Means 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4.
    assert bootstrap_interval([0, 1], level=0.6) == (0, 1)
    assert bootstrap_interval([0, 1], level=0.4) == (0.5, 0.5)


def test_an_interval_is_that_of_the_normal_distribution_where_there_are_many_values():
    values = np.random.default_rng(5).normal(3, 2, 1000)
    error = values.std() / np.sqrt(len(values))
    for level, width in ((0.95, 1.960), (0.68, 0.994)):
        low, high = bootstrap_interval(values, level=level)
        assert (low, high) == pytest.approx(
            (values.mean() - width * error, values.mean() + width * error), abs=0.1 * error
        )


def test_an_interval_moves_and_scales_with_its_values():
    low, high = bootstrap_interval(SCORES)
    assert low < SCORES.mean() < high
    assert bootstrap_interval(10 * SCORES + 3) == pytest.approx((10 * low + 3, 10 * high + 3))


@pytest.mark.parametrize("skewed", [False, True])
def test_coverage(skewed):
    """Of the true mean of 30 values, nearly as often as asked for."""
    rng = np.random.default_rng(2)
    hits = 0
    for seed in range(400):
        values = rng.exponential(1, 30) if skewed else rng.normal(1, 0.5, 30)
        low, high = bootstrap_interval(values, seed=seed, resamples=500, level=0.9)
        hits += low <= 1 <= high
    assert 0.83 <= hits / 400 <= 0.93


# --- paired_difference -----------------------------------------------------------------------


def test_a_difference_by_hand():
    result = paired_difference([0.5, 0.75, 0.25, 1.0], [0.25, 0.75, 0.5, 0.5])  # 1/4, 0, -1/4, 1/2
    assert (result.mean, result.wins, result.losses, result.ties) == (0.125, 2, 1, 1)
    # |sum| is 1/2; of the 8 sign patterns of the three that are not 0: ±1 (2), ±1/2 (4) and 0 (2).
    assert result.p_value == 6 / 8
    assert result.low <= result.mean <= result.high


def test_the_exact_p_value_is_that_of_a_loop_over_all_signs():
    rng = np.random.default_rng(3)
    for images in (1, 2, 5, 9):
        difference = rng.normal(0.3, 0.5, images).round(1)  # many sums tie
        sums = [
            abs(sum(s * d for s, d in zip(signs, difference, strict=True)))
            for signs in itertools.product((1, -1), repeat=images)
        ]
        expected = np.mean([total >= abs(sum(difference)) - 1e-9 for total in sums])
        assert paired_difference(difference, np.zeros(images)).p_value == expected


@pytest.mark.parametrize(("images", "p_value"), [(1, 1.0), (5, 2 / 2**5), (14, 2 / 2**14)])
def test_the_smallest_exact_p_value(images, p_value):
    result = paired_difference(np.linspace(1, 2, images), np.zeros(images))
    assert (result.p_value, result.wins) == (p_value, images)


def test_a_sampled_p_value_is_near_the_exact_one_and_never_zero():
    difference = np.random.default_rng(4).normal(0.25, 0.5, MAX_EXACT_IMAGES)
    exact = paired_difference(difference, np.zeros_like(difference)).p_value
    # Two images more, without a difference: the same distribution, but too many patterns.
    more = np.append(difference, [0, 0])
    sampled = paired_difference(more, np.zeros_like(more), resamples=20_000).p_value
    assert 0.02 < exact < 0.5 and sampled == pytest.approx(exact, abs=0.01)
    assert paired_difference(np.ones(60), np.zeros(60), resamples=99).p_value == 1 / 100


def test_a_p_value_is_small_as_often_as_it_says():
    rng = np.random.default_rng(6)
    for images, resamples in ((12, 1), (20, 400)):  # exact, sampled
        p_values = [
            paired_difference(*rng.normal(0, 1, (2, images)), seed=seed, resamples=resamples).p_value
            for seed in range(300)
        ]
        for level in (0.1, 0.5):
            assert np.mean(np.array(p_values) <= level) == pytest.approx(level, abs=0.08)


@pytest.mark.parametrize("images", [10, 30])
def test_equal_scores_do_not_differ(images):
    result = paired_difference(SCORES[:images], SCORES[:images])
    assert result == (0, 0, 0, 0, 0, images, 1)


@pytest.mark.parametrize("images", [10, 30])
def test_a_against_b_is_b_against_a_turned_round(images):
    forth = paired_difference(SCORES[:images], OTHERS[:images])
    back = paired_difference(OTHERS[:images], SCORES[:images])
    assert (back.mean, back.low, back.high) == pytest.approx((-forth.mean, -forth.high, -forth.low))
    assert (back.wins, back.losses, back.ties) == (forth.losses, forth.wins, forth.ties)
    assert back.p_value == forth.p_value


def test_the_interval_is_that_of_the_differences():
    result = paired_difference(SCORES, OTHERS, seed=9, resamples=500, level=0.8)
    expected = bootstrap_interval(SCORES - OTHERS, seed=9, resamples=500, level=0.8)
    assert (result.low, result.high) == expected


def test_which_image_comes_first_does_not_matter_to_an_exact_test():
    order = np.random.default_rng(7).permutation(12)
    one, other = (paired_difference(SCORES[i], OTHERS[i]) for i in (np.arange(12), order))
    assert one.p_value == other.p_value and one.mean == pytest.approx(other.mean)


# --- both ------------------------------------------------------------------------------------


def test_the_seed_alone_decides():
    assert bootstrap_interval(SCORES, seed=1) == bootstrap_interval(list(SCORES), seed=1)
    assert bootstrap_interval(SCORES, seed=1) != bootstrap_interval(SCORES, seed=2)
    assert paired_difference(SCORES, OTHERS, seed=1) == paired_difference(SCORES, OTHERS, seed=1)
    one, other = (paired_difference(SCORES, OTHERS, seed=seed) for seed in (1, 2))
    assert one.p_value != other.p_value and one.low != other.low


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([], {}, r"at least one, got shape \(0,\)"),
        ([[0.5, 0.6]], {}, r"got shape \(1, 2\)"),
        (0.5, {}, r"got shape \(\)"),
        ([0.5, np.nan], {}, "must be finite, got nan"),
        ([0.5, -np.inf], {}, "must be finite, got -inf"),
        ([0.5, 0.6], {"resamples": 0}, "resamples must be at least 1, got 0"),
        ([0.5, 0.6], {"level": 1.0}, r"level must be in \(0, 1\), got 1.0"),
        ([0.5, 0.6], {"level": 95}, r"level must be in \(0, 1\), got 95"),
    ],
)
def test_bad_arguments(values, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(values, **options)
    with pytest.raises(ValueError, match=message):
        paired_difference(values, values, **options)


def test_scores_of_other_images():
    with pytest.raises(ValueError, match="the same images, got 30 and 29 scores"):
        paired_difference(SCORES, OTHERS[1:])
    with pytest.raises(ValueError, match="b must be finite, got nan"):
        paired_difference([0.5], [np.nan])
