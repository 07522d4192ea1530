"""When the ordinary phase and the cycles of self-correction begin and end, in steps."""

from collections.abc import Iterator
from dataclasses import dataclass

from ml_collections import ConfigDict

from nucseg_jax.errors import UserError


@dataclass(frozen=True)
class Cycles:
    """When what happens, in steps.

    Attributes:
      num_steps: of the whole training.
      count: of cycles; 0: ordinary training.
      length: of a cycle.
      warmup: of the learning rate, within the ordinary phase.
    """

    num_steps: int
    count: int = 0
    length: int = 1
    warmup: int = 0

    @classmethod
    def of(cls, config: ConfigDict, steps_per_epoch: float) -> "Cycles":
        """As the config has them; `num_steps` squeezes or stretches the cycles with the rest.

        Raises:
          UserError: the cycles and the warm-up leave no step for the cosine before the cycles.
        """
        num_steps = config.num_steps or max(1, round(config.num_epochs * steps_per_epoch))
        chosen = config.self_correction
        if not chosen.cycles:
            return cls(num_steps)
        steps = epoch_length(config, steps_per_epoch)
        length = max(1, round(chosen.cycle_epochs * steps))
        cycles = cls(num_steps, chosen.cycles, length, round(chosen.warmup_epochs * steps))
        if cycles.start <= cycles.warmup:
            raise UserError(
                f"{cycles.count} cycles of {length} steps (self_correction.cycles, cycle_epochs) and "
                f"{cycles.warmup} of warm-up (warmup_epochs) leave nothing of {num_steps} steps "
                "(num_epochs, num_steps) for the ordinary phase: set fewer or shorter ones, or more steps"
            )
        return cycles

    @property
    def start(self) -> int:
        """First step of the first cycle."""
        return self.num_steps - self.count * self.length

    def phases(self, first: int = 0) -> Iterator[range]:
        """The ordinary phase and each cycle, from step `first` on."""
        begin = 0
        for end in (self.start + i * self.length for i in range(self.count + 1)):
            if first < end:
                yield range(max(first, begin), end)
            begin = end

    def finished(self, step: int) -> int | None:
        """How many cycles end by `step`; None before the first one begins."""
        return None if step < self.start or not self.count else (step - self.start) // self.length


def epoch_length(config: ConfigDict, steps_per_epoch: float) -> float:
    """Steps of an epoch as the config's epochs count: `num_steps` squeezes or stretches them all."""
    return config.num_steps / config.num_epochs if config.num_steps else steps_per_epoch
