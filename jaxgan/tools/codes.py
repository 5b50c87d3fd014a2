"""Tools for an autoencoder with a codebook and a transformer of its codes.

    reconstruct     a picture and its reconstruction
    codes           the codes of a picture, as arrays and as a picture
    complete        a picture with its lower rows sampled, given the upper rows
    sample_large    samples of any size

Source: Esser et al., Taming Transformers for High-Resolution Image Synthesis (2021), Section 4.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import draws
from jaxgan.game import Play
from jaxgan.nets.transformer import (
    SAMPLING,
    Transformer,
    sample,
    sample_sliding,
)
from jaxgan.nets.vqgan import Encoder, Networks, decode, encode, psnr, reconstruct
from jaxgan.options import Option, OptionError
from jaxgan.tools import Made, Tool, compiled
from jaxgan.tools.latents import label_option


def code_tools(
    encoder: Encoder, transformer: Transformer, shape: tuple[int, ...]
) -> dict[str, Tool]:
    """The tools of a game with the players "encoder", "codebook", "decoder" and "transformer".

    Args:
      encoder: the module of the player "encoder".
      transformer: the module of the player "transformer"; its prefixes are the classes, or one start token.
      shape: shape of the training pictures.
    """
    tools, image = CodeTools(encoder, transformer, shape), ("image",)
    drawing = {
        "num": Option(4, "number of pictures", least=1),
        "label": label_option(transformer.prefixes),
        **SAMPLING,
    }
    rows = Option(0.5, "share of the picture's rows that is kept", least=0, below=1)
    large = {
        name: Option(2 * side, f"{name} of the pictures in pixels", least=side)
        for name, side in zip(("height", "width"), shape, strict=False)
    }
    return {
        "reconstruct": Tool(tools.reconstruct, "A picture and its reconstruction.", pictures=image),
        "codes": Tool(tools.codes, "The grid of codes of a picture, as arrays.", pictures=image),
        "complete": Tool(
            tools.complete,
            "A picture with its lower part sampled, given the upper part.",
            {"rows": rows, **drawing},
            image,
        ),
        "sample_large": Tool(
            tools.sample_large, "Samples of any size, with a sliding window.", large | drawing
        ),
    }


@dataclasses.dataclass(frozen=True)
class CodeTools:
    """The functions of the tools; the attributes are the arguments of `code_tools`."""

    encoder: Encoder
    transformer: Transformer
    shape: tuple[int, ...]

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the codes of a picture."""
        rows, columns = (side // self.encoder.factor for side in self.shape[:2])
        return rows, columns

    def reconstruct(self, play: Play, image: np.ndarray) -> Made:
        x = self._batch(image)
        y = compiled(reconstruct, play.networks, x)
        numbers = {"psnr": float(psnr(x, y)), "l1": float(jnp.mean(jnp.abs(x - y)))}
        return Made(np.concatenate([x, y]), columns=2, numbers=numbers)

    def codes(self, play: Play, image: np.ndarray) -> Made:
        _, indices, vectors = map(np.asarray, compiled(encode, play.networks, self._batch(image)))
        factor = self.encoder.factor
        grey = indices[..., None] * np.float32(2 / max(self.transformer.codes - 1, 1)) - 1
        picture = grey.repeat(factor, 1).repeat(factor, 2).repeat(self.shape[2], 3)
        numbers = {"different_codes": float(np.unique(indices).size)}
        return Made(picture, numbers=numbers, arrays={"codes": indices[0], "vectors": vectors[0]})

    def complete(self, play: Play, image, *, rows, num, label, **sampling) -> Made:
        if image.shape != self.shape:
            raise ValueError(
                f"the picture 'image' has shape {image.shape}, but it must have the shape of the training"
                f" pictures, {self.shape}."
            )
        high, wide = self.grid
        x, key, prefix = self._batch(image), play.rng("codes"), self._prefix(play, num, label)
        known = int(rows * high) * wide
        made = compiled(_completed, play.networks, key, x, prefix, known=known, **sampling)
        return Made(np.concatenate([x, made]))

    def sample_large(self, play: Play, *, height, width, num, label, **sampling) -> Made:
        factor = self.encoder.factor
        for name, side in (("height", height), ("width", width)):
            if side % factor:
                problem = f"it must be a multiple of {factor}, the side of a code in pixels"
                raise OptionError(name, side, problem, {name: -(-side // factor) * factor})
        key, prefix = play.rng("codes"), self._prefix(play, num, label)
        grids = {"grid": (height // factor, width // factor), "window": self.grid}
        return Made(np.asarray(compiled(_large, play.networks, key, prefix, **grids, **sampling)))

    def _prefix(self, play: Play, num: int, label: int) -> jax.Array:
        """The first tokens of `num` sequences; random classes if the label is negative."""
        if label < 0:
            return draws.randint(play.rng("label"), (num,), 0, self.transformer.prefixes)
        return jnp.full(num, label, jnp.int32)

    def _batch(self, image: np.ndarray) -> jax.Array:
        """A picture [H, W, C] as a batch of one."""
        factor, channels = self.encoder.factor, self.shape[2]
        if image.shape[2] != channels or any(side % factor for side in image.shape[:2]):
            raise ValueError(
                f"the picture 'image' has shape {image.shape}; a code of this run encodes {factor}x{factor} pixels, so"
                f" give a picture with sides that are multiples of {factor} and {channels} channels."
            )
        return jnp.asarray(image)[None]


def _completed(networks: Networks, key, x: jax.Array, prefix: jax.Array, *, known: int, **sampling):
    """Pictures [B, H, W, C] with the first `known` codes of the picture x [1, H, W, C]; the other codes are sampled."""
    _, indices, _ = encode(networks, x)
    _, high, wide = indices.shape
    given = jnp.repeat(indices.reshape(1, -1)[:, :known], prefix.shape[0], axis=0)
    codes = sample(networks["transformer"], prefix, high * wide, key, given, **sampling)
    return decode(networks, codes.reshape(-1, high, wide))


def _large(networks: Networks, key, prefix: jax.Array, *, grid, window, **sampling) -> jax.Array:
    """Pictures of a grid of codes of any size."""
    codes = sample_sliding(networks["transformer"], prefix, grid, window, key, **sampling)
    return decode(networks, codes)
