"""How much of a slide's nuclei is held in memory."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How much may wait in memory before it is written.

    Attributes:
        nuclei: the most of a batch.
        canvas_px: the most pixels of a batch's canvas, which takes about 20 bytes of memory for each. A batch
            of one nucleus may have more.
        rows: of a row group of Parquet.
        label_bytes: the most bytes of parts of masks that wait for their tiles of a label map.
    """

    nuclei: int = 1024
    canvas_px: int = 1 << 22
    rows: int = 100_000
    label_bytes: int = 64 << 20


USUAL_LIMITS = Limits()
