"""State dicts ↔ Flax networks, by the tables of `parameter_names.py`; no PyTorch is needed for it."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx

from nucseg_jax.errors import UserError, listed
from nucseg_jax.torch_bridge.parameter_names import PUBLISHED, Kind, Table, table_of

COUNTER = ".num_batches_tracked"
"""PyTorch's count of training batches, which Flax has no use for: ignored here, 0 there."""

DATA_PARALLEL = "module."


_PLAIN_TYPE = re.compile(r"torch\.(bool|u?int(8|16|32|64)|bfloat16|float(8_\w+|16|32|64)|complex(64|128))")

_MOST_VALUES = 2**31
"""Of a tensor: far more than those of any network here. A few bytes of a file can say more."""


class ConversionError(UserError):
    """A state dict does not fit the network; the message lists every key concerned."""


class Layout(NamedTuple):
    """A tensor's name in Flax, and its values from PyTorch's layout and back to it."""

    name: str
    to_flax: Callable[[np.ndarray], np.ndarray] = lambda x: x
    to_torch: Callable[[np.ndarray], np.ndarray] = lambda x: x


# Kernels are [out, in, kh, kw] in PyTorch; transposed ones [in, out, kh, kw], and flipped, since PyTorch
# takes them for the gradient of a convolution.
LAYOUTS = {
    Kind.CONV: {
        "weight": Layout("kernel", lambda x: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1)),
        "bias": Layout("bias"),
    },
    Kind.TRANSPOSED: {
        "weight": Layout(
            "kernel",
            lambda x: x.transpose(2, 3, 0, 1)[::-1, ::-1],
            lambda x: x[::-1, ::-1].transpose(2, 3, 0, 1),
        ),
        "bias": Layout("bias"),
    },
    Kind.NORM: {
        "weight": Layout("scale"),
        "bias": Layout("bias"),
        "running_mean": Layout("mean"),
        "running_var": Layout("var"),
    },
}


def load_state_dict(model: nnx.Module, state_dict: Mapping[str, Any]) -> list[str]:
    """Put a published PyTorch state dict into a Flax network, in place.

    Args:
      model: a network of `create_model`.
      state_dict: tensors or arrays under the published keys, with or without `num_batches_tracked`, and
        with or without `module.` before each (as `DataParallel` saves). They become float32.

    Returns:
      The keys that were ignored.

    Raises:
      ConversionError: keys are unknown or missing; values have another shape, are not finite, or lie in no
        plain array (`shown_odd`). The model is as it was then.
    """
    return load_by_table(model, table_of(model), state_dict)


def load_by_table(
    model: nnx.Module, table: Table, state_dict: Mapping[str, Any], ignored: Sequence[str] = ()
) -> list[str]:
    """`load_state_dict` by a given table, without the keys that begin with one of `ignored`."""
    weights = _weights(model)
    targets = _targets(table, weights)
    state_dict = without_prefix(state_dict)
    if odd := shown_odd(state_dict):
        raise ConversionError(odd)
    arrays = {key: as_array(value) for key, value in state_dict.items()}
    left_out = [key for key in arrays if key.endswith(COUNTER) or key.startswith(tuple(ignored))]
    sources = {key: array for key, array in arrays.items() if key not in set(left_out)}
    shapes = {key: layout.to_torch(weights[path]).shape for key, (path, layout) in targets.items()}
    both = [key for key in targets if key in sources]
    problems = {
        "not in the network": [key for key in sources if key not in targets],
        "missing in the file": [key for key in targets if key not in sources],
        "of another shape": [
            f"{key}: {_size(sources[key].shape)} in the file, {_size(shapes[key])} in the network"
            for key in both
            if sources[key].shape != shapes[key]
        ],
        "not of a floating-point type": [
            f"{key}: {sources[key].dtype}" for key in both if sources[key].dtype != np.float32
        ],
        "infinite or NaN": [
            key for key in both if sources[key].dtype == np.float32 and not np.isfinite(sources[key]).all()
        ],
        "in the network, but not in its table": sorted(
            weights.keys() - {path for path, _ in targets.values()}
        ),
    }
    if any(problems.values()):
        lines = [
            f"the weights do not fit {type(model).__name__}:",
            *_listing(problems),
            *_advice(table, sources, problems),
        ]
        raise ConversionError(*lines)
    _set_weights(model, {path: layout.to_flax(sources[key]) for key, (path, layout) in targets.items()})
    return left_out


