"""Takes the tensors of a published file one by one and gives them the axes of Flax; every one of them must be taken.

torch                           here
convolution [O, I, h, w]        kernel [h, w, I, O]
transposed [I, O, h, w]         kernel [h, w, I, O], mirrored
dense [out, in]                 kernel [in, out]
embedding [number, features]    the same
features of a vector that becomes a picture, C h w    h w C
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from jaxgan.imports import yaml_config
from jaxgan.imports.norms import unit_vector
from jaxgan.weights import torch_modules
from jaxgan.weights.read import bytes_of_file, read

# What programs call the network in a checkpoint that also holds other things, such as an optimiser.
NETWORKS = ("model_state_dict.", "state_dict.")
# How far sigma may be from the published one before a note says so.
SAME_SIGMA = 1e-5


@dataclasses.dataclass(frozen=True, eq=False)
class Leaf:
    """An array for a variable, and the tensor of the file that it comes from, for messages."""

    value: np.ndarray
    tensor: str


class Tensors:
    """The tensors of one file. The methods that take tensors return {path: `Leaf`}, parts of a player's variables.

    Args:
      tensors: {name: array}.
      where: the file, for messages.
      settings: attributes of modules that a pickle of whole modules holds too, or the values of a config, by name.
    """

    def __init__(
        self,
        tensors: Mapping[str, np.ndarray],
        where: str,
        settings: Mapping[str, Any] = MappingProxyType({}),
    ):
        self.where, self.settings = where, settings
        self._tensors = dict(tensors)
        self._left = set(tensors)
        self.sigmas: dict[str, float] = {}  # {tensor: relative deviation of sigma}

    @classmethod
    def open(cls, path: str | Path) -> tuple[Tensors, str]:
        """(the tensors of a file, its SHA-256); of a checkpoint, those of the network, by their names in it.

        A config, which ends in .yaml, has settings and no tensors. Whatever else a checkpoint holds is left out.
        """
        data = bytes_of_file(path)
        sha256 = hashlib.sha256(data).hexdigest()
        settings: dict[str, Any] = {}
        if Path(path).suffix in yaml_config.SUFFIXES:
            return cls({}, str(path), yaml_config.settings(data, str(path))), sha256
        if torch_modules.is_pickle(data):
            tensors, settings = torch_modules.read(data, str(path))
        else:
            tensors = read(data, str(path), skip_objects=True)
        for prefix in NETWORKS:
            inside = {n.removeprefix(prefix): x for n, x in tensors.items() if n.startswith(prefix)}
            if inside:
                tensors = inside
        return cls(tensors, str(path), settings), sha256

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    @property
    def names(self) -> list[str]:
        return list(self._tensors)

    def shape(self, name: str, rank: int | None = None) -> tuple[int, ...]:
        """The shape of a tensor, which has `rank` axes; does not take it."""
        return self.peek(name, rank).shape

    def take(self, name: str, rank: int | None = None) -> np.ndarray:
        """A tensor as float32."""
        found = self.peek(name, rank)
        self._left.discard(name)
        return np.asarray(found, np.float32)

    def peek(self, name: str, rank: int | None = None) -> np.ndarray:
        """A tensor as it is in the file; does not take it."""
        if name not in self._tensors:
            raise ValueError(
                f"there is no tensor '{name}' in {self.where}, which starts with"
                f" {', '.join(map(repr, self.names[:3]))}; give a file with all tensors of one network."
            )
        found = self._tensors[name]
        if rank is not None and found.ndim != rank:
            raise ValueError(
                f"the tensor '{name}' in {self.where} has shape {list(found.shape)}, but one with {rank} axes belongs"
                " there; give a file that its program wrote."
            )
        return found

    def drop(self, *names: str) -> None:
        """Takes tensors that the network does not need, if they are there."""
        self._left -= set(names)

    def finish(self) -> None:
        """Raises unless every tensor was taken."""
        if self._left:
            first, more = min(self._left), len(self._left) - 1
            others = f" and {more:,} other tensors" if more else ""
            have = "have" if more else "has"
            raise ValueError(
                f"the tensor '{first}'{others} in {self.where} {have} no place in the network: this is a variant that"
                " cannot be imported; give weights of the published one."
            )

    def count(self, pattern: str) -> int:
        """The number of different values of the pattern's group among the names."""
        return len({m[1] for name in self._tensors if (m := re.match(pattern, name))})

    # Layers -------------------------------------------------------------------------------------------------

    def conv(self, path: str, name: str) -> dict[str, Leaf]:
        """A convolution `name`.weight [O, I, h, w], with `name`.bias if there is one."""
        return {
            f"params/{path}/kernel": Leaf(oihw(self.take(f"{name}.weight", 4)), f"{name}.weight"),
            **self.bias(path, name),
        }

    def transposed(self, path: str, name: str) -> dict[str, Leaf]:
        """A transposed convolution `name`.weight [I, O, h, w], whose kernel PyTorch mirrors, with its bias."""
        weight = f"{name}.weight"
        kernel = self.take(weight, 4).transpose(2, 3, 0, 1)[::-1, ::-1]
        return {
            f"params/{path}/kernel": Leaf(np.ascontiguousarray(kernel), weight),
            **self.bias(path, name),
        }

    def dense(self, path: str, name: str, side: int = 0) -> dict[str, Leaf]:
        """A dense layer; its outputs are a picture of `side` x `side` pixels, C h w, unless that is 0."""
        kernel = self.take(f"{name}.weight", 2).T
        return {
            f"params/{path}/kernel": Leaf(pixels_first(kernel, side), f"{name}.weight"),
            **self.bias(path, name, side),
        }

    def bias(self, path: str, name: str, side: int = 0) -> dict[str, Leaf]:
        """`name`.bias, if there is one."""
        if f"{name}.bias" not in self:
            return {}
        bias = self.take(f"{name}.bias", 1)
        return {f"params/{path}/bias": Leaf(pixels_first(bias, side), f"{name}.bias")}

    def param(self, path: str, name: str) -> dict[str, Leaf]:
        """A parameter that is the same here."""
        return {f"params/{path}": Leaf(self.take(name), name)}

    def scalar(self, path: str, name: str) -> dict[str, Leaf]:
        """A parameter of one number, with or without an axis."""
        return {f"params/{path}": Leaf(self.take(name).reshape(()), name)}

    def statistics(self, path: str, mean: str, var: str) -> dict[str, Leaf]:
        """Running statistics of batch normalisation."""
        at = f"batch_stats/{path}/statistics"
        return {
            f"{at}/mean": Leaf(self.take(mean, 1), mean),
            f"{at}/var": Leaf(self.take(var, 1), var),
        }

    def batch_norm(self, path: str, name: str) -> dict[str, Leaf]:
        """`torch.nn.BatchNorm2d`, with gain and bias if it has them."""
        self.drop(f"{name}.num_batches_tracked")
        gains = {}
        if f"{name}.weight" in self:
            gains = {
                **self.param(f"{path}/statistics/scale", f"{name}.weight"),
                **self.param(f"{path}/statistics/bias", f"{name}.bias"),
            }
        return {
            **gains,
            **self.statistics(path, f"{name}.running_mean", f"{name}.running_var"),
        }

    # Spectral normalisation ---------------------------------------------------------------------------------

    def spectral(
        self, path: str, name: str, weight: str, u: np.ndarray, sigma: float, side: int = 0
    ) -> dict[str, Leaf]:
        """A layer, without its bias, whose weight is divided by `sigma` and has the vector `u` of its outputs.

        Here sigma is ||W^T u||. `u` is changed so that this is the published sigma, see `unit_vector`.

        Args:
          path: of the layer.
          name: the prefix of its tensors.
          weight: the name of its weight; a convolution, a dense layer or, if `path` ends in "projection", an embedding.
          u: unit vector [O].
          sigma: the number that the published program divides by.
          side: see `dense`.
        """
        tensor = self.take(weight)
        if not sigma > 0:
            raise ValueError(
                f"the spectral norm of '{weight}' in {self.where} is {sigma:.3g} by its own vectors, so it was never"
                " trained; give the weights of a trained network."
            )
        flat = tensor.reshape(len(tensor), -1)
        u, off = unit_vector(flat, u, sigma)
        self.sigmas[weight] = off
        if path.endswith("projection"):
            kernel, field = tensor, "embedding"
        else:
            kernel = oihw(tensor) if tensor.ndim == 4 else pixels_first(tensor.T, side)
            field = "kernel"
            u = pixels_first(u, side)
        return {
            f"params/{path}/{field}": Leaf(kernel, weight),
            f"spectral/{path}/u": Leaf(u, weight),
        }

    def torch_spectral(self, path: str, name: str, side: int = 0) -> dict[str, Leaf]:
        """A layer under `torch.nn.utils.spectral_norm`, which divides by u^T W v with the vectors of the file."""
        weight = self.peek(f"{name}.weight_orig")
        u, v = self.take(f"{name}.weight_u", 1), self.take(f"{name}.weight_v", 1)
        flat = np.asarray(weight, np.float64).reshape(len(weight), -1)
        sigma = float(u.astype(np.float64) @ flat @ v.astype(np.float64))
        return {
            **self.spectral(path, name, f"{name}.weight_orig", u, sigma, side),
            **self.bias(path, name, side),
        }

    def notes(self) -> list[str]:
        """A sentence if some sigma cannot be that of the file."""
        worst = max(self.sigmas, key=self.sigmas.__getitem__, default="")
        if not worst or self.sigmas[worst] <= SAME_SIGMA:
            return []
        return [
            f"the kernel '{worst}' in {self.where} is divided by another spectral norm than in its program: they differ"
            f" by {self.sigmas[worst]:.1g}, relatively, since the vectors in the file had not converged"
        ]


