"""Samples of generators with normal latents: truncation, and standing batch statistics.

Truncation draws latents from the normal distribution given that no component is beyond a limit: less varied samples,
each more typical. A generator with batch normalisation that was not trained on such latents has wrong running
statistics for them; standing statistics are computed from the latents, labels and weights of the samples.

Source: Brock et al., Large Scale GAN Training for High Fidelity Natural Image Synthesis (2019), Section 3.1
(truncation) and the appendix on experimental details (standing statistics).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp

from jaxgan import draws
from jaxgan.game import Output, Play
from jaxgan.network import Network, batch_statistics
from jaxgan.options import Option
from jaxgan.spec import Spec

RUNNING, STANDING = "running", "standing"

TRUNCATION = Option(
    None,
    "limit of the absolute value of each component of the latent, which is drawn again until it is within; none for no"
    " limit",
    above=0,
    kind=float | None,
)


def truncated_normal(key: jax.Array, num: int, dim: int, limit: float | None) -> jax.Array:
    """Standard normal latents, float32 [num, dim], given that no component is beyond `limit`, which may be traced.

    The distribution is that of drawing each component again until it is within the limit. It is neither clipped nor
    scaled.

    >>> z = truncated_normal(jax.random.key(0), 1000, 2, 0.5)
    >>> bool(jnp.abs(z).max() <= 0.5), z.shape
    (True, (1000, 2))
    """
    if limit is None:
        return draws.normal(key, (num, dim))
    most = jnp.asarray(limit, jnp.float32)
    drawn = jax.random.truncated_normal(key, -most, most, (num, dim), jnp.float32)
    return draws.over_devices(drawn)


def output(spec: Spec, latent_dim: int, classes: int | None, batch_size: int) -> Output:
    """The output "samples" of the player "generator", a function (latent, label or None, train) -> samples.

    Args:
      spec: specification of the data.
      latent_dim: components of the latent.
      classes: number of labels; None for an unconditional generator.
      batch_size: usual number of samples in each batch of standing statistics.
    """
    options = {
        "truncation": TRUNCATION,
        "batch_statistics": Option(
            RUNNING,
            "statistics that batch normalisation uses: running averages of training, or standing ones of fresh batches",
            choices=(RUNNING, STANDING),
        ),
        "standing_batches": Option(16, "batches of standing statistics", least=1),
        "standing_batch_size": Option(
            min(batch_size, 256), "samples in each of these batches", least=1
        ),
    }

    def samples(play: Play, truncation: float | None, **statistics) -> jax.Array:
        del statistics  # they are in the network
        latent = truncated_normal(play.rng("latent"), play.num, latent_dim, truncation)
        return play.networks["generator"](latent, play.batch.get("label"), train=False)

    needs = () if classes is None else ("label",)
    return Output(samples, spec.shape, needs, options, partial(_prepare, latent_dim, classes))


def _prepare(
    latent_dim: int,
    classes: int | None,
    play: Play,
    truncation: float | None,
    batch_statistics: str,
    standing_batches: int,
    standing_batch_size: int,
) -> Mapping[str, Network]:
    """{"generator": with standing statistics}, or nothing for running ones."""
    if batch_statistics == RUNNING:
        return {}
    return {
        "generator": with_standing_statistics(
            play.networks["generator"],
            play.rng("standing statistics"),
            latent_dim,
            classes,
            standing_batches,
            standing_batch_size,
            truncation,
        )
    }


def with_standing_statistics(
    generator: Network,
    key: jax.Array,
    latent_dim: int,
    classes: int | None,
    batches: int,
    batch_size: int,
    truncation: float | None = None,
) -> Network:
    """The generator with the means over some batches of the mean and the variance of each batch.

    Args:
      generator: (latent, label or None, train) -> samples, with batch normalisation.
      key: random key of latents and labels.
      latent_dim: components of the latent.
      classes: labels are uniform over so many; None for an unconditional generator.
      batches, batch_size: number and size of the batches.
      truncation: of the latents, see `truncated_normal`.
    """

    def add(total, key):
        latent = truncated_normal(jax.random.fold_in(key, 0), batch_size, latent_dim, truncation)
        label = None
        if classes is not None:
            label = draws.randint(jax.random.fold_in(key, 1), (batch_size,), 0, classes)
        found = batch_statistics(generator, latent, label, train=True)
        return jax.tree.map(jnp.add, total, found), None

    zeros = jax.tree.map(jnp.zeros_like, generator["batch_stats"])
    total, _ = jax.lax.scan(add, zeros, jax.random.split(key, batches))
    return generator.replace(batch_stats=jax.tree.map(lambda x: x / batches, total))
