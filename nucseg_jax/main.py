"""Train and score, or score only.

python -m nucseg_jax.main --config configs/psp.py [--workdir DIR] [--mode train|eval] [--config.KEY=VALUE …]
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from nucseg_jax import checkpoint, compilation_cache, evaluate, runs, sharding, train
from nucseg_jax.errors import UserError

_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment, such as configs/psp.py.")
_WORKDIR = flags.DEFINE_string("workdir", None, "The run's folder; default runs/<config name>.")
_MODE = flags.DEFINE_enum("mode", "train", ["train", "eval"], "Train and then score, or score only.")
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "One of several processes: under SLURM, on a TPU pod, or see launch/."
)


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}")
    try:
        run()
    except UserError as error:
        sys.exit(f"error: {error}")


def run() -> None:
    compilation_cache.enable()
    if _DISTRIBUTED.value:
        sharding.join_processes()
    config = _CONFIG.value
    name = Path(config_flags.get_config_filename(flags.FLAGS["config"])).stem
    workdir = Path(_WORKDIR.value or f"runs/{name}")
    given = config_flags.get_override_values(flags.FLAGS["config"])
    digest = None
    if _MODE.value == "train":
        runs.check_effect(workdir, config, given, "--config")  # evaluation would find it after the training
        digest = checkpoint.parameter_digest(train.train(config, workdir).params)
    scores = evaluate.evaluate(config, workdir, given)
    if not sharding.is_first_process():
        return
    for split, result in scores.items():
        label = name if split == "test" else f"{name} {split}"
        print(f"{label}: nucleus F1 {result['network']['dice']:.3f}")
    if digest:
        print(f"params sha256 {digest}")


def parse(argv: list[str]) -> list[str]:
    """Flags as absl parses them, but an unknown config key is one line that suggests the nearest one."""
    try:
        arguments = app.parse_flags_with_usage(argv)
        _CONFIG.value.is_locked  # noqa: B018 - a config that cannot be read fails at the first use
        if flags.FLAGS["verbosity"].using_default_value:
            flags.FLAGS.verbosity = logging.ERROR  # type: ignore[assignment]  # Orbax and TFDS narrate all
        return arguments
    except (AttributeError, KeyError) as error:
        match = re.search(r'Did you mean "(.+)" instead of "(.+)"', str(error))
        if match is None:
            key = str(error).strip("\"'")
            if not any(re.match(rf"--?config\.(.+\.)?{re.escape(key)}=", a) for a in argv):
                raise
            sys.exit(f"error: unknown config key {key!r}; configs/default.py has them all")
        sys.exit(f"error: unknown config key {match[2]!r}: did you mean {match[1]!r}?")
    except OSError as error:
        sys.exit(f"error: cannot read the config: {' '.join(str(error).split())}")


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main, flags_parser=parse)
