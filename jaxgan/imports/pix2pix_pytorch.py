"""pix2pix of junyanz/pytorch-CycleGAN-and-pix2pix (BSD): latest_net_G.pth, a U-Net, and latest_net_D.pth, a PatchGAN.

Both networks have batch normalisation (--norm batch, the default). Dropout, which no tensor tells, is taken to be in
the second to fourth layer of the decoder, as without --no_dropout. A U-Net that halves pictures n times is taken to be
for pictures of 2^n pixels, as the program's unet_128 and unet_256. Translations have dropout and the batch statistics
of a single picture, as in the program's test without --eval.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from jaxgan.imports import Imported, Leaf, Tensors, _patchgan
from jaxgan.imports.tensors import networks
from jaxgan.spec import Field, Spec

ABOUT = "junyanz/pytorch-CycleGAN-and-pix2pix (BSD): pix2pix, latest_net_G.pth and latest_net_D.pth"
OUTER, INNER = (
    "model.model",
    "model.model.1.model",
)  # the first two of the nested parts of the U-Net
MOST_DOWNS = 8
REFUSAL = (
    "pytorch-CycleGAN-and-pix2pix writes each network into a file of its own: give that of the generator"
    " (latest_net_G.pth) and, if you have it, that of the critic (latest_net_D.pth)."
)


def files(names: Collection[str]) -> bool:
    return _is_generator(names) or _is_critic(names)


def _is_generator(names: Collection[str]) -> bool:
    return {f"{OUTER}.0.weight", f"{INNER}.1.weight", f"{OUTER}.3.weight"} <= set(names)


def _is_critic(names: Collection[str]) -> bool:
    return {"model.0.bias", "model.2.weight", "model.3.running_mean"} <= set(names)


def read(given: Sequence[Tensors]) -> Imported:
    made, judge = networks(given, _is_generator, _is_critic, REFUSAL)
    generator, options, fields = _generator(made)
    players = {"generator": generator}
    if judge is not None:
        from jaxgan.nets.patchgan import (
            receptive_field,
        )  # Flax, which `jaxgan import list` does not need

        players["critic"], width, layers = _patchgan.critic(judge, "model")
        options |= {"critic_width": width, "patch": receptive_field(layers)}
        judge.finish()
    return Imported("pix2pix", options, Spec(fields, 1), players)


def _generator(file: Tensors) -> tuple[dict[str, Leaf], dict[str, Any], dict[str, Field]]:
    """(variables, options, fields of the data)."""
    if f"{OUTER}.0.bias" in file:
        raise ValueError(
            f"the generator in {file.where} was trained with --norm instance, and only those with --norm batch can be"
            " imported; give such a file."
        )
    found = file.conv("down0", f"{OUTER}.0") | file.transposed("up0", f"{OUTER}.3")
    part, downs = INNER, 1
    while f"{part}.3.weight" not in file:  # the innermost part has no part inside it
        found |= file.conv(f"down{downs}", f"{part}.1")
        found |= file.batch_norm(f"down{downs}_norm", f"{part}.2")
        found |= file.transposed(f"up{downs}", f"{part}.5")
        found |= file.batch_norm(f"up{downs}_norm", f"{part}.6")
        part, downs = f"{part}.3.model", downs + 1
    found |= file.conv(f"down{downs}", f"{part}.1") | file.transposed(f"up{downs}", f"{part}.3")
    found |= file.batch_norm(f"up{downs}_norm", f"{part}.4")
    width, condition = file.shape(f"{OUTER}.0.weight", 4)[:2]
    channels = file.shape(f"{OUTER}.3.weight", 4)[1]
    file.finish()
    downs += 1
    if downs > MOST_DOWNS:
        raise ValueError(
            f"the generator in {file.where} halves pictures {downs} times, and only those with at most {MOST_DOWNS}"
            " can be imported; give such a file, as of unet_128 or unet_256."
        )
    options = {
        "generator_width": width,
        "downs": downs,
        "dropout_layers": tuple(range(1, downs - 4)),
    }
    fields = {
        "image": Field("image", (1 << downs, 1 << downs, channels)),
        "condition": Field("image", (1 << downs, 1 << downs, condition)),
    }
    return found, options, fields