def networks(
    files: Sequence[Tensors],
    is_generator: Callable[[Collection[str]], bool],
    is_critic: Callable[[Collection[str]], bool],
    refusal: str,
) -> tuple[Tensors, Tensors | None]:
    """(generator, critic or None) of a program that writes each network into a file of its own.

    Args:
      files: one of the generator, and at most one of the critic.
      is_generator, is_critic: whether a file with tensors of these names is one.
      refusal: the text of the ValueError for any other number of files, or for a file of neither kind.
    """
    generators = [file for file in files if is_generator(file.names)]
    critics = [file for file in files if is_critic(file.names)]
    if len(generators) != 1 or len(critics) > 1 or len(files) != len(generators) + len(critics):
        raise ValueError(refusal)
    return generators[0], critics[0] if critics else None


def oihw(kernel: np.ndarray) -> np.ndarray:
    """[O, I, h, w] as [h, w, I, O].

    >>> oihw(np.zeros((4, 3, 1, 2))).shape
    (1, 2, 3, 4)
    """
    return np.ascontiguousarray(kernel.transpose(2, 3, 1, 0))


def pixels_first(array: np.ndarray, side: int) -> np.ndarray:
    """The last axis from the order C h w of pictures of `side` x `side` pixels to h w C; unchanged if `side` is 0.

    >>> pixels_first(np.arange(8), 2)
    array([0, 4, 1, 5, 2, 6, 3, 7])
    """
    if not side:
        return np.ascontiguousarray(array)
    picture = array.reshape(*array.shape[:-1], -1, side * side)
    return np.ascontiguousarray(np.swapaxes(picture, -1, -2)).reshape(array.shape)
