"""Quantities of GAN theory: the optimal critic, its value, and the bounds of f-GAN."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgan.divergences._check import (
    distributions,
    float32,
    nonnegative,
    same_shape,
    sample_weights,
)
from jaxgan.divergences.discrete import chi_square, hellinger, jensen_shannon, kl, reverse_kl


class OptimalCritic(NamedTuple):
    """The optimal critic of the original game.

    Attributes:
      probability: D*(x), from 0 to 1.
      logits: C*(x) = log D* / (1 - D*), the output before the sigmoid; infinite where one density is 0.
    """

    probability: jax.Array
    logits: jax.Array


def optimal_critic(p_real: jax.Array, p_fake: jax.Array) -> OptimalCritic:
    """The optimal critic for a fixed generator: D* = p_r / (p_r + p_g), C* = log p_r - log p_g.

    Args:
      p_real, p_fake: densities (or probabilities) at the same points, [...] of equal shape. They are
        not normalised.

    Returns:
      An `OptimalCritic` of float32 [...]. Where both densities are 0, D* is undefined and set to 1/2.

    Source: Goodfellow et al., Generative Adversarial Nets (2014), Proposition 1.

    >>> import jax.numpy as jnp
    >>> print(optimal_critic(jnp.array([0.8, 0.2]), jnp.array([0.2, 0.2])).probability)
    [0.8 0.5]
    """
    same_shape("p_real", p_real, "p_fake", p_fake)
    real, fake = nonnegative("p_real", p_real), nonnegative("p_fake", p_fake)
    nowhere = (real == 0) & (fake == 0)
    real, fake = (jnp.where(nowhere, 1.0, x) for x in (real, fake))
    # Of densities divided by the larger one, and as 1 / (1 + ratio): XLA computes p / (p + q) of divided numbers as
    # that of the numbers themselves, whose sum may overflow.
    larger, largest = real >= fake, jax.lax.stop_gradient(jnp.maximum(real, fake))
    p, q = real / largest, fake / largest
    of_real = jnp.where(larger, q, 0.0) / jnp.where(larger, p, 1.0)
    of_fake = jnp.where(larger, 0.0, p) / jnp.where(larger, 1.0, q)
    probability = jnp.where(larger, 1.0 / (1.0 + of_real), of_fake / (1.0 + of_fake))
    return OptimalCritic(probability, jnp.log(real) - jnp.log(fake))


def minimax_value(p_real: jax.Array, p_fake: jax.Array) -> jax.Array:
    """The value of the original game for the optimal critic: 2 JS(p_r, p_g) - 2 log 2.

        max_D E log D(x) + E log(1 - D(x'))

    It is -2 log 2, about -1.386, if the distributions are equal, and 0 if they have no common outcome.
    (The critic's loss, `losses.minimax.critic`, is minus the value.)

    Args:
      p_real, p_fake: weights [..., K] of equal shape, each divided by its sum; densities on an even
        grid, for instance.

    Returns:
      float32 [...], in nats.

    Source: Goodfellow et al., Generative Adversarial Nets (2014), Theorem 1.

    >>> import jax.numpy as jnp
    >>> print(minimax_value(jnp.array([0.5, 0.5]), jnp.array([0.5, 0.5])))
    -1.3862944
    """
    distributions("p_real", p_real, "p_fake", p_fake)  # for errors with these argument names
    return 2.0 * jensen_shannon(p_real, p_fake) - 2.0 * jnp.log(2.0)


class _Divergence(NamedTuple):
    """One row of f-GAN's tables.

    `exact` is D_f(P || Q), `activation` is g_f, `conjugate` is f*, `conjugate_of_activation` is f*(g_f(v)) in a
    form without cancellation, and `logits` is the optimal v, for which g_f(v) = f'(exp(log_ratio)).
    """

    exact: Callable[[jax.Array, jax.Array], jax.Array]
    activation: Callable[[jax.Array], jax.Array]
    conjugate: Callable[[jax.Array], jax.Array]
    conjugate_of_activation: Callable[[jax.Array], jax.Array]
    logits: Callable[[jax.Array], jax.Array]


_LOG_2 = 0.6931471805599453

_F_GAN = {
    "kl": _Divergence(
        exact=kl,
        activation=lambda v: v,
        conjugate=lambda t: jnp.exp(t - 1.0),
        conjugate_of_activation=lambda v: jnp.exp(v - 1.0),
        logits=lambda log_ratio: 1.0 + log_ratio,
    ),
    "reverse_kl": _Divergence(
        exact=reverse_kl,
        activation=lambda v: -jnp.exp(-v),
        conjugate=lambda t: -1.0 - jnp.log(-t),
        conjugate_of_activation=lambda v: v - 1.0,
        logits=lambda log_ratio: log_ratio,
    ),
    "pearson_chi_square": _Divergence(
        exact=chi_square,
        activation=lambda v: v,
        conjugate=lambda t: 0.25 * jnp.square(t) + t,
        conjugate_of_activation=lambda v: 0.25 * jnp.square(v) + v,
        logits=lambda log_ratio: 2.0 * jnp.expm1(log_ratio),
    ),
    "squared_hellinger": _Divergence(
        exact=lambda p, q: 2.0 * jnp.square(hellinger(p, q)),
        activation=lambda v: -jnp.expm1(-v),
        conjugate=lambda t: t / (1.0 - t),
        conjugate_of_activation=jnp.expm1,
        logits=lambda log_ratio: 0.5 * log_ratio,
    ),
    "jensen_shannon": _Divergence(
        exact=lambda p, q: 2.0 * jensen_shannon(p, q),
        activation=lambda v: _LOG_2 - jax.nn.softplus(-v),
        conjugate=lambda t: -jnp.log(2.0 - jnp.exp(t)),
        conjugate_of_activation=lambda v: jax.nn.softplus(v) - _LOG_2,
        logits=lambda log_ratio: log_ratio,
    ),
    "gan": _Divergence(
        exact=minimax_value,
        activation=lambda v: -jax.nn.softplus(-v),
        conjugate=lambda t: -jnp.log(-jnp.expm1(t)),
        conjugate_of_activation=jax.nn.softplus,
        logits=lambda log_ratio: log_ratio,
    ),
}
F_GAN_NAMES: tuple[str, ...] = tuple(_F_GAN)


def f_gan_divergence(name: str, p: jax.Array, q: jax.Array) -> jax.Array:
    """The f-divergence that `f_gan_bound` bounds: D_f(P || Q) = sum_k q_k f(p_k / q_k).

    With the paper's f, "kl", "reverse_kl" and "pearson_chi_square" are the functions `kl`, `reverse_kl` and
    `chi_square`; "squared_hellinger" is twice the square of `hellinger`, "jensen_shannon" is twice
    `jensen_shannon`, and "gan" is `minimax_value`.

    Args:
      name: one of `F_GAN_NAMES`.
      p, q: weights [..., K] of equal shape, each divided by its sum.

    Returns:
      float32 [...].

    Source: Nowozin et al., f-GAN (2016), Eq. 2 and Table 1.

    >>> import jax.numpy as jnp
    >>> print(f_gan_divergence("squared_hellinger", jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])))
    2.0
    """
    return _by_name(name).exact(p, q)


def f_gan_activation(name: str, logits: jax.Array) -> jax.Array:
    """The output activation g_f, which maps any number into the domain of f*.

    Args:
      name: one of `F_GAN_NAMES`.
      logits: v, the critic's output, [...].

    Returns:
      float32 [...], the variational function T = g_f(v).

    Source: Nowozin et al., f-GAN (2016), Table 2.

    >>> import jax.numpy as jnp
    >>> print(f_gan_activation("squared_hellinger", jnp.array([0.0, 100.0])))  # below 1
    [0. 1.]
    """
    return _by_name(name).activation(float32(logits))


def f_gan_conjugate(name: str, t: jax.Array) -> jax.Array:
    """The convex conjugate f*(t) = sup_u u t - f(u), NaN outside its domain.

    Args:
      name: one of `F_GAN_NAMES`.
      t: [...], in the range of `f_gan_activation`.

    Returns:
      float32 [...].

    Source: Nowozin et al., f-GAN (2016), Table 2.

    >>> import jax.numpy as jnp
    >>> print(f_gan_conjugate("pearson_chi_square", jnp.array([2.0, -4.0])))
    [3. 0.]
    """
    return _by_name(name).conjugate(float32(t))


def f_gan_bound(
    name: str,
    real_logits: jax.Array,
    fake_logits: jax.Array,
    real_weights: jax.Array | None = None,
    fake_weights: jax.Array | None = None,
) -> jax.Array:
    """A critic's lower bound of a divergence: E g_f(C(x)) - E f*(g_f(C(x'))), at most D_f(P_r || P_g).

    It equals the divergence for the critic of `f_gan_optimal_logits`. The critic maximises it, the generator
    minimises it; for "gan" it is minus `losses.minimax.critic`. The objectives "kl", "reverse_kl" and
    "squared_hellinger" contain exponentials, which overflow float32 for logits beyond 88.

    Args:
      name: one of `F_GAN_NAMES`.
      real_logits: C(x), [B] (or [B, ...], averaged over the other axes).
      fake_logits: C(x'), likewise; the batch may be of another size.
      real_weights: [B], divided by their sum, for means over known probabilities; equal ones if None.
        Examples of weight 0 have no effect, even if their logits are infinite.
      fake_weights: likewise.

    Returns:
      A float32 scalar.

    Source: Nowozin et al., f-GAN (2016), Eqs. 4 and 7, Table 2.

    >>> import jax.numpy as jnp
    >>> print(f_gan_bound("gan", jnp.zeros(4), jnp.zeros(4)))  # -2 log 2
    -1.3862944
    """
    divergence = _by_name(name)
    real, fake = float32(real_logits), float32(fake_logits)
    for argument, logits in (("real_logits", real), ("fake_logits", fake)):
        if logits.ndim == 0 or logits.size == 0:
            raise ValueError(
                f"{argument} has shape {logits.shape}, which is not a batch; give [B, ...] with B >= 1."
            )
    if real.shape[1:] != fake.shape[1:]:
        raise ValueError(
            f"real_logits have shape {real.shape} and fake_logits {fake.shape}; only the batch sizes "
            "may differ."
        )
    real_weights = sample_weights("real_weights", real_weights, real.shape[0])
    fake_weights = sample_weights("fake_weights", fake_weights, fake.shape[0])
    return _expectation(divergence.activation, real, real_weights) - _expectation(
        divergence.conjugate_of_activation, fake, fake_weights
    )


def f_gan_optimal_logits(name: str, p_real: jax.Array, p_fake: jax.Array) -> jax.Array:
    """The logits C* for which `f_gan_bound` equals the divergence: g_f(C*) = T* = f'(p_r / p_g).

    Args:
      name: one of `F_GAN_NAMES`.
      p_real, p_fake: densities (or probabilities) at the same points, [...] of equal shape, not
        normalised.

    Returns:
      float32 [...]; for "gan" the logits of `optimal_critic`. Infinite where one density is 0 (for
      "pearson_chi_square" -2 where p_real is).

    Source: Nowozin et al., f-GAN (2016), Eq. 5.

    >>> import jax.numpy as jnp
    >>> p, q = jnp.array([0.5, 0.5]), jnp.array([0.25, 0.75])
    >>> best = f_gan_optimal_logits("pearson_chi_square", p, q)
    >>> print(f"{f_gan_bound('pearson_chi_square', best, best, p, q):.5f} {chi_square(p, q):.5f}")
    0.33333 0.33333
    """
    return _by_name(name).logits(optimal_critic(p_real, p_fake).logits)


def _expectation(
    term: Callable[[jax.Array], jax.Array], logits: jax.Array, weights: jax.Array
) -> jax.Array:
    weights = weights.reshape(weights.shape + (1,) * (logits.ndim - 1))
    # Entries of weight 0 are masked before `term` as well as after it, as 0 times infinity is NaN.
    kept = jnp.broadcast_to(weights != 0, logits.shape)
    values = jnp.where(kept, term(jnp.where(kept, logits, 0.0)), 0.0)
    return jnp.sum(weights * values) * weights.size / logits.size


def _by_name(name: str) -> _Divergence:
    if name not in _F_GAN:
        close = difflib.get_close_matches(str(name), F_GAN_NAMES, n=1)
        hint = (
            f"did you mean '{close[0]}'?" if close else f"choose one of {', '.join(F_GAN_NAMES)}."
        )
        raise ValueError(f"there is no f-GAN divergence named '{name}'; {hint}")
    return _F_GAN[name]
