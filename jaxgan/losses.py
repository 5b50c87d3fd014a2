"""Adversarial objectives: pure functions of logits.

Each objective is a namespace with two functions, both to be minimised:

    losses.hinge.critic(real_logits, fake_logits, where=None)
    losses.hinge.generator(fake_logits, real_logits=None, where=None)

Notation. C(x) is the critic's output before any sigmoid, D(x) = sigmoid(C(x)), x a real sample, x'
= G(z) a generated one, E the mean.

Shapes. Logits are `[B]`, `[B, 1]`, maps of a patch critic `[B, h, w, 1]`, or a list or tuple of
such, one per scale of a multi-scale critic, over which the losses are averaged. Real and fake
batches may differ in size but not in their other axes: `[B]` against `[B, 1]` is refused, since
elsewhere it silently becomes `[B, B]`.

Masks. `where` is boolean, `[B]` (one entry per sample) or of the logits' own shape: the mean is
over the entries that it keeps, and the others, NaN included, touch neither value nor gradient. It
holds for real and fake alike. For several scales give `[B]` for all, or a list. A mask that keeps
nothing gives NaN, the mean of nothing.

All arithmetic is float32 and every result a float32 scalar, whatever the dtype of the logits.
Logarithms of D are softplus forms: log D = -softplus(-C), log(1 - D) = -softplus(C), finite for any
logit. `real_logits` of `generator` is there for objectives that compare the two; those in this file
ignore it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

Logits = jax.Array | Sequence[jax.Array]
Mask = jax.Array | Sequence[jax.Array] | None


class minimax:
    """The original two-player game: the generator minimises what the critic maximises.

    Its generator saturates: where the critic is sure that a sample is fake, the gradient vanishes.
    What most code calls "minimax" is `non_saturating`.

    Source: Goodfellow et al., Generative Adversarial Nets (2014), Eq. 1.

    >>> import jax.numpy as jnp
    >>> print(minimax.critic(jnp.zeros(4), jnp.zeros(4)))  # 2 log 2: the critic cannot tell
    1.3862944
    """

    @staticmethod
    def critic(real_logits: Logits, fake_logits: Logits, where: Mask = None) -> jax.Array:
        """-E log D(x) - E log(1 - D(x')) = E softplus(-C(x)) + E softplus(C(x'))."""
        return _pair_mean(
            lambda real: jax.nn.softplus(-real), jax.nn.softplus, real_logits, fake_logits, where
        )

    @staticmethod
    def generator(
        fake_logits: Logits, real_logits: Logits | None = None, where: Mask = None
    ) -> jax.Array:
        """E log(1 - D(x')) = -E softplus(C(x'))."""
        del real_logits
        return _mean(lambda fake: -jax.nn.softplus(fake), "fake_logits", fake_logits, where)


class non_saturating:
    """The objective that GANs are trained with: the critic of `minimax`, a generator that maximises
    log D.

    Source: Goodfellow et al., Generative Adversarial Nets (2014), end of Section 3.

    >>> import jax.numpy as jnp
    >>> print(non_saturating.generator(jnp.array([-1e4])))  # linear, where log(D + 1e-8) is flat
    10000.0
    """

    @staticmethod
    def critic(real_logits: Logits, fake_logits: Logits, where: Mask = None) -> jax.Array:
        """-E log D(x) - E log(1 - D(x')) = E softplus(-C(x)) + E softplus(C(x'))."""
        return minimax.critic(real_logits, fake_logits, where)

    @staticmethod
    def generator(
        fake_logits: Logits, real_logits: Logits | None = None, where: Mask = None
    ) -> jax.Array:
        """-E log D(x') = E softplus(-C(x'))."""
        del real_logits
        return _mean(lambda fake: jax.nn.softplus(-fake), "fake_logits", fake_logits, where)


class least_squares:
    """Regression of the raw logits to targets: a for fake, b for real, c for what the generator
    aims at.

    The defaults are the 0-1 coding of Eq. 9; a = -1, b = 1, c = 0 minimises the Pearson chi-square
    divergence (Eq. 8). Both terms of the critic and the generator's carry the paper's one half,
    which many implementations drop.

    Source: Mao et al., Least Squares Generative Adversarial Networks (2017), Eq. 2 and 9.

    >>> import jax.numpy as jnp
    >>> print(least_squares.critic(jnp.array([0.0]), jnp.array([2.0])))  # 1/2 (0-1)^2 + 1/2 (2-0)^2
    2.5
    """

    @staticmethod
    def critic(
        real_logits: Logits,
        fake_logits: Logits,
        where: Mask = None,
        *,
        a: float = 0.0,
        b: float = 1.0,
    ) -> jax.Array:
        """1/2 E (C(x) - b)^2 + 1/2 E (C(x') - a)^2."""
        return _pair_mean(
            lambda real: 0.5 * jnp.square(real - b),
            lambda fake: 0.5 * jnp.square(fake - a),
            real_logits,
            fake_logits,
            where,
        )

    @staticmethod
    def generator(
        fake_logits: Logits,
        real_logits: Logits | None = None,
        where: Mask = None,
        *,
        c: float = 1.0,
    ) -> jax.Array:
        """1/2 E (C(x') - c)^2."""
        del real_logits
        return _mean(lambda fake: 0.5 * jnp.square(fake - c), "fake_logits", fake_logits, where)


class wasserstein:
    """The dual form of the Wasserstein-1 distance, as far as the critic is 1-Lipschitz.

    Nothing here makes it so: clip its weights, penalise its gradient or normalise its kernels.

    Source: Arjovsky et al., Wasserstein GAN (2017), Eq. 2 and 3, with the signs of a loss.

    >>> import jax.numpy as jnp
    >>> print(wasserstein.critic(jnp.array([3.0]), jnp.array([1.0])))
    -2.0
    """

    @staticmethod
    def critic(real_logits: Logits, fake_logits: Logits, where: Mask = None) -> jax.Array:
        """E C(x') - E C(x)."""
        return _pair_mean(lambda real: -real, lambda fake: fake, real_logits, fake_logits, where)

    @staticmethod
    def generator(
        fake_logits: Logits, real_logits: Logits | None = None, where: Mask = None
    ) -> jax.Array:
        """-E C(x')."""
        del real_logits
        return _mean(lambda fake: -fake, "fake_logits", fake_logits, where)


class hinge:
    """A critic that stops caring about samples beyond the margin 1; the generator is Wasserstein's.

    Sources: Lim and Ye, Geometric GAN (2017); Miyato et al., Spectral Normalization for Generative
      Adversarial Networks (2018), Eq. 16 and 17.

    >>> import jax.numpy as jnp
    >>> print(hinge.critic(jnp.array([2.0, 0.5]), jnp.array([-3.0, 1.0])))  # 0.5/2 + 2/2
    1.25
    """

    @staticmethod
    def critic(real_logits: Logits, fake_logits: Logits, where: Mask = None) -> jax.Array:
        """E max(0, 1 - C(x)) + E max(0, 1 + C(x'))."""
        return _pair_mean(
            lambda real: jax.nn.relu(1.0 - real),
            lambda fake: jax.nn.relu(1.0 + fake),
            real_logits,
            fake_logits,
            where,
        )

    @staticmethod
    def generator(
        fake_logits: Logits, real_logits: Logits | None = None, where: Mask = None
    ) -> jax.Array:
        """-E C(x')."""
        del real_logits
        return _mean(lambda fake: -fake, "fake_logits", fake_logits, where)


_OBJECTIVES = {
    objective.__name__: objective
    for objective in (minimax, non_saturating, least_squares, wasserstein, hinge)
}
NAMES: tuple[str, ...] = tuple(_OBJECTIVES)


def by_name(name: str) -> type:
    """The objective called `name`, one of `NAMES`.

    >>> by_name("hinge") is hinge
    True
    """
    if name not in _OBJECTIVES:
        close = difflib.get_close_matches(str(name), NAMES, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"choose one of {', '.join(NAMES)}."
        raise ValueError(f"there is no loss named '{name}'; {hint}")
    return _OBJECTIVES[name]


def _mean(
    term: Callable[[jax.Array], jax.Array], name: str, logits: Logits, where: Mask
) -> jax.Array:
    """Mean of `term(logits)` over the entries that `where` keeps, then over the scales."""
    scales = _scales(name, logits)
    masks = _masks(where, scales, name)
    means = [_masked_mean(term, x, mask) for x, mask in zip(scales, masks, strict=True)]
    return sum(means[1:], start=means[0]) / len(means)


def _pair_mean(real_term, fake_term, real_logits: Logits, fake_logits: Logits, where: Mask):
    """`_mean` of both terms, after checking that the two shapes belong together."""
    real, fake = _scales("real_logits", real_logits), _scales("fake_logits", fake_logits)
    if len(real) != len(fake):
        raise ValueError(
            f"real_logits have {len(real)} scales and fake_logits {len(fake)}; "
            "give both as the same critic returned them."
        )
    for r, f in zip(real, fake, strict=True):
        if r.shape[1:] != f.shape[1:]:
            raise ValueError(
                f"real_logits have shape {r.shape} and fake_logits {f.shape}; only the batch sizes "
                "may differ, so squeeze or reshape one to match the other."
            )
    return _mean(real_term, "real_logits", real_logits, where) + _mean(
        fake_term, "fake_logits", fake_logits, where
    )


def _scales(name: str, logits: Logits) -> list[jax.Array]:
    """The logits as a list with one float32 array per scale."""
    scales = list(logits) if isinstance(logits, list | tuple) else [logits]
    if not scales:
        raise ValueError(f"{name} is an empty list; give at least one array of logits.")
    scales = [jnp.asarray(x).astype(jnp.float32) for x in scales]
    for x in scales:
        if x.ndim == 0 or x.size == 0:
            raise ValueError(
                f"{name} has shape {x.shape}, which holds no batch; "
                "give logits of shape [B], [B, 1] or [B, h, w, 1] with B >= 1."
            )
    return scales


def _masks(where: Mask, scales: list[jax.Array], name: str) -> list[jax.Array | None]:
    """One mask per scale, with as many axes as its logits."""
    if not isinstance(where, list | tuple):
        where = [where] * len(scales)
    if len(where) != len(scales):
        raise ValueError(
            f"where has {len(where)} masks for {len(scales)} scales of {name}; "
            "give one per scale, or a single [B] mask for all."
        )
    return [_mask(mask, x, name) for mask, x in zip(where, scales, strict=True)]


def _mask(mask: jax.Array | None, x: jax.Array, name: str) -> jax.Array | None:
    if mask is None:
        return None
    mask = jnp.asarray(mask)
    if mask.dtype != jnp.bool_:
        raise ValueError(
            f"where has dtype {mask.dtype}; give a boolean mask (True keeps an entry), not weights."
        )
    if mask.shape == x.shape[:1]:
        return mask.reshape(mask.shape + (1,) * (x.ndim - 1))
    if mask.shape == x.shape:
        return mask
    raise ValueError(
        f"where has shape {mask.shape} and {name} {x.shape}; "
        f"give a mask of shape {x.shape[:1]}, one entry per sample, or of the logits' own shape."
    )


def _masked_mean(term, x: jax.Array, mask: jax.Array | None) -> jax.Array:
    if mask is None:
        return jnp.mean(term(x))
    # Masked before the term as well as after it: 0 * NaN would poison the gradient.
    mask = jnp.broadcast_to(mask, x.shape)
    return jnp.mean(term(jnp.where(mask, x, 0.0)), where=mask)
