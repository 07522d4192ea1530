"""A comparison as one HTML file that needs nothing else, and its figures beside it.

`nucseg report` calls `write_all`; `write` makes the page alone. `numbers` computes what is shown; `charts`,
`scatter` and `panels` draw it, as `svg` and `theme` say; `tables`, `network_sections` and `findings` put it
into words and tables, with `markup`; `literature` holds what was published; `sections` and `page` put it
together, and `figures` is the folder of pictures.
"""

from nucseg_jax.report.page import write
from nucseg_jax.report.results_folder import write_all

__all__ = ["write", "write_all"]
