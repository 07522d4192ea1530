"""Time, memory and FLOP utilisation of a forward pass of the models that ship, beside PyTorch and ONNX.

python -m benchmarks.shipped_inference [he] [he-fast] [--peers eager channels_last compile onnxruntime]

pip install -e ".[torch,benchmarks]" -c constraints.txt

A pass takes as many tiles as inference on a slide gives the network at once: uint8 images of tissue → float32
logits, in float32, with the weights of the model. PyTorch has the same weights in the twin of `torch_bridge`.
ONNX Runtime runs what `torch.onnx` exports of the twin, the division by 255 included, with all optimisations
and a thread a core. Each peer's logits must be ours: "difference" is the largest one, as a part of the
largest logit. Times, memory and utilisation are those of `benchmarks.inference`, but a sample of short passes
takes half a second. The last lines have the fastest peer.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import ours, peers, shipped
from benchmarks.measure import Side, array_dtype, use_precision
from benchmarks.ours import Case, Ours
from nucseg_jax import pretrained, runs
from nucseg_jax.cores import usable_cores
from nucseg_jax.inference.layout import tilings_of
from nucseg_jax.inference.tiles import tiles_a_batch
from nucseg_jax.models.network import forward_flops
from nucseg_jax.runs.model import LoadedModel, model_of_tensors

ONNX_RUNTIME = "onnxruntime"
PEERS = (*peers.PEERS, ONNX_RUNTIME)
_IMAGES, _LOGITS = "images", "logits"


def inference(case: Case) -> Ours:
    """`predict` with the model's weights."""
    use_precision(case.dtype)
    model = load(case)
    flops = forward_flops(model.network, *model.weights, (case.batch, case.size, case.size, 3))
    return ours.inference_side(model.network, model.weights, tissue(case), flops)


def peer(case: Case, name: str, platform: str) -> Side:
    """The same weights in PyTorch or ONNX Runtime.

    Raises:
      ValueError: ONNX Runtime is asked for beside a GPU.
    """
    if name == ONNX_RUNTIME and platform != "cpu":
        raise ValueError("the package onnxruntime is for CPUs")
    model = load(case)
    network = shipped.torch_twin(runs.experiment_of(model.info)[0].model, model.weights)
    if name == ONNX_RUNTIME:
        return onnx_side(network, tissue(case))
    return peers.inference_side(case, network, tissue(case), name, platform)


def load(case: Case) -> LoadedModel:
    """The model of the case's name, in its dtype."""
    file = pretrained.load(case.name)
    file.info["config"]["model"]["dtype"] = array_dtype(case.dtype)
    return model_of_tensors(file.tensors, file.info, file.step, ours.one_device(), str(file.path))


def tissue(case: Case) -> np.ndarray:
    """uint8[B,S,S,3] of the sample image at the model's resolution, repeated where it ends."""
    info = pretrained.load(case.name).info
    image = pretrained.sample(info["resolution"]["network_mpp"])
    places = [range(first, first + case.size) for first in range(case.batch)]
    return np.stack([image.take(place, 0, mode="wrap").take(place, 1, mode="wrap") for place in places])


def onnx_side(network: Any, pixels: np.ndarray) -> Side:
    """A PyTorch network in ONNX Runtime on the CPU: uint8 images → float32 logits.

    Args:
      network: a PyTorch module, float[B,3,S,S] in [0, 1] → logits [B,C,S,S].
      pixels: uint8[B,S,S,3].
    """
    import onnxruntime

    images = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(
        export(network, images), options, providers=["CPUExecutionProvider"]
    )
    binding = session.io_binding()
    binding.bind_cpu_input(_IMAGES, images)
    binding.bind_output(_LOGITS)
    return Side(
        lambda: session.run_with_iobinding(binding),
        result=lambda: binding.copy_outputs_to_cpu()[0].transpose(0, 2, 3, 1),
    )


def export(network: Any, images: np.ndarray) -> bytes:
    """An ONNX model that takes images of this shape, uint8[B,3,S,S], and divides them by 255."""
    import torch

    class FromBytes(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.network(images.float() / 255.0)

    program = torch.onnx.export(
        FromBytes().eval(),
        (torch.from_numpy(images),),
        dynamo=True,
        verbose=False,
        input_names=[_IMAGES],
        output_names=[_LOGITS],
    )
    assert program is not None  # it is with dynamo
    return program.model_proto.SerializeToString()


def tile_shape(name: str) -> shipped.Shape:
    """Tiles a batch, and their side, of inference on a slide."""
    config, _ = runs.experiment_of(pretrained.load(name).info)
    tiling = tilings_of(config)[-1]
    return tiles_a_batch(tiling, config.eval.batch_size * config.data.crop_size**2, 1), tiling.tile


def main(argv: Sequence[str] | None = None) -> None:
    shipped.run(
        "shipped_inference",
        __doc__,
        inference,
        peer,
        argv,
        shapes={name: tile_shape(name) for name in pretrained.names()},
        peers=PEERS,
        default_peers=PEERS,
    )


if __name__ == "__main__":
    main()
