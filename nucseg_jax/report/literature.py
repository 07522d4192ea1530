"""What was published, as data: the paper's networks and results, and those that it compares itself with.

"The paper" is Hassan et al., Promising Deep Semantic Nuclei Segmentation Models for Multi-Institutional
Histopathology Images of Different Organs, IJIMAI 6(6), 2021.
"""

from typing import NamedTuple

PAPER = "Hassan et al., IJIMAI 6(6), 2021"


class PublishedNetwork(NamedTuple):
    """A network of the paper, in full width with two classes.

    Attributes:
      name: `create_model`'s.
      label: the paper's.
      backbone: of its Table II.
      source: where the network comes from.
      parameters: of the authors' module, and of this package's.
      gflops: this package's forward pass of one 512×512 image (`python -m benchmarks.networks`).
      f1, aji: the paper's results; None: it has none.
    """

    name: str
    label: str
    backbone: str
    source: str
    parameters: int
    gflops: float
    f1: float | None
    aji: float | None


NETWORKS = (
    PublishedNetwork("fcn8", "FCN8", "VGG-16", "Long et al., CVPR 2015", 18_643_746, 169.1, 0.8467, 0.6418),
    PublishedNetwork(
        "fc_densenet",
        "FC-DenseNet103",
        "–",
        "Jégou et al., CVPR Workshops 2017",
        9_319_778,
        210.0,
        0.8587,
        0.6646,
    ),
    PublishedNetwork(
        "unet", "U-Net", "–", "Ronneberger et al., MICCAI 2015", 34_527_106, 433.3, 0.8623, 0.6756
    ),
    PublishedNetwork(
        "segnet",
        "SegNet",
        "VGG-16 with batch norm",
        "Badrinarayanan et al., IEEE TPAMI 39(12), 2017",
        18_819_650,
        231.1,
        None,
        None,
    ),
    PublishedNetwork(
        "psp_segnet",
        "PSPSegNet",
        "ResNet-101",
        "the paper, with the pyramid pooling of Zhao et al., CVPR 2017",
        122_925_064,
        357.7,
        0.8815,
        0.7080,
    ),
    PublishedNetwork(
        "self_correction",
        "Self-Correction",
        "ResNet-101",
        "Li et al., IEEE TPAMI 44(6), 2022; network CE2P of Ruan et al., AAAI 2019",
        66_714_676,
        170.9,
        0.8792,
        0.7014,
    ),
)

ENSEMBLE = "OR[U-Net, AND(PSPSegNet, Self-Correction)]"
ENSEMBLE_AJI = 0.7103


class Cited(NamedTuple):
    """A method that the paper compares itself with, and the numbers it gives for it."""

    method: str
    f1: float | None
    aji: float
    source: str


CITED = (
    Cited("Fiji", None, 0.533, "as the paper reports it"),
    Cited("Mahmood et al.", 0.866, 0.721, "IEEE TMI 39(11), 2020, as the paper cites it"),
    Cited("Qu et al.", 0.778, 0.505, "as the paper cites it"),
    Cited("Wang et al.", None, 0.641, "as the paper cites it"),
)
