"""A comparison as one HTML file that needs nothing else, and its figures beside it.

`write` is the verb. `numbers` and `outcomes` compute what is shown; `charts`, `scatter` and `panels` draw it;
`tables`, `networks` and `summary` say it; `literature` holds what was published; `sections` and `page` put it
together.
"""

from nucseg_jax.report.page import write

__all__ = ["write"]
