"""How deep pixels lie in their nuclei."""

import numpy as np

from nucseg_jax.data.distances import relative_depth, unknown_depth


def test_depth_grows_from_the_edge_to_the_middle() -> None:
    label_map = np.zeros((9, 12), np.int32)
    label_map[2:7, 3:8] = 4
    depth = relative_depth(label_map)
    assert depth.dtype == np.uint8 and (depth[label_map == 0] == 0).all()
    np.testing.assert_array_equal(depth[4, 3:8], np.round(255 * np.array([1, 2, 3, 2, 1]) / 3))


def test_another_nucleus_is_outside() -> None:
    label_map = np.zeros((5, 12), np.int32)
    label_map[1:4, 1:6], label_map[1:4, 6:11] = 1, 2
    depth = relative_depth(label_map)
    np.testing.assert_array_equal(depth[2, 1:6], np.round(255 * np.array([1, 2, 2, 2, 1]) / 2))
    np.testing.assert_array_equal(depth[2, 1:6], depth[2, 6:11])


def test_where_the_image_ends_there_is_no_edge() -> None:
    """The middle of a nucleus that the border cuts is at the border."""
    label_map = np.zeros((6, 11), np.int32)
    label_map[:3, 2:9] = 1
    depth = relative_depth(label_map)
    np.testing.assert_array_equal(depth[:3, 5], [255, 170, 85])
    assert (relative_depth(np.ones((4, 4), np.int32)) == 255).all()


def test_of_a_nucleus_that_touches_what_nobody_annotated_no_depth_is_known() -> None:
    label_map = np.zeros((7, 14), np.int32)
    label_map[1:4, 1:5], label_map[1:4, 7:10], label_map[5, 8] = 5, 2, 9  # 9: at a corner
    unannotated = np.zeros(label_map.shape, bool)
    unannotated[:, 10:] = unannotated[6, 9] = True
    expected = unannotated | (label_map == 2) | (label_map == 9)
    np.testing.assert_array_equal(unknown_depth(label_map, unannotated), expected)
    nothing = np.zeros(label_map.shape, bool)
    np.testing.assert_array_equal(unknown_depth(label_map, nothing), nothing)


def test_a_nucleus_that_was_drawn_on_is_known() -> None:
    label_map = np.zeros((6, 12), np.int32)
    label_map[1:4, 1:9], label_map[4:6, 1:6] = 1, 2
    unannotated = np.zeros(label_map.shape, bool)
    unannotated[:, 6:] = True
    expected = unannotated | (label_map == 2)
    np.testing.assert_array_equal(unknown_depth(label_map, unannotated), expected)
