"""Moving averages of parameters, counted in images.

Decays are defined in images and not in steps, so averages do not depend on the batch size. An exponential average
(`ema_decay`) has a half-life. A power-function average (`power_decay`) has a width that is a share of the run; from
several of these, stored during the run, `posthoc_weights` and `posthoc_average` compute averages of other widths
afterwards. `ema_update` applies a decay of either kind.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_UNIFORM = math.sqrt(1 / 12)  # the standard deviation of a uniform variable on [0, 1], gamma = 0


def ema_decay(
    images: float | jax.Array,
    half_life_kimg: float | jax.Array,
    seen_kimg: float | jax.Array | None = None,
    ramp_up: float | None = None,
    start_kimg: float | jax.Array | None = None,
) -> jax.Array:
    """The decay of one update of an exponential average with a half-life of `half_life_kimg` thousand
    images.

        decay = 2^(-images / (1000 h)),    h = min(half_life_kimg, ramp_up seen_kimg)

    With `ramp_up`, the half-life is shorter early in the run, so that the initial parameters have little
    weight; the first decay is 0. With `start_kimg`, the decay is 0 before the start: until then the
    average is a copy of the parameters.

    Args:
      images: real images consumed since the last update, usually the batch size.
      half_life_kimg: half-life in thousands of images; 0 for no averaging (decay 0).
      seen_kimg: thousands of images consumed so far. Needed with `ramp_up` or `start_kimg`, ignored
        without.
      ramp_up: the half-life is at most this share of `seen_kimg` (StyleGAN2-ADA's is 0.05); None
        for no ramp.
      start_kimg: averaging starts when `seen_kimg` reaches this; None to average from the beginning. BigGAN's
        1000 iterations of 50 images are 50.

    Returns:
      The decay, a float32 scalar in [0, 1]. All numbers may be traced; whether they are None is static.

    Sources: Karras et al., Progressive Growing of GANs (2018), Appendix A.1, for the average; the
      reference code of Karras et al., Training Generative Adversarial Networks with Limited Data
      (2020), for half-life and ramp-up; that of Brock et al., Large Scale GAN Training for High
      Fidelity Natural Image Synthesis (2019), for the start.

    >>> print(ema_decay(500, half_life_kimg=0.5))
    0.5
    >>> print(ema_decay(500, half_life_kimg=10.0, seen_kimg=10.0, ramp_up=0.05))
    0.5
    """
    given = {"half_life_kimg": half_life_kimg, "ramp_up": ramp_up, "start_kimg": start_kimg}
    for name, value in given.items():
        if isinstance(value, numbers.Real) and value < 0:
            raise ValueError(f"{name} is {value}; give 0 or more.")
    for name in ("ramp_up", "start_kimg"):
        if given[name] is not None and seen_kimg is None:
            raise ValueError(
                f"{name} needs seen_kimg, the thousands of images seen so far; give both, or leave "
                f"{name} out."
            )
    half_life = jnp.asarray(half_life_kimg, jnp.float32)
    if ramp_up is not None:
        ramp = jnp.asarray(seen_kimg, jnp.float32) * jnp.asarray(ramp_up, jnp.float32)
        half_life = jnp.minimum(half_life, ramp)
    # The lower limit only prevents 0 / 0: 1e-8 kimg is a hundred-thousandth of an image.
    half_life_images = 1000.0 * jnp.maximum(half_life, 1e-8)
    decay = jnp.exp2(-jnp.asarray(images, jnp.float32) / half_life_images)
    if start_kimg is None:
        return decay
    started = jnp.asarray(seen_kimg, jnp.float32) >= jnp.asarray(start_kimg, jnp.float32)
    return jnp.where(started, decay, 0.0)


def ema_update(average: Any, new: Any, decay: float | jax.Array) -> Any:
    """decay * average + (1 - decay) * new, leaf by leaf.

    Floating-point leaves are averaged in float32 and returned in the dtype of the average's leaf;
    other leaves (counters, keys) are taken from `new`. A decay of 0 returns exactly `new`, a
    decay of 1 exactly `average`, even if the other holds NaN or infinity. Do not average spectral `u`
    vectors: the mean of two singular vectors is not a singular vector.

    Args:
      average, new: trees of equal structure and shapes.
      decay: a scalar, which may be traced.

    Returns:
      The new average, a tree with the dtypes of `average` (those of `new` for leaves that are not averaged).

    Raises:
      ValueError: the shapes of a leaf differ, or only one of its two values is floating point.

    >>> import jax.numpy as jnp
    >>> print(ema_update({"w": jnp.array([1.0])}, {"w": jnp.array([3.0])}, 0.75)["w"])
    [1.5]
    """
    decay = jnp.asarray(decay, jnp.float32)
    if decay.ndim:
        raise ValueError(f"decay has shape {decay.shape}; give one number for all leaves.")

    def update(path, old: jax.Array, latest: jax.Array) -> jax.Array:
        _check_alike(path, old, latest)
        if not jnp.issubdtype(latest.dtype, jnp.floating):
            return latest
        mixed = decay * old.astype(jnp.float32) + (1.0 - decay) * latest.astype(jnp.float32)
        # 0 times NaN or infinity is NaN.
        kept = jnp.where(decay == 1.0, old, mixed.astype(old.dtype))
        return jnp.where(decay == 0.0, latest.astype(old.dtype), kept)

    return jax.tree_util.tree_map_with_path(update, average, new)


def power_gamma(sigma_rel: float) -> float:
    """The exponent of the power function whose standard deviation is `sigma_rel` times the length of the run.

    The average at time t gives the parameters of time tau in [0, t] the weight

        p(tau) = (gamma + 1) tau^gamma / t^(gamma + 1),

    which has the relative standard deviation sqrt((gamma + 1) / (gamma + 3)) / (gamma + 2). So gamma is
    the largest root of gamma^3 + 7 gamma^2 + (16 - sigma_rel^-2) gamma + 12 - sigma_rel^-2 = 0.

    Args:
      sigma_rel: in (0, 1 / sqrt(12)], for example 0.05 or 0.10; the maximum gives all times equal weight.

    Returns:
      gamma, at least 0: 16.97 for 0.05, 6.94 for 0.10.

    Source: Karras et al., Analyzing and Improving the Training Dynamics of Diffusion Models (2024),
      Section 3 and Algorithm 2.

    >>> round(power_gamma(0.10), 2)
    6.94
    """
    if not 0 < sigma_rel <= _UNIFORM * (1 + 1e-9):
        raise ValueError(
            f"sigma_rel is {sigma_rel}; give a number above 0, up to 0.2886, the value for a "
            "uniform average of the whole run."
        )
    square = sigma_rel**-2
    roots = np.roots([1.0, 7.0, 16.0 - square, 12.0 - square])
    return max(0.0, float(roots.real.max()))


def power_decay(
    images: float | jax.Array, seen_kimg: float | jax.Array, sigma_rel: float
) -> jax.Array:
    """The decay of one update of a power-function average.

        decay = (1 - images / (1000 seen_kimg))^(gamma + 1)

    The first decay is 0, so the initial parameters have no weight. The width relative to the images
    consumed so far is constant.

    Args:
      images: real images consumed since the last update, usually the batch size.
      seen_kimg: thousands of images consumed so far, including `images`.
      sigma_rel: relative width, as for `power_gamma`; static.

    Returns:
      The decay, a float32 scalar in [0, 1], for `ema_update`.

    Source: Karras et al., Analyzing and Improving the Training Dynamics of Diffusion Models (2024),
      Section 3: beta_gamma(t) = (1 - 1/t)^(gamma + 1), t there in steps.

    >>> print(power_decay(500, seen_kimg=1.0, sigma_rel=12**-0.5))  # the mean of two
    0.5
    """
    exponent = power_gamma(sigma_rel) + 1.0
    images = jnp.asarray(images, jnp.float32)
    # `images` is at most the number seen; if both are 0 the decay is 1.
    seen = jnp.maximum(1000.0 * jnp.asarray(seen_kimg, jnp.float32), images)
    share = images / jnp.where(seen > 0.0, seen, 1.0)
    # In the first update the share is 1, whatever the rounding of kimg.
    share = jnp.where(share > 1.0 - 1e-6, 1.0, share)
    return (1.0 - share) ** exponent


def posthoc_weights(
    stored: Sequence[tuple[float, float]], seen_kimg: float, sigma_rel: float
) -> np.ndarray:
    """Weights of stored power-function averages whose weighted sum approximates another such average.

    They are the least-squares fit, over all times, of the requested profile p by the stored profiles p_i:
    the solution of

        sum_j <p_i, p_j> x_j = <p_i, p>,
        <p_a, p_b> = (g_a + 1) (g_b + 1) / (g_a + g_b + 1) * (t_a / t_b)^g_b / t_b    for t_a <= t_b,

    where g are the exponents and t the times. If averages of two widths (the paper's are 0.05 and 0.10)
    are stored at a few dozen times of a run, all widths between these and slightly beyond can be fitted.

    Args:
      stored: (seen_kimg, sigma_rel) of each stored average, without duplicates.
      seen_kimg: time of the requested average, at most the largest of the stored.
      sigma_rel: relative width of the requested average.

    Returns:
      A float64 NumPy array [len(stored)], for `posthoc_average`; its sum is about 1.

    Source: Karras et al., Analyzing and Improving the Training Dynamics of Diffusion Models (2024),
      Section 3.2 and Algorithm 3.

    >>> posthoc_weights([(1.0, 0.1), (2.0, 0.1), (2.0, 0.05)], 2.0, 0.1).round(3) + 0.0
    array([0., 1., 0.])
    """
    if not stored:
        raise ValueError("stored is empty; give (seen_kimg, sigma_rel) of each stored average.")
    if len(set(map(tuple, stored))) < len(stored):
        raise ValueError(
            "Two stored averages have the same seen_kimg and sigma_rel; remove one of them."
        )
    times = np.array([t for t, _ in stored], np.float64)
    if times.min() <= 0 or not 0 < seen_kimg <= times.max():
        raise ValueError(
            f"seen_kimg is {seen_kimg} and the stored averages are from {times.min()} to {times.max()}; "
            "all must be above 0, and seen_kimg not after the last stored average."
        )
    gammas = np.array([power_gamma(sigma) for _, sigma in stored])
    gram = _inner(times[:, None], gammas[:, None], times[None, :], gammas[None, :])
    wanted = _inner(times, gammas, np.float64(seen_kimg), power_gamma(sigma_rel))
    # Scaled to unit diagonal, because early averages have large profiles and would dominate late ones.
    scale = 1.0 / np.sqrt(np.diag(gram))
    fit = np.linalg.lstsq(gram * scale[:, None] * scale[None, :], wanted * scale, rcond=None)[0]
    return fit * scale


def posthoc_average(stored: Sequence[Any], weights: Sequence[float] | np.ndarray) -> Any:
    """sum_i weights[i] stored[i], leaf by leaf: a new average from stored averages.

    Floating-point leaves are summed in float32 and returned in their dtype; other leaves (counters,
    keys) are those of the last tree.

    Args:
      stored: trees of equal structure, shapes and dtypes; ValueError for a leaf whose shapes differ.
      weights: one weight per tree, from `posthoc_weights`.

    Returns:
      A tree of the same structure, shapes and dtypes.

    Source: as for `posthoc_weights`.

    >>> import jax.numpy as jnp
    >>> print(posthoc_average([{"w": jnp.array([1.0])}, {"w": jnp.array([3.0])}], [-0.5, 1.5])["w"])
    [4.]
    """
    if len(stored) != len(weights) or len(stored) == 0:
        raise ValueError(
            f"{len(stored)} stored averages and {len(weights)} weights; give one weight for each, "
            "and at least one of both."
        )

    def combine(path, *leaves: jax.Array) -> jax.Array:
        last = leaves[-1]
        for leaf in leaves:
            _check_alike(path, leaf, last)
        if not jnp.issubdtype(last.dtype, jnp.floating):
            return last
        parts = (
            jnp.float32(w) * x.astype(jnp.float32) for w, x in zip(weights, leaves, strict=True)
        )
        return jnp.asarray(sum(parts)).astype(last.dtype)

    return jax.tree_util.tree_map_with_path(combine, *stored)


def _check_alike(path, old: jax.Array, latest: jax.Array) -> None:
    """Raises unless both have the same shape, and both or neither are floating point."""
    name = jax.tree_util.keystr(path) or "the array"
    if jnp.shape(old) != jnp.shape(latest):
        raise ValueError(
            f"{name} has shape {jnp.shape(old)} in the average and {jnp.shape(latest)} in the new values; "
            "average networks of one architecture only."
        )
    floats = [jnp.issubdtype(jnp.result_type(x), jnp.floating) for x in (old, latest)]
    if floats[0] != floats[1]:
        raise ValueError(
            f"{name} is {jnp.result_type(old)} in the average and {jnp.result_type(latest)} in the new values; "
            "make both floating point, or neither."
        )


def _inner(t_a, gamma_a, t_b, gamma_b):
    """The integral of the product of two profiles, up to the earlier of their end times."""
    exponent = np.where(t_a < t_b, gamma_b, -gamma_a)
    height = (gamma_a + 1) * (gamma_b + 1) / (gamma_a + gamma_b + 1)
    return height * (t_a / t_b) ** exponent / np.maximum(t_a, t_b)
