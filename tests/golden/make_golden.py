"""Write NAME.npz for each published network: a narrow one's weights, an image, PyTorch's logits.

    python -m tests.golden.make_golden

Needs the extra `torch`. Deterministic on one machine and version of PyTorch; tests/models/test_golden.py
reads the files and needs no PyTorch. Run it again only where a network is meant to change.
"""

from pathlib import Path

import numpy as np
import torch

from nucseg_jax.torch_bridge.calibration import calibrate
from nucseg_jax.torch_bridge.networks import create_torch_network
from nucseg_jax.torch_bridge.networks.resnet import Bottleneck

FOLDER = Path(__file__).parent
SIZE = (64, 96)
NETWORKS = {  # width and seed
    "fcn8": (1 / 16, 0),
    "fc_densenet": (1 / 8, 0),
    "unet": (1 / 32, 2),  # with seed 0 rounding alone moves some logits by 7e-6 of their range
    "segnet": (1 / 16, 0),
    "psp_segnet": (1 / 32, 0),
    "self_correction": (1 / 32, 0),
    "efficient_unet": (1 / 8, 3),
    "efficient_unet_half": (1 / 8, 3),
}


@torch.no_grad()
def golden(name: str, width: float, seed: int) -> dict[str, np.ndarray]:
    """What the file holds: `width`, `image` uint8[H,W,3], `state_dict/KEY`, `logits/BRANCH` [H,W,C]."""
    torch.manual_seed(seed)
    network = create_torch_network(name, width=width)
    for module in network.modules():
        if isinstance(module, Bottleneck):
            module.bn3.weight *= 0.1  # at full strength 33 random bottlenecks multiply rounding to 5e-4
    calibrate(network, size=SIZE)
    network.half().float()  # the weights become float16's, which halves the file
    image = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    batch = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    branches = (
        network.branches(batch)._asdict() if hasattr(network, "branches") else {"logits": network(batch)}
    )
    weights = {k: v.half().numpy() for k, v in network.state_dict().items() if v.is_floating_point()}
    return {
        "width": np.array(width),
        "image": image,
        **{f"state_dict/{key}": array for key, array in weights.items()},
        **{f"logits/{branch}": logits[0].permute(1, 2, 0).numpy() for branch, logits in branches.items()},
    }


def main() -> None:
    torch.set_num_threads(1)
    for name, (width, seed) in NETWORKS.items():
        path = FOLDER / f"{name}.npz"
        np.savez_compressed(path, **golden(name, width, seed))
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
