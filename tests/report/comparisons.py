"""Comparisons of a few small images, as `evaluation.compare` makes them, for reports."""

import numpy as np

from nucseg_jax.data.dataset import Example
from nucseg_jax.evaluation import scoring
from nucseg_jax.evaluation.results import Comparison, Entry
from tests.metrics.square_nuclei import EMPTY, FLAWED, SIZE, TRUTH

AREA = 100  # px: a nucleus of 8×8 is small, one of 16×16 is not


def example(place, organ, truth=TRUTH):
    generator = np.random.default_rng(place)
    tissue = generator.integers(90, 250, (SIZE, SIZE, 3)).astype(np.uint8)
    return Example(f"TCGA-AA-000{place}-01Z-00-DX1", organ, tissue, truth, tissue, truth)


EXAMPLES = (example(0, "breast"), example(1, "liver <b>"), example(2, "colon", np.roll(TRUTH, 4, axis=1)))
CURVES = (
    *(
        {"step": 10 * i, "loss": 1 / i, "learning_rate": 0.1 / i, "images_per_second": 3.0}
        for i in range(1, 40)
    ),
    {"step": 100, "validation_aji": 0.3, "validation_dice": 0.5},
    {"step": 200, "validation_aji": 0.4, "validation_dice": 0.6},
)


def entry(name, kind, label_maps, examples=EXAMPLES, facts=None, curves=()):
    images = (scoring.score_image(e, m, AREA, 1.0) for e, m in zip(examples, label_maps, strict=True))
    return Entry(name, kind, tuple(images), facts or {}, curves)


def facts(model, width):
    return {
        "model": model,
        "parameters": 2_162_146,
        "gflops": 27.4187,
        "step": 200,
        "config": {
            "model": {"name": model, "width": width},
            "data": {"dataset": "monuseg", "validation": ["a"]},
        },
        "versions": {"nucseg_jax": "0.1.0"},
        "instances": {"method": "watershed", "h_um": 0.125},
    }


def comparison(entries, examples=EXAMPLES):
    return Comparison("monuseg/paper_vahadane", "test", examples, tuple(entries), "python -m x 'a & b'", AREA)


def whole_comparison():
    return comparison(
        [
            entry(
                "unet <i>small</i>",
                "network",
                [TRUTH, FLAWED, FLAWED],
                facts=facts("unet", 0.25),
                curves=CURVES,
            ),
            entry("psp", "network", [FLAWED, FLAWED, EMPTY], facts=facts("psp_segnet", 1.0)),
            entry("or(unet, and(psp, unet))", "ensemble", [TRUTH, TRUTH, FLAWED], facts={"expression": "or"}),
            entry("classical", "classical", [FLAWED, EMPTY, np.roll(FLAWED, 9, axis=0)]),
            entry('tool "1"', "external", [e.original_label_map for e in EXAMPLES]),
        ]
    )
