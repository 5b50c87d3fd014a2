"""The ResNets of kwotsin/mimicry (MIT), which `mimicry_sngan` and `mimicry_wgan_gp` read.

A checkpoint holds one network: "model_state_dict" with its tensors, and its optimiser, which is left out. It upsamples
bilinearly, its convolutions all have biases, and the ReLUs of its critics overwrite their input, so that the shortcuts
of all blocks but the first take the input after its ReLU.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from jaxgan.imports.tensors import Leaf, Tensors, networks
from jaxgan.spec import Field

# The options that make the networks of sngan and wgan_gp those of mimicry.
OPTIONS: Mapping[str, Any] = {
    "architecture": "resnet",
    "upsampling": "bilinear",
    "convolution_biases": True,
    "rectified_shortcuts": True,
    "shortcut_init": "pytorch",
}


def is_generator(names: Collection[str]) -> bool:
    return {"l1.weight", "block2.c1.weight", "block2.c_sc.weight"} <= set(names)


def is_critic(names: Collection[str], weight: str) -> bool:
    """Whether the names are those of a critic whose weights are called `weight`."""
    return {f"block1.c1.{weight}", f"block2.c1.{weight}"} <= set(names)


def split(files: Sequence[Tensors], weight: str) -> tuple[Tensors, Tensors | None]:
    """(generator, critic or None) of the files."""
    return networks(
        files,
        is_generator,
        lambda names: is_critic(names, weight),
        "mimicry writes each network into a file of its own: give that of the generator (netG_..._steps.pth) and,"
        " if you have it, that of the critic (netD_..._steps.pth).",
    )


def generator(file: Tensors) -> tuple[dict[str, Leaf], dict[str, Any], dict[str, Field]]:
    """(variables, options, fields of the data)."""
    outputs, latent = file.shape("l1.weight", 2)
    width = file.shape("block2.c1.weight", 4)[1]
    side = math.isqrt(outputs // width)
    blocks = file.count(r"(block\d+)\.")
    found = file.dense("project", "l1", side)
    for i in range(blocks):
        block, name = f"block{i}", f"block{i + 2}"
        for norm, published in (("norm0", "b1"), ("norm1", "b2")):
            found |= _norm(file, f"{block}/{norm}", f"{name}.{published}")
        for conv, published in (("conv0", "c1"), ("conv1", "c2"), ("shortcut", "c_sc")):
            found |= file.conv(f"{block}/{conv}", f"{name}.{published}")
    last = blocks + 2
    found |= file.batch_norm("norm", f"b{last}") | file.conv("output", f"c{last}")
    channels = file.shape(f"c{last}.weight", 4)[0]
    file.finish()
    fields = {"image": Field("image", (side << blocks, side << blocks, channels))}
    if "block2.b1.embed.weight" in file:
        fields["label"] = Field("label", number=file.shape("block2.b1.embed.weight")[0])
    return found, {"generator_width": width, "latent_dim": latent}, fields


def _norm(file: Tensors, path: str, name: str) -> dict[str, Leaf]:
    """A batch normalisation; with a gain and a bias for each class, side by side in one table, if it is conditional."""
    table = f"{name}.embed.weight"
    if table not in file:
        return file.batch_norm(path, name)
    gains = file.take(table, 2)
    half = gains.shape[1] // 2
    return {
        f"params/{path}/gain/embedding": Leaf(gains[:, :half], table),
        f"params/{path}/bias/embedding": Leaf(gains[:, half:], table),
        **file.batch_norm(path, f"{name}.bn"),
    }


def critic(file: Tensors, spectral: bool) -> tuple[dict[str, Leaf], dict[str, Any]]:
    """(variables, options)."""
    weight = "weight_orig" if spectral else "weight"
    conv_of, dense_of = (file.torch_spectral,) * 2 if spectral else (file.conv, file.dense)
    blocks = file.count(r"(block\d+)\.")
    found: dict[str, Leaf] = {}
    for i in range(blocks):
        for conv, published in (("conv0", "c1"), ("conv1", "c2"), ("shortcut", "c_sc")):
            name = f"block{i + 1}.{published}"
            if f"{name}.{weight}" in file:
                found |= conv_of(f"block{i}/{conv}", name)
    last = next(
        (n for n in (f"l{blocks}", f"l{blocks + 1}") if f"{n}.{weight}" in file), f"l{blocks + 1}"
    )
    found |= dense_of("output", last)
    if "l_y.weight_orig" in file:
        found |= file.torch_spectral("projection", "l_y")
    width = file.shape(f"{last}.{weight}", 2)[1]
    file.finish()
    return found, {"critic_width": width}
