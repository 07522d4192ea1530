"""Ground truths, which are listed and looked at as results are."""
