"""Converts the tensors of a published file to variables of a Linen module, and raises for tensors that do not fit."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

# Parameters of Linen's layers that have another name in PyTorch.
_TORCH_FIELDS = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
# The axes of PyTorch's kernels in the order of Flax, (..., in, out), by rank.
_TORCH_AXES = {2: (1, 0), 4: (2, 3, 1, 0)}


def take(tensors: Mapping[str, np.ndarray], name: str, shape: Sequence[int]) -> np.ndarray:
    """The tensor called `name` as float32; raises if it is missing or has another shape."""
    if name not in tensors:
        raise ValueError(
            f"the weights have no tensor {name!r}: this is a file of another network (it starts "
            f"with {', '.join(map(repr, list(tensors)[:3]))})"
        )
    tensor = np.asarray(tensors[name])
    if tensor.shape != tuple(shape):
        raise ValueError(
            f"the tensor {name!r} has shape {list(tensor.shape)}, but this network needs "
            f"{list(shape)}: this is a file of another network"
        )
    return tensor.astype(np.float32)


def fill(
    module: nn.Module,
    inputs: Sequence[tuple[int, ...]],
    tensor: Callable[[str, tuple[int, ...]], np.ndarray],
) -> dict[str, Any]:
    """The variables of a module, each `tensor(path, shape)`; nothing is initialised.

    Args:
      module: any Linen module with float32 inputs.
      inputs: the shapes of the inputs.
      tensor: (path within the collection, such as "block0/conv1/kernel", shape) -> array.

    Returns:
      {collection: tree of NumPy arrays}, the variables of `module.apply`.
    """
    shapes = jax.eval_shape(
        module.init, jax.random.key(0), *(jax.ShapeDtypeStruct(s, jnp.float32) for s in inputs)
    )
    return jax.tree.map_with_path(
        lambda path, leaf: tensor("/".join(part.key for part in path[1:]), leaf.shape), shapes
    )


def from_torch(
    module: nn.Module,
    inputs: Sequence[tuple[int, ...]],
    tensors: Mapping[str, np.ndarray],
    rename: Callable[[str], str],
) -> dict[str, Any]:
    """The variables of a module from a PyTorch state dict, with the axes of kernels transposed.

    OIHW becomes HWIO, [out, in] becomes [in, out]; batch statistics are running_mean and running_var.

    Args:
      module, inputs: as for `fill`.
      tensors: the state dict; tensors that the module does not have are ignored.
      rename: path of a layer, "block0/conv1", to the prefix of its "weight" and "bias" in the state
        dict, "layer1.0.conv1."; and path of any other parameter, "block0/gain", to its full name.
    """

    def tensor(path: str, shape: tuple[int, ...]) -> np.ndarray:
        layer, _, field = path.rpartition("/")
        if field not in _TORCH_FIELDS:
            return take(tensors, rename(path), shape)
        name = rename(layer) + _TORCH_FIELDS[field]
        if field != "kernel":
            return take(tensors, name, shape)
        axes = _TORCH_AXES[len(shape)]
        published = [0] * len(shape)
        for size, axis in zip(shape, axes, strict=True):
            published[axis] = size
        return np.ascontiguousarray(take(tensors, name, published).transpose(axes))

    return fill(module, inputs, tensor)


def full_precision(function: Callable) -> Callable:
    """`function` with full float32 precision in matrix products on every device.

    By default a TPU multiplies in bfloat16 and a GPU in TF32, so features would depend on the device.
    """

    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        with jax.default_matmul_precision("highest"):
            return function(*args, **kwargs)

    return wrapped


def standardise(
    images: jax.Array, mean: Sequence[float] | np.ndarray, deviation: Sequence[float] | np.ndarray
) -> jax.Array:
    """(images - mean) / deviation of each channel: float32 [B, H, W, C]."""
    shape = (1, 1, 1, len(mean))
    mean, deviation = (np.asarray(x, np.float32).reshape(shape) for x in (mean, deviation))
    return (images - mean) / deviation


def check_pictures(name: str, images: jax.Array, size: tuple[int, int] | None = None) -> None:
    """Raises unless `images` are float32 [B, H, W, 3], with (height, width) = `size` if it is given."""
    expected = ["B", *(size or ("H", "W")), 3]
    if (
        images.ndim != 4
        or images.shape[3] != 3
        or (size and images.shape[1:3] != tuple(size))
        or images.dtype != jnp.float32
    ):
        raise ValueError(
            f"{name} takes float32 pictures [{', '.join(map(str, expected))}], not "
            f"{images.dtype} {list(images.shape)}; resize and convert them first"
        )
