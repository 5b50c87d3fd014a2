"""The controller of ADA: the probability as explicit state, adjusted by a measure of overfitting."""

from __future__ import annotations

import numbers
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgan.augment import _check

# The paper's targets of the two measures.
_TARGETS = {"r_t": 0.6, "r_v": 0.5}


class AdaState(NamedTuple):
    """State of ADA's controller: a tree of float32 scalars, part of a run's variables.

    Attributes:
      p: the probability of augmentation.
      overfitting: r_t (or r_v) when p was last adjusted; 0 before that.
      real: sum over real images since then of sign C(x), for r_v of C(x).
      validation: sum of C over validation images, for r_v.
      fake: sum of C over generated images, for r_v.
      images: number of real images since then.
      steps: number of updates since then.
    """

    p: jax.Array
    overfitting: jax.Array
    real: jax.Array
    validation: jax.Array
    fake: jax.Array
    images: jax.Array
    steps: jax.Array


def ada_start(p: float = 0.0) -> AdaState:
    """The controller's state at the start of training.

    >>> print(ada_start().p)
    0.0
    """
    _check.probability(p, "p")
    zero = jnp.zeros((), jnp.float32)
    return AdaState(jnp.asarray(p, jnp.float32), *[zero] * (len(AdaState._fields) - 1))


def ada_update(
    state: AdaState,
    real_logits: jax.Array,
    validation_logits: jax.Array | None = None,
    fake_logits: jax.Array | None = None,
    target: float | None = None,
    rise_kimg: float = 500.0,
    every: int = 4,
    images: int | None = None,
) -> AdaState:
    """One step of ADA's controller: p rises while the critic overfits and falls while it does not.

        r_t = E sign C(x),    r_v = (E C(x) - E C(x_v)) / (E C(x) - E C(x'))

    Means are over all images since p was last adjusted. After `every` steps p goes up by those images / (1000
    rise_kimg) if the measure is above its target, down by as much if below, and is clipped to [0, 1]. r_t is 1 if all
    logits of real images are positive. A step in which a mean is NaN or infinite does not count, so that one bad
    batch does not make p NaN; without any other step, p stays as it is. r_v is 1 if the logits of validation images
    x_v are like those of generated images x', and 0 if they are like those of training images.

    Args:
      state: result of `ada_start` or of this function.
      real_logits: C(x) of the augmented real images of the step: [B], [B, 1], or [B, h, w, 1] of a patch critic,
        which is averaged for each image.
      validation_logits: the same for augmented real images that are not used in training, [B', ...]. If given, the
        measure is r_v, otherwise r_t.
      fake_logits: the same for augmented generated images; needed for r_v and unused for r_t.
      target: target of the measure; None for the paper's, 0.6 for r_t and 0.5 for r_v.
      rise_kimg: thousands of real images in which p can rise from 0 to 1.
      every: number of steps between adjustments.
      images: number of real images of the step; None for the batch size of `real_logits`. With gradient accumulation,
        each micro-batch passes the number of the whole step, and the new state is the mean of the micro-batches'
        states. Its p is the mean of their adjustments, which can have different signs.

    Returns:
      The next state. No gradient flows into it.

    Source: Karras et al., Training Generative Adversarial Networks with Limited Data (2020), Section 3, Eq. 1.

    >>> state = ada_start()
    >>> for _ in range(4):
    ...     state = ada_update(state, jnp.ones(100), rise_kimg=1.0)
    >>> print(state.p, state.overfitting)
    0.4 1.0
    """
    _check_pace(every, rise_kimg)
    logits = _means(real_logits, "real_logits")
    batch = logits.shape[0] if images is None else images
    if batch < 1:
        raise ValueError(f"images is {batch}; a step has 1 or more real images.")
    measure = "r_t" if validation_logits is None else "r_v"
    means: tuple[Any, Any, Any]
    if measure == "r_t":
        means = jnp.mean(jnp.sign(logits)), 0.0, 0.0
    else:
        means = jnp.mean(logits), *_comparison_means(validation_logits, fake_logits)
    state = _accumulated(state, batch, *means)
    adjusted = _adjusted(state, measure, _TARGETS[measure] if target is None else target, rise_kimg)
    due = state.steps >= float(every)
    return jax.tree.map(lambda new, old: jnp.where(due, new, old), adjusted, state)


def _check_pace(every, rise_kimg) -> None:
    """Raises for invalid `every` or `rise_kimg`."""
    if not isinstance(every, numbers.Integral) or int(every) < 1:
        raise ValueError(f"every is {every}; p is adjusted every 1 or more steps.")
    if isinstance(rise_kimg, numbers.Real) and not float(rise_kimg) > 0:
        raise ValueError(
            f"rise_kimg is {rise_kimg}; give the thousands of images, above 0, in which p may rise to 1."
        )


def _comparison_means(validation_logits, fake_logits) -> tuple[jax.Array, jax.Array]:
    """E C(x_v) and E C(x') of the step's batches, for r_v."""
    if fake_logits is None:
        raise ValueError(
            "validation_logits are given without fake_logits; r_v needs both, r_t neither."
        )
    return (
        jnp.mean(_means(validation_logits, "validation_logits")),
        jnp.mean(_means(fake_logits, "fake_logits")),
    )


def _accumulated(state: AdaState, batch, real, validation, fake) -> AdaState:
    """The state with the sums after one more step of `batch` real images, given the step's means."""
    means = [jnp.asarray(mean, jnp.float32) for mean in (real, validation, fake)]
    counts = jnp.isfinite(jnp.stack(means)).all()
    weight = jnp.where(counts, jnp.asarray(batch, jnp.float32), 0.0)
    # All three sums are weighted by the number of real images, so that their ratios are means over the same steps.
    real, validation, fake = (weight * jnp.where(counts, mean, 0.0) for mean in means)
    return state._replace(
        real=state.real + real,
        validation=state.validation + validation,
        fake=state.fake + fake,
        images=state.images + weight,
        steps=state.steps + 1.0,
    )


def _means(logits, name):
    """One number for each image: float32 [B]."""
    logits = jax.lax.stop_gradient(jnp.asarray(logits))
    if logits.ndim == 0 or logits.size == 0:
        raise ValueError(
            f"{name} has shape {logits.shape}, which holds no batch; "
            "give logits of shape [B], [B, 1] or [B, h, w, 1] with B >= 1."
        )
    return jnp.mean(logits.reshape(logits.shape[0], -1).astype(jnp.float32), axis=1)


def _adjusted(state, measure, target, rise_kimg):
    empty = state.images == 0.0  # no step counts
    if measure == "r_t":
        overfitting = state.real / jnp.where(empty, 1.0, state.images)
    else:
        # If real and generated images have equal logits, r_v is not defined; the critic does not overfit.
        range_ = state.real - state.fake
        flat = range_ == 0.0
        overfitting = (state.real - state.validation) / jnp.where(flat, 1.0, range_)
        overfitting = jnp.where(flat, 0.0, overfitting)
    overfitting = jnp.where(empty, state.overfitting, overfitting)
    target, rise_kimg = jnp.asarray(target, jnp.float32), jnp.asarray(rise_kimg, jnp.float32)
    step = jnp.sign(overfitting - target) * state.images / (1000 * rise_kimg)
    return ada_start()._replace(p=jnp.clip(state.p + step, 0.0, 1.0), overfitting=overfitting)
