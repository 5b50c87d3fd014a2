"""BigGAN of ajbrock/BigGAN-PyTorch (MIT), pictures of 32 to 256 pixels: G_ema.pth (or G.pth) and D.pth.

Needs the hierarchical latent and the shared embedding (--hier --G_shared). Batch normalisation is taken to have its
usual epsilon, 1e-5, which the file does not state.

Its spectral normalisation makes half a power iteration more than the vectors of the file in each call, also at
evaluation; `Tensors.spectral` reproduces the number that it divides by.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from jaxgan.imports import Imported, Leaf, Tensors
from jaxgan.imports.tensors import networks
from jaxgan.spec import Field, Spec

ABOUT = "ajbrock/BigGAN-PyTorch (MIT): BigGAN, G_ema.pth or G.pth, and D.pth"
BOTTOM = 4  # side of the generator's first feature maps
ATTENTION = {"theta": "query", "phi": "key", "g": "value", "o": "output"}
RESIDUAL = {"conv1": "conv0", "conv2": "conv1", "conv_sc": "shortcut"}
REFUSAL = (
    "BigGAN-PyTorch writes each network into a file of its own: give that of the generator (G_ema.pth, or G.pth"
    " if there is no average) and, if you have it, that of the critic (D.pth)."
)


def files(names: Collection[str]) -> bool:
    return _is_generator(names) or _is_critic(names)


def _is_generator(names: Collection[str]) -> bool:
    return {"shared.weight", "linear.weight", "blocks.0.0.bn1.gain.weight"} <= set(names)


def _is_critic(names: Collection[str]) -> bool:
    return {"embed.weight", "embed.u0", "blocks.0.0.conv1.weight"} <= set(names)


def read(given: Sequence[Tensors]) -> Imported:
    made, judge = networks(given, _is_generator, _is_critic, REFUSAL)
    generator, options, spec = _generator(made)
    players, notes = {"generator": generator}, made.notes()
    if judge is not None:
        critic, more = _critic(judge, spec)
        players["critic"], options = critic, options | more
        notes += judge.notes()
    return Imported("biggan", options, spec, players, notes=notes)


def _layer(file: Tensors, path: str, name: str, side: int = 0) -> dict[str, Leaf]:
    """A layer, under spectral normalisation if it has vectors."""
    weight = f"{name}.weight"
    if f"{name}.u0" not in file:
        dense = len(file.shape(weight)) == 2
        return file.dense(path, name, side) if dense else file.conv(path, name)
    file.drop(f"{name}.sv0")  # the last sigma, for the log
    u = file.take(f"{name}.u0", 2)[0].astype(np.float64)
    flat = file.peek(weight).astype(np.float64)
    flat = flat.reshape(len(flat), -1)
    v = u @ flat
    sigma = float(np.linalg.norm(flat @ (v / max(np.linalg.norm(v), 1e-12))))
    return file.spectral(path, name, weight, u, sigma, side) | file.bias(path, name, side)


def _attention(file: Tensors, path: str, name: str) -> dict[str, Leaf]:
    found = file.scalar(f"{path}/gamma", f"{name}.gamma")
    for published, ours in ATTENTION.items():
        found |= _layer(file, f"{path}/{ours}", f"{name}.{published}")
    return found


def _statistics(file: Tensors, path: str, name: str) -> dict[str, Leaf]:
    """Running statistics of the program's own batch normalisation, PyTorch's, or one with standing statistics."""
    if f"{name}.bn.running_mean" in file:
        file.drop(f"{name}.bn.num_batches_tracked")
        return file.statistics(path, f"{name}.bn.running_mean", f"{name}.bn.running_var")
    inner = f"{name}.bn" if f"{name}.bn.stored_mean" in file else name
    found = file.statistics(path, f"{inner}.stored_mean", f"{inner}.stored_var")
    counter = f"{inner}.accumulation_counter"
    if counter in file and (count := float(file.take(counter).reshape(()))):
        # standing statistics, which the program keeps as sums over so many batches
        found = {at: Leaf(leaf.value / count, leaf.tensor) for at, leaf in found.items()}
    return found


def _generator(file: Tensors) -> tuple[dict[str, Leaf], dict[str, Any], Spec]:
    """(variables, options, specification of the data)."""
    blocks = file.count(r"blocks\.(\d+)\.")
    outputs, part = file.shape("linear.weight", 2)
    classes, embedding = file.shape("shared.weight", 2)
    if file.shape("blocks.0.0.bn1.gain.weight", 2)[1] != embedding + part:
        raise ValueError(
            f"the generator in {file.where} gives its blocks no part of the latent; only one that was trained with"
            " --hier and --G_shared can be imported."
        )
    side = BOTTOM << blocks
    found: dict[str, Leaf] = {
        "params/shared/embedding": Leaf(file.take("shared.weight", 2), "shared.weight"),
        **_layer(file, "synthesis/project", "linear", BOTTOM),
    }
    attention = -1
    for i in range(blocks):
        name, block = f"blocks.{i}.0", f"synthesis/block{i}"
        for published, ours in (("bn1", "norm0"), ("bn2", "norm1")):
            for linear in ("gain", "bias"):
                found |= _layer(file, f"{block}/{ours}/{linear}", f"{name}.{published}.{linear}")
            found |= _statistics(file, f"{block}/{ours}", f"{name}.{published}")
        for published, ours in RESIDUAL.items():
            found |= _layer(file, f"{block}/{ours}", f"{name}.{published}")
        if f"blocks.{i}.1.gamma" in file:
            attention = BOTTOM << (i + 1)
            found |= _attention(file, "synthesis/attention", f"blocks.{i}.1")
    found |= file.param("synthesis/norm/statistics/scale", "output_layer.0.gain")
    found |= file.param("synthesis/norm/statistics/bias", "output_layer.0.bias")
    found |= _statistics(file, "synthesis/norm", "output_layer.0")
    found |= _layer(file, "synthesis/output", "output_layer.2")
    channels = file.shape("output_layer.2.weight")[0]
    options = {
        "width": outputs // BOTTOM**2 // (16 if blocks > 3 else 4),
        "latent_dim": part * (blocks + 1),
        "class_embedding_dim": embedding,
        "generator_attention": attention,
        "generator_spectral": "linear.u0" in file,
        "convolution_biases": "blocks.0.0.conv1.bias" in file,
        "spectral_steps": 1,
    }
    file.finish()
    fields = {
        "image": Field("image", (side, side, channels)),
        "label": Field("label", number=classes),
    }
    return found, options, Spec(fields, 1)


def _critic(file: Tensors, spec: Spec) -> tuple[dict[str, Leaf], dict[str, Any]]:
    """(variables, options)."""
    found: dict[str, Leaf] = {}
    attention = -1
    for i in range(file.count(r"blocks\.(\d+)\.")):
        for published, ours in RESIDUAL.items():
            if f"blocks.{i}.0.{published}.weight" in file:
                found |= _layer(file, f"block{i}/{ours}", f"blocks.{i}.0.{published}")
        if f"blocks.{i}.1.gamma" in file:
            halvings = min(i + 1, 2) if spec.shape[0] == 32 else i + 1
            attention = spec.shape[0] >> halvings
            found |= _attention(file, "attention", f"blocks.{i}.1")
    found |= _layer(file, "output", "linear") | _layer(file, "projection", "embed")
    first = file.shape("blocks.0.0.conv1.weight")[0]
    file.finish()
    # At 32 pixels the blocks have 4 times the published width, and 2 times the width here.
    width = first // 2 if spec.shape[0] == 32 else first
    return found, {"critic_width": width, "critic_attention": attention}
