"""The summary names the best of each kind, and what the paired difference shows."""

import re
from html import unescape

from nucseg_jax.report import numbers


def test_summary_names_the_best_and_the_paired_difference(compared, html):
    text = unescape(re.sub(r"<[^>]+>", "", re.search(r'<p class="lead">(.*?)</p>', html, re.S)[1]))
    unet, _, ensemble, classical, _ = compared.entries
    difference = numbers.mean(ensemble, "aji") - numbers.mean(unet, "aji")
    assert f"best single network, {unet.name}, reaches a mean AJI of {numbers.mean(unet, 'aji'):.3f}" in text
    assert f"{ensemble.name}, reaches a mean AJI of {numbers.mean(ensemble, 'aji'):.3f}" in text
    assert f"+{difference:.3f} AJI against {unet.name}" in text
    assert "better on 1 image, worse on 0; sign-flip test p 1.00), so that 3 images do not show" in text
    assert (
        f"classical baseline, classical, reaches a mean AJI of {numbers.mean(classical, 'aji'):.3f}" in text
    )
