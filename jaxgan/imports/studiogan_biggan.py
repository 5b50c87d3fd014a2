"""BigGAN of POSTECH-CVLab/PyTorch-StudioGAN (MIT), pictures of 32, 128 and 256 pixels: G_ema (or G) and D.

Its generator of 64 pixels has other widths than the published one. Batch normalisation has an epsilon of 1e-4, and the
ReLUs of the critic overwrite their input. Critics with classes are conditioned by projection (PD); others cannot be
imported.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from jaxgan.imports import Imported, Leaf, Tensors
from jaxgan.imports.tensors import networks
from jaxgan.spec import Field, Spec

ABOUT = "POSTECH-CVLab/PyTorch-StudioGAN (MIT): BigGAN of 32, 128 or 256 pixels, G_ema (or G) and D"
BOTTOM = 4  # side of the generator's first feature maps
EPSILON = 1e-4
ATTENTION = {"theta": "query", "phi": "key", "g": "value", "attn": "output"}
RESIDUAL = {"conv2d1": "conv0", "conv2d2": "conv1", "conv2d0": "shortcut"}
REFUSAL = (
    "StudioGAN writes each network into a file of its own: give that of the generator (model=G_ema-..., or"
    " model=G-... if there is no average) and, if you have it, that of the critic (model=D-...)."
)


def files(names: Collection[str]) -> bool:
    return _is_generator(names) or _is_critic(names)


def _is_generator(names: Collection[str]) -> bool:
    layer = any(name in names for name in ("linear0.weight_orig", "linear0.weight"))
    return layer and "bn4.running_mean" in names


def _is_critic(names: Collection[str]) -> bool:
    return {"blocks.0.0.conv2d1.weight_orig", "linear1.weight_orig"} <= set(names)


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
    if f"{name}.weight_orig" in file:
        return file.torch_spectral(path, name, side)
    dense = len(file.shape(f"{name}.weight")) == 2
    return file.dense(path, name, side) if dense else file.conv(path, name)


def _attention(file: Tensors, path: str, name: str) -> dict[str, Leaf]:
    found = file.scalar(f"{path}/gamma", f"{name}.sigma")
    for published, ours in ATTENTION.items():
        found |= _layer(file, f"{path}/{ours}", f"{name}.conv1x1_{published}")
    return found


def _blocks(file: Tensors) -> list[tuple[str, bool]]:
    """(name, whether it is attention) of the blocks in their order; attention counts as a block there."""
    names = [f"blocks.{i}.0" for i in range(file.count(r"blocks\.(\d+)\."))]
    return [(name, f"{name}.sigma" in file) for name in names]


def _generator(file: Tensors) -> tuple[dict[str, Leaf], dict[str, Any], Spec]:
    """(variables, options, specification of the data)."""
    spectral = "linear0.weight_orig" in file
    weight = "weight_orig" if spectral else "weight"
    outputs, part = file.shape(f"linear0.{weight}", 2)
    found = _layer(file, "synthesis/project", "linear0", BOTTOM)
    blocks, attention = 0, -1
    for name, attends in _blocks(file):
        if attends:
            attention = BOTTOM << blocks
            found |= _attention(file, "synthesis/attention", name)
            continue
        block = f"synthesis/block{blocks}"
        for published, ours in (("bn1", "norm0"), ("bn2", "norm1")):
            for linear in ("gain", "bias"):
                found |= _layer(file, f"{block}/{ours}/{linear}", f"{name}.{published}.{linear}")
            found |= file.batch_norm(f"{block}/{ours}", f"{name}.{published}.bn")
        for published, ours in RESIDUAL.items():
            found |= _layer(file, f"{block}/{ours}", f"{name}.{published}")
        blocks += 1
    found |= file.batch_norm("synthesis/norm", "bn4") | _layer(file, "synthesis/output", "conv2d5")
    side = BOTTOM << blocks
    fields = {"image": Field("image", (side, side, file.shape(f"conv2d5.{weight}")[0]))}
    options = {
        "width": outputs // BOTTOM**2 // (16 if blocks > 3 else 4),
        "latent_dim": part * (blocks + 1),
        "generator_attention": attention,
        "generator_spectral": spectral,
        "convolution_biases": True,
        "norm_epsilon": EPSILON,
        "conditional": "shared.weight" in file,
        "spectral_steps": 1,
    }
    if "shared.weight" in file:
        classes, embedding = file.shape("shared.weight", 2)
        found["params/shared/embedding"] = Leaf(file.take("shared.weight", 2), "shared.weight")
        options["class_embedding_dim"] = embedding
        fields["label"] = Field("label", number=classes)
    file.finish()
    return found, options, Spec(fields, 1)


def _critic(file: Tensors, spec: Spec) -> tuple[dict[str, Leaf], dict[str, Any]]:
    """(variables, options)."""
    found: dict[str, Leaf] = {}
    side, blocks, attention = spec.shape[0], 0, -1
    blocks_of = [name for name, attends in _blocks(file) if not attends]
    for name, attends in _blocks(file):
        if attends:
            attention = side
            found |= _attention(file, "attention", name)
            continue
        for published, ours in RESIDUAL.items():
            if f"{name}.{published}.weight_orig" in file:
                found |= _layer(file, f"block{blocks}/{ours}", f"{name}.{published}")
        if blocks < (2 if spec.shape[0] == 32 else len(blocks_of) - 1):
            side //= 2
        blocks += 1
    found |= _layer(file, "output", "linear1")
    if "embedding.weight_orig" in file:
        found |= _layer(file, "projection", "embedding")
    first = file.shape("blocks.0.0.conv2d1.weight_orig")[0]
    file.finish()
    return found, {
        "rectified_shortcuts": True,
        "critic_width": first // 2 if spec.shape[0] == 32 else first,
        "critic_attention": attention,
    }
