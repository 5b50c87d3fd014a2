"""The outputs of a critic for each way of conditioning it on labels; `jaxgan.turns.conditioning` has their losses.

h [B, F] are the critic's last features, f_adv a linear layer, K the number of classes.

    conditioning     logits             heads
    projection       f_adv(h) + <e_y, h>
    acgan            f_adv(h)           acgan: class logits [B, K]
    tac              f_adv(h)           tac: class logits of two classifiers, ([B, K], [B, K])
    adc              f_adv(h)           adc: class logits [B, 2 K]; class 2 y is "real, of class y", 2 y + 1 "generated"
    contrastive      f_adv(h)           contrastive: embeddings of the examples and of their labels, ([B, D], [B, D])
    d2d_ce           f_adv(h)           d2d_ce: as contrastive
    multi_hinge      f_y - f_K          multi_hinge: class logits f [B, K + 1]; class K is "generated"

Layers and initialisation are those of PyTorch-StudioGAN's networks. Papers: Miyato and Koyama 2018 (projection);
Odena et al. 2017 (AC-GAN); Gong et al. 2019 (TAC-GAN); Hou et al. 2022 (ADC-GAN); Kang and Park 2020 (ContraGAN); Kang
et al. 2021 (ReACGAN); Kavalerov et al. 2021 (multi-hinge).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.nets.labels import check_labels, lookup, one_hot

CONDITIONINGS = ("projection", "acgan", "tac", "adc", "contrastive", "d2d_ce", "multi_hinge")


class Judgement(NamedTuple):
    """The output of a critic with further heads or features; of several scales, lists.

    Attributes:
      logits: float32 [B], or [B, h, w] of patches, larger for pictures that look real.
      heads: {conditioning: outputs of the further heads}, float32.
      features: h, float32 [B, F]; of critics with features of several layers, a list of them.
    """

    logits: Any
    heads: Mapping[str, Any]
    features: Any


@dataclasses.dataclass(frozen=True)
class Labels:
    """How a critic depends on labels.

    Attributes:
      classes: their number, K.
      conditioning: one of `CONDITIONINGS`.
      embedding_dim: D of contrastive and d2d_ce.
    """

    classes: int
    conditioning: str = "projection"
    embedding_dim: int = 512

    def __post_init__(self):
        if self.conditioning not in CONDITIONINGS:
            raise ValueError(
                f"there is no conditioning '{self.conditioning}'; it is one of {', '.join(CONDITIONINGS)}."
            )


def judge(
    h: jax.Array,
    label: jax.Array | None,
    labels: Labels | None,
    *,
    kernel_norm: Callable[[type], type],
    init: nn.initializers.Initializer,
    output_bias: bool = True,
    dtype: jax.typing.DTypeLike | None = None,
) -> jax.Array | Judgement:
    """The logits for features h [B, F] and labels [B], or a `Judgement` if there are further heads.

    To be called in a compact method, whose module gets the layers.

    Args:
      h: the features.
      label: int32 [B]; None for an unconditional critic.
      labels: how the critic depends on labels; None for an unconditional critic.
      kernel_norm: maps a layer class to the class that is used.
      init: initialiser of the kernels and embeddings.
      output_bias: whether f_adv has a bias.
      dtype: of the arithmetic.
    """
    dense = partial(kernel_norm(nn.Dense), kernel_init=init, dtype=dtype)

    def embed(features: int, name: str) -> jax.Array:
        assert labels is not None
        table = kernel_norm(nn.Embed)(
            labels.classes, features, embedding_init=init, dtype=dtype, name=name
        )
        return lookup(table, label)

    kind = None if labels is None else labels.conditioning
    if labels is not None:
        check_labels(label, h.shape[0])
    heads: dict[str, Any] = {}
    if kind == "multi_hinge":
        assert labels is not None
        scores = dense(labels.classes + 1, name="classifier")(h).astype(jnp.float32)
        right = jnp.sum(one_hot(label, labels.classes) * scores[:, :-1], axis=1)
        return Judgement(right - scores[:, -1], {kind: scores}, h.astype(jnp.float32))
    logits = dense(1, use_bias=output_bias, name="output")(h)[:, 0]
    if labels is not None and kind == "projection":
        logits = logits + jnp.sum(embed(h.shape[-1], "projection") * h, axis=-1)
    elif labels is not None and kind in ("contrastive", "d2d_ce"):
        dim = labels.embedding_dim
        heads[kind] = (dense(dim, name="embedding")(h), embed(dim, "proxy"))
    elif labels is not None and kind is not None:
        number = 2 * labels.classes if kind == "adc" else labels.classes
        heads[kind] = dense(number, use_bias=False, name="classifier")(h)
        if kind == "tac":
            heads[kind] = (heads[kind], dense(number, use_bias=False, name="twin")(h))
    if not heads:
        return logits.astype(jnp.float32)
    return jax.tree.map(lambda x: x.astype(jnp.float32), Judgement(logits, heads, h))
