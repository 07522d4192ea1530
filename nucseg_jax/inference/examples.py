"""How the images of a prepared dataset reach a run's engine: as they came, where that is possible."""

from collections.abc import Sequence
from dataclasses import dataclass

from nucseg_jax.data.dataset import Dataset, Example
from nucseg_jax.inference.magnification import Magnification
from nucseg_jax.nuclei import Frame
from nucseg_jax.slides import Slide, slide_of_array


@dataclass(frozen=True)
class ExampleSource:
    """The pixels that the engine takes of a dataset's images, and where their nuclei lie.

    Attributes:
      mpp: µm a pixel of the original images.
      prepared_mpp: µm a pixel of the prepared ones.
      prepared: the engine takes the prepared images, and normalises no stain; else the original ones, as
        prediction does.
    """

    mpp: float
    prepared_mpp: float
    prepared: bool

    @classmethod
    def of(cls, dataset: Dataset, examples: Sequence[Example], *, has_target: bool) -> "ExampleSource":
        """The source for some of a dataset's images.

        Args:
          dataset: prepared.
          examples: of it; training images of a packed dataset have no originals.
          has_target: the run says how an image's stain is normalised, or needs no normalisation.
        """
        originals = all(example.has_original for example in examples)
        return cls(dataset.mpp, dataset.prepared_mpp, prepared=not (has_target and originals))

    def slide(self, example: Example) -> Slide:
        """What the engine looks at."""
        if self.prepared:
            return slide_of_array(example.image, self.prepared_mpp)
        return slide_of_array(example.scored_image(), self.mpp)

    def frame(self, example: Example, network_mpp: float) -> Frame:
        """Where the nuclei lie on the original image."""
        return Frame(example.original_size, self.mpp, network_mpp)

    @property
    def magnification(self) -> Magnification:
        """That of a network which was trained on the dataset."""
        return Magnification(self.prepared_mpp, "the dataset's")
