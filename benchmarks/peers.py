"""The same networks in PyTorch. Its modules are imported when a function here runs."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.measure import Side
from benchmarks.ours import LEARNING_RATE, LOSS_SCALE, MOMENTUM, WEIGHT_DECAY, Case
from nucseg_jax.cores import usable_cores

PEERS = ("eager", "channels_last", "compile")
"""As written; weights and images in NHWC memory order; that and `torch.compile`."""


def training(case: Case, peer: str, platform: str) -> Side:
    """SGD with momentum on the same loss: float32 master weights, autocast for bfloat16."""
    torch = prepare(case)
    step = training_step(case, peer, platform)
    arrays, device = case.arrays(), device_of(platform)
    images = torch.from_numpy(arrays["image"]).permute(0, 3, 1, 2).to(device)
    images = images.contiguous(memory_format=memory_order(peer))
    label_maps = torch.from_numpy(arrays["label_map"]).to(device)
    return side_of(lambda: step(images, label_maps), device)


def training_step(case: Case, peer: str, platform: str) -> Callable[[Any, Any], None]:
    """(uint8[B,3,S,S] images, int32[B,S,S] label maps), both on the device → one update."""
    torch = prepare(case)
    device = device_of(platform)
    network = _network(case).to(device, memory_format=memory_order(peer))
    optimizer = torch.optim.SGD(
        network.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
    )
    forward = torch.compile(network) if peer == "compile" else network

    def step(images: Any, label_maps: Any) -> None:
        images = images.to(memory_format=memory_order(peer))
        optimizer.zero_grad(set_to_none=True)
        with autocast(case, device):
            logits = forward(images.float() / 255.0)
        loss = torch.nn.functional.cross_entropy(logits.float(), (label_maps > 0).long())
        (LOSS_SCALE * loss).backward()
        optimizer.step()

    return step


def inference(case: Case, peer: str, platform: str) -> Side:
    """A network with weights of its own on the case's images."""
    prepare(case)
    side = inference_side(case, _network(case), case.arrays()["image"], peer, platform)
    return replace(side, result=None)


def inference_side(case: Case, network: Any, pixels: np.ndarray, peer: str, platform: str) -> Side:
    """Evaluation mode without gradients: uint8 images on the device → float32 logits on the device.

    Args:
      case: says the dtype.
      network: a PyTorch module, float[B,3,S,S] in [0, 1] → logits [B,C,S,S].
      pixels: uint8[B,S,S,3].
      peer: one of PEERS.
      platform: JAX's name of it.
    """
    torch = prepare(case)
    device = device_of(platform)
    network = network.to(device, memory_format=memory_order(peer)).eval()
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(device)
    images = images.contiguous(memory_format=memory_order(peer))
    forward = torch.compile(network) if peer == "compile" else network
    latest: list[Any] = []

    def run() -> None:
        with torch.no_grad(), autocast(case, device):
            latest[:] = [forward(images.float() / 255.0).float()]

    return replace(side_of(run, device), result=lambda: latest[0].permute(0, 2, 3, 1).cpu().numpy())


def prepare(case: Case) -> Any:
    """torch, with as many threads as there are cores, and its float32 products as `case.dtype` says.

    Raises:
      ImportError: PyTorch is not installed.
    """
    import torch

    torch.set_num_threads(usable_cores())
    torch.set_float32_matmul_precision("highest" if case.dtype == "float32" else "high")
    torch.backends.cudnn.allow_tf32 = case.dtype != "float32"
    torch.backends.cudnn.benchmark = True
    return torch


def warmed_up(make: Callable[[], Side]) -> tuple[Side, int | None]:
    """A side after its first step, and the GPU memory that it took at most: bytes; None on CPUs."""
    import torch

    if not torch.cuda.is_available():
        side = make()
        side.run()
        return side, None
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    side = make()
    side.run()
    side.wait()
    peak = torch.cuda.max_memory_allocated() - before
    side.release()
    return side, peak


def device_of(platform: str) -> str:
    """JAX's name of a platform → PyTorch's."""
    return "cpu" if platform == "cpu" else "cuda"


def memory_order(peer: str) -> Any:
    """The memory order of a peer's weights and images."""
    import torch

    return torch.contiguous_format if peer == "eager" else torch.channels_last


def _network(case: Case) -> Any:
    """In training mode."""
    from nucseg_jax.torch_bridge.networks import create_torch_network

    return create_torch_network(case.name, width=case.width)


def autocast(case: Case, device: str) -> Any:
    """What runs a forward pass in the case's dtype."""
    import torch

    if case.dtype != "bfloat16":
        return contextlib.nullcontext()
    return torch.autocast(device, dtype=torch.bfloat16)


def side_of(run: Callable[[], None], device: str) -> Side:
    """The side of a step that was written for PyTorch's `device`."""
    import torch

    return Side(run) if device == "cpu" else Side(run, torch.cuda.synchronize, torch.cuda.empty_cache)
