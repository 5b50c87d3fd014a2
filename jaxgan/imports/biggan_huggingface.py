"""BigGAN-deep of huggingface/pytorch-pretrained-BigGAN (MIT), pictures of 128 and 256 pixels: DeepMind's generators.

The file has the batch statistics of 51 truncations, of which the last is imported: that of latents from the normal
distribution between -2 and 2, as `--options.truncation=2` draws them. Its smaller truncations scale these latents, and
there is no such option here; `--options.batch_statistics=standing` computes statistics for any truncation.

The kernels are divided by their spectral norms once and for all (`generator_spectral` is false). That of the last
convolution is over 128 outputs, of which the pictures have the first 3.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from jaxgan.imports import Imported, Leaf, Tensors
from jaxgan.imports.tensors import oihw
from jaxgan.spec import Field, Spec

ABOUT = "huggingface/pytorch-pretrained-BigGAN (MIT): BigGAN-deep, generator of 128 or 256 pixels"
ATTENTION = {"theta": "query", "phi": "key", "g": "value", "o_conv": "output"}
CHANNELS = 3
SIDES = {10: 128, 12: 256}  # {blocks: side of the pictures}


def files(names: Collection[str]) -> bool:
    return {"embeddings.weight", "generator.gen_z.weight_orig"} <= set(names)


def read(given: Sequence[Tensors]) -> Imported:
    if len(given) != 1:
        raise ValueError("this program publishes one file with the generator alone; give that.")
    file = given[0]
    layers = file.count(r"generator\.layers\.(\d+)\.")
    blocks = [i for i in range(layers) if f"generator.layers.{i}.bn_0.running_means" in file]
    if len(blocks) not in SIDES:
        raise ValueError(
            f"the generator in {file.where} has {len(blocks)} blocks, and only those with 10 (for 128 pixels) or 12"
            " (256) can be imported; give such a file."
        )
    embedding, classes = file.shape("embeddings.weight", 2)
    latent = file.shape("generator.gen_z.weight_orig", 2)[1] - embedding
    found = {
        "params/shared/embedding": Leaf(file.take("embeddings.weight", 2).T, "embeddings.weight"),
        **_conditioned(file, "synthesis/project", "generator.gen_z", embedding),
    }
    for number, i in enumerate(blocks):
        for j in range(4):
            at, name = f"synthesis/block{number}", f"generator.layers.{i}"
            for published, ours in (("scale", "gain"), ("offset", "bias")):
                path = f"{at}/norm{j}/{ours}"
                found |= _conditioned(file, path, f"{name}.bn_{j}.{published}", embedding)
            found |= _statistics(file, f"{at}/norm{j}", f"{name}.bn_{j}")
            found |= _layer(file, f"{at}/conv{j}", f"{name}.conv_{j}")
    (place,) = set(range(layers)) - set(blocks)
    name = f"generator.layers.{place}"
    found |= file.scalar("synthesis/attention/gamma", f"{name}.gamma")
    for published, ours in ATTENTION.items():
        found |= _layer(file, f"synthesis/attention/{ours}", f"{name}.snconv1x1_{published}")
    found |= file.param("synthesis/norm/statistics/scale", "generator.bn.weight")
    found |= file.param("synthesis/norm/statistics/bias", "generator.bn.bias")
    found |= _statistics(file, "synthesis/norm", "generator.bn")
    found |= _layer(file, "synthesis/output", "generator.conv_to_rgb", outputs=CHANNELS)
    file.finish()
    options = {
        "variant": "deep",
        "width": file.shape("generator.bn.weight")[0],
        "latent_dim": latent,
        "class_embedding_dim": embedding,
        "generator_attention": 4 << (place // 2),
        "generator_spectral": False,
        "convolution_biases": True,
    }
    side = SIDES[len(blocks)]
    image, label = Field("image", (side, side, CHANNELS)), Field("label", number=classes)
    notes = [
        "the batch statistics are those of latents between -2 and 2: sample with --options.truncation=2, or with"
        " another truncation and --options.batch_statistics=standing"
    ]
    spec = Spec({"image": image, "label": label}, 1)
    return Imported("biggan", options, spec, {"generator": found}, notes=notes)


def _normalised(file: Tensors, name: str) -> np.ndarray:
    """The weight divided by u^T W v, with the vectors of the file."""
    weight = file.take(f"{name}.weight_orig").astype(np.float64)
    u, v = (file.take(f"{name}.weight_{n}", 1).astype(np.float64) for n in "uv")
    return (weight / (u @ weight.reshape(len(weight), -1) @ v)).astype(np.float32)


def _layer(file: Tensors, path: str, name: str, outputs: int | None = None) -> dict[str, Leaf]:
    """A convolution, of which the first outputs are used."""
    kernel = oihw(_normalised(file, name)[:outputs])
    found = {f"params/{path}/kernel": Leaf(kernel, f"{name}.weight_orig")}
    for at, leaf in file.bias(path, name).items():
        found[at] = Leaf(leaf.value[:outputs], leaf.tensor)
    return found


def _conditioned(file: Tensors, path: str, name: str, embedding: int) -> dict[str, Leaf]:
    """A dense layer of the latent and the label's embedding, which come in the other order here.

    Pictures that it makes are in the order h w C already.
    """
    kernel = _normalised(file, name).T
    kernel = np.concatenate([kernel[-embedding:], kernel[:-embedding]])
    return {f"params/{path}/kernel": Leaf(kernel, f"{name}.weight_orig"), **file.bias(path, name)}


def _statistics(file: Tensors, path: str, name: str) -> dict[str, Leaf]:
    """The statistics of the largest truncation."""
    found = {}
    for ours, published in (("mean", "running_means"), ("var", "running_vars")):
        rows = file.take(f"{name}.{published}", 2)
        found[f"batch_stats/{path}/statistics/{ours}"] = Leaf(rows[-1], f"{name}.{published}")
    return found
