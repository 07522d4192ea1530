"""Time, memory and FLOP utilisation of a forward pass of the models that ship, beside PyTorch and ONNX.

python -m benchmarks.shipped_inference [he] [he-fast] [--peers eager channels_last compile onnxruntime]

pip install -e ".[torch,onnx,benchmarks]" -c constraints.txt

A pass takes as many tiles as inference on a slide gives the network at once: uint8 images of tissue → float32
logits, in float32, with the weights of the model. PyTorch has the same weights in the twin of `torch_bridge`.
ONNX Runtime runs what `nucseg export` writes, on the same images, with all optimisations and a thread a core.
Each peer's logits must be ours: "difference" is the largest one, as a part of the largest logit. Times,
memory and utilisation are those of `benchmarks.inference`, but a sample of short passes takes half a second.
The last lines have the fastest peer.
"""

from collections.abc import Sequence

import numpy as np

from benchmarks import ours, peers, shipped
from benchmarks.measure import Side, array_dtype, use_precision
from benchmarks.ours import Case, Ours
from nucseg_jax import pretrained, programs, runs
from nucseg_jax.cores import usable_cores
from nucseg_jax.inference.layout import tilings_of
from nucseg_jax.inference.tiles import tiles_a_batch
from nucseg_jax.models.network import forward_flops
from nucseg_jax.runs.model import LoadedModel, model_of_tensors

ONNX_RUNTIME = "onnxruntime"
PEERS = (*peers.PEERS, ONNX_RUNTIME)


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
    if name == ONNX_RUNTIME:
        return onnx_side(model, tissue(case))
    network = shipped.torch_twin(runs.experiment_of(model.info)[0].model, model.weights)
    return peers.inference_side(case, network, tissue(case), name, platform)


def load(case: Case) -> LoadedModel:
    """The model of the case's name, in its dtype."""
    file = pretrained.load(case.name)
    file.info["config"]["model"]["dtype"] = array_dtype(case.dtype)
    return model_of_tensors(file.tensors, file.info, file.step, ours.one_device(), str(file.path))


def tissue(case: Case) -> np.ndarray:
    """uint8[B,S,S,3] of the sample image at the model's resolution, repeated where it ends."""
    return programs.tissue(pretrained.load(case.name).info, case.batch, case.size)


def onnx_side(model: LoadedModel, pixels: np.ndarray) -> Side:
    """A model in ONNX Runtime on the CPU: uint8 images → float32 logits.

    Args:
      model: as loaded.
      pixels: uint8[B,S,S,3].
    """
    from nucseg_jax.programs import onnx_file
    from nucseg_jax.torch_bridge.onnx_model import IMAGES, LOGITS

    batch, height, width, channels = pixels.shape
    content = onnx_file.model(model.info, model.weights, (batch, height, width, channels), {})
    binding = (session := onnx_file.session(content, threads=usable_cores())).io_binding()
    binding.bind_cpu_input(IMAGES, pixels)
    binding.bind_output(LOGITS)
    return Side(lambda: session.run_with_iobinding(binding), result=lambda: binding.copy_outputs_to_cpu()[0])


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