def state_arrays(model: nnx.Module) -> dict[str, np.ndarray]:
    """A Flax network's weights under PyTorch's keys and in its layout, batch counters 0."""
    weights, table = _weights(model), table_of(model)
    arrays = {
        key: np.ascontiguousarray(layout.to_torch(weights[path]))
        for key, (path, layout) in _targets(table, weights).items()
    }
    counters = {pair.torch + COUNTER: np.zeros((), np.int64) for pair in table if pair.kind is Kind.NORM}
    return arrays | counters


def as_array(value: Any) -> np.ndarray:
    """A PyTorch tensor or an array of any floating-point type → float32; others as they are."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().resolve_conj().resolve_neg()
        value = (value.float() if value.is_floating_point() else value).numpy()
    array = np.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return array
    with np.errstate(over="ignore"):  # to infinity, which is refused by name
        return array.astype(np.float32)


def shown_odd(state_dict: Mapping[str, Any]) -> str:
    """One line that names the tensors whose values lie in no plain array; empty where there are none."""
    odd = [f"{key} ({kind})" for key, value in state_dict.items() if (kind := _odd_kind(value))]
    if not odd:
        return ""
    return (
        f"{listed(odd)}: not tensors of plain numbers. Make them so in PyTorch (to_dense(), dequantize(), "
        "to(torch.float32), or load them from where their values are), and save them again"
    )


def _odd_kind(value: Any) -> str:
    """What kind of PyTorch's tensors a value is; empty for plain ones, and for arrays."""
    if not hasattr(value, "detach"):
        return ""
    layout, kind = str(value.layout), str(value.dtype)
    if value.is_nested:
        return "nested"
    if layout != "torch.strided":
        return layout.removeprefix("torch.")
    if value.is_meta:
        return "without values, on the device meta"
    if value.is_quantized or not _PLAIN_TYPE.fullmatch(kind):
        return kind.removeprefix("torch.")
    if value.numel() > _MOST_VALUES:
        return f"{value.numel():,} values"
    return ""


def without_prefix(state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state dict of a network that was wrapped in `DataParallel`; any other as it is."""
    if not all(key.startswith(DATA_PARALLEL) for key in state_dict):
        return state_dict
    return {key.removeprefix(DATA_PARALLEL): value for key, value in state_dict.items()}


def _weights(model: nnx.Module) -> dict[str, np.ndarray]:
    """Every parameter and batch statistic by its dotted path."""
    state = nnx.to_flat_state(nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat)))
    return {".".join(map(str, path)): np.asarray(leaf[...]) for path, leaf in state}


def _set_weights(model: nnx.Module, arrays: Mapping[str, np.ndarray]) -> None:
    state = nnx.to_flat_state(nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat)))
    new = [(path, leaf.replace(jnp.array(arrays[".".join(map(str, path))]))) for path, leaf in state]
    nnx.update(model, nnx.from_flat_state(new))


def _targets(table: Table, weights: Mapping[str, np.ndarray]) -> dict[str, tuple[str, Layout]]:
    """PyTorch key → path in Flax and layout, for each tensor that the network has (not all have biases)."""
    return {
        f"{pair.torch}.{name}": (path, layout)
        for pair in table
        for name, layout in LAYOUTS[pair.kind].items()
        if (path := f"{pair.flax}.{layout.name}") in weights
    }


def _listing(problems: Mapping[str, Iterable[str]]) -> list[str]:
    return [
        line
        for title, keys in problems.items()
        if (listed := [f"    {key}" for key in keys])
        for line in (f"  {title}:", *listed)
    ]


def _advice(
    table: Table, sources: Mapping[str, np.ndarray], problems: Mapping[str, Sequence[str]]
) -> list[str]:
    """What the user probably has instead."""
    if not problems["not in the network"] and not problems["missing in the file"]:
        if problems["of another shape"]:
            return ["Give the class count and the width that the file was saved with (num_classes, width)."]
        return []
    for published in PUBLISHED:
        keys = {f"{p.torch}.{name}" for p in published.table for name in LAYOUTS[p.kind]}
        if sources and sources.keys() <= keys and published.table is not table:
            return [f"The keys are those of {published.name}."]
    return []


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"
