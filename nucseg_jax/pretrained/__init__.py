"""The models that come with the install: their weights, what is known of them, and a sample image."""

from nucseg_jax.pretrained.catalogue import DEFAULT, Card, card, load, names
from nucseg_jax.pretrained.sample import SAMPLE, sample
from nucseg_jax.pretrained.weights_file import SUFFIX, PretrainedModel, write

__all__ = [
    "DEFAULT",
    "SAMPLE",
    "SUFFIX",
    "Card",
    "PretrainedModel",
    "card",
    "load",
    "names",
    "sample",
    "write",
]
