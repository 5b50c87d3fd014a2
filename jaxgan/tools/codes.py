"""What a person makes with an autoencoder of codes and a transformer that writes them, beside samples.

    reconstruct     a picture beside its reconstruction
    codes           its codes, as arrays and as a picture
    complete        its upper rows, and lower ones drawn anew
    sample_large    pictures of any size

Source: Esser et al., Taming Transformers for High-Resolution Image Synthesis (2021), Section 4.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.nets.transformer import (
    SAMPLING,
    Transformer,
    prefixes,
    sample,
    sample_sliding,
)
from jaxgan.nets.vqgan import Autoencoder, psnr
from jaxgan.options import Option, OptionError
from jaxgan.tools import Made, Tool
from jaxgan.tools.latents import label_option


def code_tools(
    autoencoder: Autoencoder, transformer: Transformer, shape: tuple[int, ...]
) -> dict[str, Tool]:
    """The tools of a game whose players "encoder", "codebook", "decoder" and "transformer" have learnt on pictures of
    `shape`; the transformer's prefixes are classes, or one start token."""
    grid = tuple(side // autoencoder.factor for side in shape[:2])

    def start(key, num, label):
        """The tokens that sequences start with."""
        labels = None if label < 0 else jnp.full(num, label, jnp.int32)
        return prefixes(transformer, key, num, labels)

    def look(image):
        """A picture [H, W, C] as a batch of one."""
        factor, channels = autoencoder.factor, shape[2]
        if image.shape[2] != channels or any(side % factor for side in image.shape[:2]):
            raise ValueError(
                f"the picture 'image' has shape {image.shape}; this run's codes stand for {factor}x{factor} pixels, so"
                f" give a picture with sides that are multiples of {factor} and {channels} channels."
            )
        return jnp.asarray(image)[None]

    def reconstruct(networks, key, image):
        del key
        x = look(image)
        y = jax.jit(autoencoder.reconstruct)(networks, x)
        numbers = {"psnr": float(psnr(x, y)), "l1": float(jnp.mean(jnp.abs(x - y)))}
        return Made(np.concatenate([x, y]), columns=2, numbers=numbers)

    def codes(networks, key, image):
        del key
        _, indices, vectors = jax.jit(autoencoder.encode)(networks, look(image))
        indices, vectors = np.asarray(indices), np.asarray(vectors)
        grey = indices[..., None] * np.float32(2 / max(transformer.codes - 1, 1)) - 1
        picture = grey.repeat(autoencoder.factor, 1).repeat(autoencoder.factor, 2)
        numbers = {"different_codes": float(np.unique(indices).size)}
        arrays = {"codes": indices[0], "vectors": vectors[0]}
        return Made(picture.repeat(shape[2], 3), numbers=numbers, arrays=arrays)

    def complete(networks, key, image, *, rows, num, label, **sampling):
        if image.shape != shape:
            raise ValueError(
                f"the picture 'image' has shape {image.shape}, but this run's pictures are {shape}: only those can be"
                " completed."
            )
        known = int(rows * grid[0])
        label_key, key = jax.random.split(key)
        prefix = start(label_key, num, label)

        def make(networks, key, x):
            _, indices, _ = autoencoder.encode(networks, x)
            given = jnp.repeat(indices.reshape(1, -1)[:, : known * grid[1]], num, axis=0)
            network, length = networks["transformer"], grid[0] * grid[1]
            codes = sample(transformer, network, prefix, length, key, given, **sampling)
            return autoencoder.decode(networks, codes.reshape(num, *grid))

        x = look(image)
        return Made(np.concatenate([x, jax.jit(make)(networks, key, x)]))

    def sample_large(networks, key, *, height, width, num, label, **sampling):
        factor = autoencoder.factor
        for name, side in (("height", height), ("width", width)):
            if side % factor:
                problem = f"it must be a multiple of {factor}, the pixels of a code"
                raise OptionError(name, side, problem, {name: -(-side // factor) * factor})
        label_key, key = jax.random.split(key)
        prefix = start(label_key, num, label)

        def make(networks, key):
            large, network = (height // factor, width // factor), networks["transformer"]
            return autoencoder.decode(
                networks, sample_sliding(transformer, network, prefix, large, grid, key, **sampling)
            )

        return Made(np.asarray(jax.jit(make)(networks, key)))

    drawing = {
        "num": Option(4, "pictures that are drawn", least=1),
        "label": label_option(transformer.prefixes),
        **SAMPLING,
    }
    rows = Option(0.5, "share of the picture's rows that is kept", least=0, below=1)
    large = {
        name: Option(2 * side, f"{name} of the pictures in pixels", least=side)
        for name, side in zip(("height", "width"), shape, strict=False)
    }
    image = ("image",)
    return {
        "reconstruct": Tool(reconstruct, "A picture beside its reconstruction.", pictures=image),
        "codes": Tool(codes, "The grid of codes of a picture, as arrays.", pictures=image),
        "complete": Tool(
            complete, "Draws the lower part of a picture anew.", {"rows": rows, **drawing}, image
        ),
        "sample_large": Tool(
            sample_large, "Pictures of any size, by a sliding window.", large | drawing
        ),
    }
