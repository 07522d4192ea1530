"""The sections about the networks: their experiments in the appendix."""


def test_configs_are_in_the_appendix_as_aligned_text(html):
    assert "\nmodel.width:      0.25\n" in html
    assert "\ndata.validation:  [&quot;a&quot;]" in html
