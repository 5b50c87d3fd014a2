"""SN-GAN and cGAN-PD of pfnet-research/sngan_projection (MIT, Chainer): ResNetGenerator_....npz and SNResNet....npz.

Pictures of 32, 64 and 128 pixels. Its batch normalisation has an epsilon of 2e-5, and here it is 1e-5: the difference
is added to the running variances, with the same outputs.

Its spectral normalisation makes one power iteration more than the vectors of the file in each call, also at
evaluation; `Tensors.spectral` reproduces the number that it divides by.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from jaxgan.imports import Imported, Leaf, Tensors
from jaxgan.imports.tensors import networks, oihw, pixels_first
from jaxgan.spec import Field, Spec

ABOUT = (
    "pfnet-research/sngan_projection (MIT, Chainer): SN-GAN and cGAN-PD, snapshots of both networks"
)
BOTTOM = 4  # side of the generator's first feature maps
EPSILON = 2e-5 - 1e-5  # of batch normalisation: Chainer's without that of this library
CONVS = {"c1": "conv0", "c2": "conv1", "c_sc": "shortcut"}
MOST_BLOCKS = 5  # of the generator for 128 pixels
REFUSAL = (
    "sngan_projection writes each network into a file of its own: give that of the generator"
    " (ResNetGenerator_....npz) and, if you have it, that of the critic (SNResNetProjectionDiscriminator_....npz)."
)


def files(names: Collection[str]) -> bool:
    return _is_generator(names) or _is_critic(names)


def _is_generator(names: Collection[str]) -> bool:
    return {"l1/W", "block2/c1/W", "block2/b1/avg_mean"} <= set(names)


def _is_critic(names: Collection[str]) -> bool:
    return {"block1/c1/W", "block1/c1/u"} <= set(names)


def read(given: Sequence[Tensors]) -> Imported:
    made, judge = networks(given, _is_generator, _is_critic, REFUSAL)
    generator, options, fields = _generator(made)
    players, notes = {"generator": generator}, []
    options |= {"architecture": "resnet", "convolution_biases": True, "spectral_steps": 1}
    options["conditional"] = "label" in fields
    if judge is not None:
        players["critic"], more = _critic(judge)
        options |= more
        notes = judge.notes()
    return Imported("sngan", options, Spec(fields, 1), players, notes=notes)


def _layer(file: Tensors, path: str, name: str, side: int = 0) -> dict[str, Leaf]:
    """A convolution or a dense layer; the outputs of the latter are a picture unless `side` is 0."""
    weight = f"{name}/W"
    tensor = file.take(weight)
    kernel = oihw(tensor) if tensor.ndim == 4 else pixels_first(tensor.T, side)
    return {f"params/{path}/kernel": Leaf(kernel, weight), **_bias(file, path, name, side)}


def _bias(file: Tensors, path: str, name: str, side: int = 0) -> dict[str, Leaf]:
    bias = f"{name}/b"
    if bias not in file:
        return {}
    return {f"params/{path}/bias": Leaf(pixels_first(file.take(bias, 1), side), bias)}


def _spectral(file: Tensors, path: str, name: str) -> dict[str, Leaf]:
    """A layer that is divided by |W v|, v = W^T u / |W^T u|."""
    weight = file.peek(f"{name}/W").astype(np.float64)
    weight, u = weight.reshape(len(weight), -1), file.take(f"{name}/u", 2)[0]
    v = u @ weight
    sigma = float(np.linalg.norm(weight @ (v / max(float(np.linalg.norm(v)), 1e-12))))
    return file.spectral(path, name, f"{name}/W", u, sigma) | _bias(file, path, name)


def _norm(file: Tensors, path: str, name: str) -> dict[str, Leaf]:
    """A batch normalisation, with a gain and a bias for each class if it is conditional."""
    found = file.statistics(path, f"{name}/avg_mean", f"{name}/avg_var")
    var = f"batch_stats/{path}/statistics/var"
    found[var] = Leaf(found[var].value + np.float32(EPSILON), found[var].tensor)
    file.drop(f"{name}/N")
    if f"{name}/gammas/W" in file:
        parts = {"gain/embedding": "gammas/W", "bias/embedding": "betas/W"}
    else:
        parts = {"statistics/scale": "gamma", "statistics/bias": "beta"}
    for ours, published in parts.items():
        found |= file.param(f"{path}/{ours}", f"{name}/{published}")
    return found


def _generator(file: Tensors) -> tuple[dict[str, Leaf], dict[str, Any], dict[str, Field]]:
    """(variables, options, fields of the data)."""
    blocks = file.count(r"(block\d+)/")
    if blocks > MOST_BLOCKS:
        raise ValueError(
            f"the generator in {file.where} makes pictures of {BOTTOM << blocks} pixels, and only those of 32, 64 and"
            " 128 can be imported; give such a file."
        )
    outputs, latent = file.shape("l1/W", 2)
    side = BOTTOM << blocks
    found = _layer(file, "project", "l1", BOTTOM)
    for i in range(blocks):
        block, name = f"block{i}", f"block{i + 2}"
        for j in range(2):
            found |= _norm(file, f"{block}/norm{j}", f"{name}/b{j + 1}")
        for published, ours in CONVS.items():
            found |= _layer(file, f"{block}/{ours}", f"{name}/{published}")
    last = f"c{blocks + 2}" if f"c{blocks + 2}/W" in file else f"l{blocks + 2}"
    found |= _norm(file, "norm", f"b{blocks + 2}") | _layer(file, "output", last)
    channels = file.shape(f"{last}/W", 4)[0]
    fields = {"image": Field("image", (side, side, channels))}
    if "block2/b1/gammas/W" in file:
        fields["label"] = Field("label", number=file.shape("block2/b1/gammas/W")[0])
    file.finish()
    return found, {"generator_width": outputs // BOTTOM**2, "latent_dim": latent}, fields


def _critic(file: Tensors) -> tuple[dict[str, Leaf], dict[str, Any]]:
    """(variables, options)."""
    found: dict[str, Leaf] = {}
    blocks = file.count(r"(block\d+)/")
    for i in range(blocks):
        for published, ours in CONVS.items():
            if f"block{i + 1}/{published}/W" in file:
                found |= _spectral(file, f"block{i}/{ours}", f"block{i + 1}/{published}")
    last = f"l{blocks + 1}"
    found |= _spectral(file, "output", last)
    if "l_y/W" in file:
        found |= _spectral(file, "projection", "l_y")
    width = file.shape(f"{last}/W", 2)[1]
    file.finish()
    return found, {"critic_width": width, "output_bias": f"{last}/b" in file}
