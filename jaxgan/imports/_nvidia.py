"""What NVIDIA's pickles of StyleGAN2 and StyleGAN3 share: one file with G, D and G_ema, the mapping, the critic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxgan.imports.tensors import Leaf, Tensors, oihw
from jaxgan.spec import Field, Spec


def only(given: Sequence[Tensors]) -> Tensors:
    """The file."""
    if len(given) != 1:
        raise ValueError("NVIDIA's programs write all networks into one file; give that alone.")
    return given[0]


def finish(file: Tensors) -> None:
    """Raises unless every tensor was taken, without those of filters and of the augmentation."""
    file.drop(*(name for name in file.names if name.endswith(".resample_filter")))
    file.drop(*(name for name in file.names if name.startswith("augment_pipe.")))
    file.finish()


def options(file: Tensors) -> dict[str, Any]:
    """The options of the mapping."""
    styles, inputs = file.shape("G_ema.mapping.fc0.weight", 2)
    embed = "G_ema.mapping.embed.weight"
    conditional = embed in file
    return {
        "latent_dim": inputs - (file.shape(embed, 2)[0] if conditional else 0),
        "style_dim": styles,
        "mapping_layers": file.count(r"G_ema\.mapping\.fc(\d+)\."),
        "conditional": conditional,
    }


def spec(file: Tensors, side: int, channels: int) -> Spec:
    """The specification of the data."""
    fields = {"image": Field("image", (side, side, channels))}
    embed = "G_ema.mapping.embed.weight"
    if embed in file:
        fields["label"] = Field("label", number=file.shape(embed, 2)[1])
    return Spec(fields, 1)


def notes(file: Tensors, layer: str) -> list[str]:
    """A sentence if the program clamps activations, as it does where it computes in float16."""
    clamp = file.settings.get(f"{layer}.conv_clamp")
    if clamp is None:
        return []
    return [
        f"its program computes the layers of the largest pictures in float16 on a GPU, and clamps at {clamp}; here they"
        " are float32 and not clamped"
    ]


def mean_style(file: Tensors, name: str) -> dict[str, Leaf]:
    """The mean of w of the generator called `name`."""
    mean = f"{name}.mapping.w_avg"
    return {"average/style": Leaf(file.take(mean, 1), mean)}


def layer(file: Tensors, path: str, name: str, mirrored: bool = False) -> dict[str, Leaf]:
    """A convolution or dense layer with `weight` and perhaps `bias`."""
    weight = f"{name}.weight"
    tensor = file.take(weight)
    kernel = oihw(tensor) if tensor.ndim == 4 else np.ascontiguousarray(tensor.T)
    if mirrored:
        kernel = np.ascontiguousarray(kernel[::-1, ::-1])
    return {f"params/{path}/kernel": Leaf(kernel, weight), **file.bias(path, name)}


def mapping(file: Tensors, path: str, name: str) -> dict[str, Leaf]:
    found: dict[str, Leaf] = {}
    if f"{name}.embed.weight" in file:
        found |= layer(file, f"{path}/embed", f"{name}.embed")
    for i in range(len([n for n in file.names if n.startswith(f"{name}.fc") and "weight" in n])):
        found |= layer(file, f"{path}/dense{i}", f"{name}.fc{i}")
    return found


def critic(file: Tensors, side: int) -> tuple[dict[str, Leaf], dict[str, Any]]:
    """(variables, options)."""
    if "D.b4.fromrgb.weight" in file:
        raise ValueError(
            f"the critic in {file.where} takes pictures of several sizes (skips), which cannot be imported; give a file"
            " whose critic is residual or plain."
        )
    found = layer(file, "input", f"D.b{side}.fromrgb")
    size = side
    while size > 4:
        found |= layer(file, f"conv{size}", f"D.b{size}.conv0")
        found |= layer(file, f"down{size}", f"D.b{size}.conv1")
        if f"D.b{size}.skip.weight" in file:
            found |= layer(file, f"skip{size}", f"D.b{size}.skip")
        size //= 2
    found |= layer(file, "conv4", "D.b4.conv")
    dense = "D.b4.fc.weight"
    pictures = file.take(dense, 2)
    rows = pictures.reshape(len(pictures), -1, 4, 4).transpose(2, 3, 1, 0)
    found["params/dense/kernel"] = Leaf(
        np.ascontiguousarray(rows).reshape(-1, len(pictures)), dense
    )
    found |= file.bias("dense", "D.b4.fc") | layer(file, "output", "D.b4.out")
    layers = file.count(r"D\.mapping\.fc(\d+)\.")
    if "D.mapping.embed.weight" in file:
        found |= mapping(file, "mapping", "D.mapping")
    group = file.settings.get("D.b4.mbstd.group_size", 4)
    chosen = {
        "critic": "residual" if f"D.b{side}.skip.weight" in file else "plain",
        "critic_mapping_layers": layers or 8,
        "minibatch_std_group": group or 0,
    }
    return found, chosen
