"""A network as an ONNX model, and ONNX Runtime, which runs it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.errors import MissingExtraError

try:
    import onnx
    import onnxruntime
except ImportError as error:
    raise MissingExtraError("onnx", error) from error

from nucseg_jax.models.network import Weights
from nucseg_jax.torch_bridge.onnx_model import IMAGES, LOGITS, FromPixels, onnx_model
from nucseg_jax.torch_bridge.twin import torch_twin


def model(
    info: Mapping[str, Any], weights: Weights, shape: tuple[int, int, int, int], facts: Mapping[str, str]
) -> bytes:
    """The model of a network with its weights: "images" uint8[B,H,W,3] → "logits" float32[B,H,W,C].

    Args:
      info: of the trained network.
      weights: of it.
      shape: of the images.
      facts: kept in the model's metadata.
    """
    chosen = info["config"]["model"]
    twin = torch_twin(chosen["name"], weights, num_classes=chosen["num_classes"], width=chosen["width"])
    proto = onnx_model(FromPixels(twin, chosen["channel_order"], chosen.get("input_scale", 1.0)), shape)
    onnx.helper.set_model_props(proto, dict(facts))
    onnx.checker.check_model(proto)
    return proto.SerializeToString()


def session(content: bytes, threads: int = 0) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU with all optimisations.

    Args:
      content: of the model's file.
      threads: 0: as many as ONNX Runtime takes.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def runner(content: bytes) -> Callable[[NDArray[np.uint8]], NDArray[Any]]:
    """What runs a model here: images → logits."""
    run = session(content).run
    return lambda images: run([LOGITS], {IMAGES: images})[0]
