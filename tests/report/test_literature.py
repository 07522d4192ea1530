"""The published numbers are those of the reference."""

from nucseg_jax.report import literature


def test_published_sizes_are_those_of_the_reference():
    sizes = {n.name: n.parameters for n in literature.NETWORKS}
    assert sizes["unet"] == 34_527_106 and sizes["psp_segnet"] == 122_925_064
    assert {n.label: n.aji for n in literature.NETWORKS}["Self-Correction"] == 0.7014
