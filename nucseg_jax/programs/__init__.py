"""A trained network as one file that other software runs: StableHLO or ONNX. Command: ``nucseg export``."""

from nucseg_jax.programs.exporting import FORMATS, Exported, Wanted, export, shape_of
from nucseg_jax.programs.tissue import tissue

__all__ = ["FORMATS", "Exported", "Wanted", "export", "shape_of", "tissue"]
