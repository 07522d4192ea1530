"""The two datasets as TFDS knows them."""

from . import manifest
from .builder import NucleiBuilder, make_config
from .normalize import METHODS

SIZE = 1024  # the paper's: four 512 x 512 tiles an image


class Monuseg(NucleiBuilder):
    """H&E images of seven organs with every nucleus outlined (Kumar et al., IEEE TMI 36(7), 2017).

    Configs are named SPLIT_STAIN: a manifest of `data_prep/splits` and a stain normalisation.
    """

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Download MoNuSeg from https://monuseg.grand-challenge.org/Data/ and give the folder that holds "
        "'Tissue Images' and 'Annotations'. Licence of the data: CC BY-NC-SA 4.0."
    )
    BUILDER_CONFIGS = [
        make_config(manifest.load(path), stain=stain, size=SIZE, default_size=SIZE)
        for path in manifest.committed().values()
        for stain in METHODS
    ]


class MonusegAsAsked(Monuseg, skip_registration=True):  # type: ignore[call-arg]  # TFDS has no types
    """Monuseg with any target and backend: TFDS takes no other config under the name of a listed one."""

    name = "monuseg"
    BUILDER_CONFIGS = []


class Folder(NucleiBuilder):
    """H&E images with every nucleus labelled, from a folder. Configs are made by the command."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = "Give the folder with images and annotations; see data_prep.sources."
