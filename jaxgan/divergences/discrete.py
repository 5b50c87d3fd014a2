"""Divergences of discrete distributions; `jaxgan.divergences` documents their conventions."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxgan.divergences._check import distributions, one_of, safe_root


def kl(p: jax.Array, q: jax.Array) -> jax.Array:
    """Kullback-Leibler divergence: sum_k p_k log(p_k / q_k).

    Infinite if q is 0 and p is not for an outcome.

    Args:
      p, q: weights [..., K] of equal shape, each divided by its sum.

    Returns:
      float32 [...], in nats.

    Source: Kullback and Leibler, On Information and Sufficiency (1951).

    >>> import jax.numpy as jnp
    >>> print(kl(jnp.array([1.0, 0.0]), jnp.array([0.5, 0.5])))  # log 2
    0.6931472
    >>> print(kl(jnp.array([0.5, 0.5]), jnp.array([1.0, 0.0])))
    inf
    """
    return _relative_entropy(*distributions("p", p, "q", q))


def reverse_kl(p: jax.Array, q: jax.Array) -> jax.Array:
    """Reverse Kullback-Leibler divergence, `kl(q, p)`: sum_k q_k log(q_k / p_k).

    With p real and q generated, `kl` penalises modes of p that q misses, and `reverse_kl` penalises samples of q
    that p does not contain.

    Args:
      p, q: weights [..., K] of equal shape, each divided by its sum.

    Returns:
      float32 [...], in nats.

    Source: as for `kl`.

    >>> import jax.numpy as jnp
    >>> print(reverse_kl(jnp.array([0.5, 0.5]), jnp.array([1.0, 0.0])))  # log 2: a dropped mode
    0.6931472
    """
    p, q = distributions("p", p, "q", q)
    return _relative_entropy(q, p)


def jensen_shannon(p: jax.Array, q: jax.Array, base: str = "nats") -> jax.Array:
    """Jensen-Shannon divergence: 1/2 KL(p || m) + 1/2 KL(q || m) with the mixture m = (p + q) / 2.

    Symmetric, never infinite, and at most log 2 nats or 1 bit. It has that maximum for any two
    distributions without a common outcome, whatever their distance, so it gives a generator no
    gradient there. Its root is a metric (SciPy's `jensenshannon` is that root).

    Args:
      p, q: weights [..., K] of equal shape, each divided by its sum.
      base: "nats" or "bits", the unit.

    Returns:
      float32 [...].

    Source: Lin, Divergence Measures Based on the Shannon Entropy (1991).

    >>> import jax.numpy as jnp
    >>> print(jensen_shannon(jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]), base="bits"))
    1.0
    """
    one_of("base", base, ("nats", "bits"))
    p, q = distributions("p", p, "q", q)
    mixture = 0.5 * (p + q)
    nats = 0.5 * (_relative_entropy(p, mixture) + _relative_entropy(q, mixture))
    return nats / jnp.log(2.0) if base == "bits" else nats


def total_variation(p: jax.Array, q: jax.Array) -> jax.Array:
    """Total variation distance: 1/2 sum_k |p_k - q_k|, the largest difference in the probability of an event.

    Args:
      p, q: weights [..., K] of equal shape, each divided by its sum.

    Returns:
      float32 [...], from 0 to 1.

    Source: Liese and Vajda, On Divergences and Informations in Statistics and Information Theory
      (2006).

    >>> import jax.numpy as jnp
    >>> print(total_variation(jnp.array([1.0, 0.0]), jnp.array([0.25, 0.75])))
    0.75
    """
    p, q = distributions("p", p, "q", q)
    return 0.5 * jnp.sum(jnp.abs(p - q), axis=-1)


def hellinger(p: jax.Array, q: jax.Array) -> jax.Array:
    """Hellinger distance: sqrt(1/2 sum_k (sqrt p_k - sqrt q_k)^2).

    This is the distance, not its square. The squared Hellinger divergence of f-GAN has no factor 1/2 and is
    twice the square of this distance. The gradient at p = q is 0.

    Args:
      p, q: weights [..., K] of equal shape, each divided by its sum.

    Returns:
      float32 [...], from 0 to 1.

    Source: Liese and Vajda, On Divergences and Informations in Statistics and Information Theory
      (2006).

    >>> import jax.numpy as jnp
    >>> print(hellinger(jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])))
    1.0
    """
    p, q = distributions("p", p, "q", q)
    return safe_root(0.5 * jnp.sum(jnp.square(safe_root(p) - safe_root(q)), axis=-1))


def chi_square(p: jax.Array, q: jax.Array) -> jax.Array:
    """Pearson's chi-square divergence: sum_k (p_k - q_k)^2 / q_k.

    The denominators are q, the expected frequencies. The divergence is infinite if q is 0 and p is not for an
    outcome. `chi_square(q, p)` is Neyman's.

    Args:
      p, q: weights [..., K] of equal shape, each divided by its sum.

    Returns:
      float32 [...].

    Source: Liese and Vajda, On Divergences and Informations in Statistics and Information Theory
      (2006).

    >>> import jax.numpy as jnp
    >>> print(chi_square(jnp.array([1.0, 0.0]), jnp.array([0.5, 0.5])))
    1.0
    """
    p, q = distributions("p", p, "q", q)
    terms = jnp.square(p - q) / jnp.where(q == 0, 1.0, q)
    return jnp.sum(jnp.where((p > 0) & (q == 0), jnp.inf, terms), axis=-1)


def _relative_entropy(p: jax.Array, q: jax.Array) -> jax.Array:
    # Computed as sum_k p log(p / q) - p + q, whose terms are 0 or more: rounding errors in p and q affect them in
    # second order only, which keeps the divergence of similar distributions accurate. The inner `where`s keep log 0
    # out of the gradient; the last one inserts the limits.
    both = (p > 0) & (q > 0)
    p_safe, q_safe = jnp.where(both, p, 1.0), jnp.where(both, q, 1.0)
    excess = (q_safe - p_safe) / p_safe
    near = jnp.abs(excess) < 0.5
    logs = jnp.where(
        near, -jnp.log1p(jnp.where(near, excess, 0.0)), jnp.log(p_safe) - jnp.log(q_safe)
    )
    limits = jnp.where((p > 0) & (q == 0), jnp.inf, p + q)
    return jnp.sum(jnp.where(both, p_safe * logs + (q_safe - p_safe), limits), axis=-1)
