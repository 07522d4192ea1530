"""Ensembles, written as expressions of model names, such as `or(unet, and(psp, self_correction))`.

`parse` reads one, `combine` applies it to what the models say of one image, after each model's own threshold
was moved to 0.5 (`calibrated`). With p_i the i-th argument's probability of nucleus, m_i = p_i > 0.5 its mask
and K ≥ 2 the number of arguments:

  or, and     a pixel is nucleus where any m_i is, where every m_i is
  majority    where more than K / 2 of the m_i are: of 2 masks both, of 4 three
  mean        its probability is the mean of the p_i
  weighted    their mean, weighted by the models' validation scores; takes models alone, since nothing else
              has a score
  vote        nuclei, not pixels, are voted on (see `vote`), after each model has cut its nuclei by its own
              settings; its arguments may be any of the above, and it may only be the outermost operator

A model that is written twice counts twice. The order of the arguments changes nothing: they are combined in
the order of their names.
"""

from nucseg_jax.evaluation.ensemble.combining import calibrated, check_scores, combine, combined_map, vote
from nucseg_jax.evaluation.ensemble.parsing import (
    OPERATORS,
    PAPER,
    EnsembleError,
    Expression,
    Model,
    Operation,
    parse,
)

__all__ = [
    "OPERATORS",
    "PAPER",
    "EnsembleError",
    "Expression",
    "Model",
    "Operation",
    "calibrated",
    "check_scores",
    "combine",
    "combined_map",
    "parse",
    "vote",
]
