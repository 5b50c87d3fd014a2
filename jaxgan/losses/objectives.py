"""The adversarial objectives; see `jaxgan.losses` for their common conventions."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jaxgan.losses._reduce import (
    Logits,
    Mask,
    Term,
    as_pair,
    masked_mean,
    masks,
    mean,
    over_scales,
    pair_mean,
)


class Objective(Protocol):
    """The interface of the objectives: both losses, and whether the generator's loss needs the real logits."""

    compares: bool
    critic: Callable[..., jax.Array]
    generator: Callable[..., jax.Array]


class minimax:
    """The original two-player game: the generator minimises the value that the critic maximises.

    The generator's loss saturates: its gradient vanishes for samples with D(x') close to 0. Most code
    that calls its loss "minimax" uses `non_saturating`.

    Source: Goodfellow et al., Generative Adversarial Nets (2014), Eq. 1.

    >>> import jax.numpy as jnp
    >>> print(minimax.critic(jnp.zeros(4), jnp.zeros(4)))  # 2 log 2: the critic cannot tell
    1.3862944
    """

    compares = False

    @staticmethod
    def critic(real_logits: Logits, fake_logits: Logits, where: Mask = None) -> jax.Array:
        """-E log D(x) - E log(1 - D(x')) = E softplus(-C(x)) + E softplus(C(x'))."""
        return pair_mean(
            lambda real: jax.nn.softplus(-real), jax.nn.softplus, real_logits, fake_logits, where
        )

    @staticmethod
    def generator(
        fake_logits: Logits, real_logits: Logits | None = None, where: Mask = None
    ) -> jax.Array:
        """E log(1 - D(x')) = -E softplus(C(x'))."""
        del real_logits
        return mean(lambda fake: -jax.nn.softplus(fake), "fake_logits", fake_logits, where)


class non_saturating:
    """The usual GAN objective: the critic's loss of `minimax`, and a generator that maximises log D.

    Source: Goodfellow et al., Generative Adversarial Nets (2014), end of Section 3.

    >>> import jax.numpy as jnp
    >>> print(non_saturating.generator(jnp.array([-1e4])))  # linear, where log(D + 1e-8) is flat
    10000.0
    """

    compares = False

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
        return mean(lambda fake: jax.nn.softplus(-fake), "fake_logits", fake_logits, where)


class least_squares:
    """Regression of the raw logits to targets: a for fake, b for real, c for the generator's loss.

    The defaults are the 0-1 coding of Eq. 9; a = -1, b = 1, c = 0 minimises the Pearson chi-square
    divergence (Eq. 8). All three terms have the paper's factor 1/2, which many implementations omit.

    Source: Mao et al., Least Squares Generative Adversarial Networks (2017), Eq. 2 and 9.

    >>> import jax.numpy as jnp
    >>> print(least_squares.critic(jnp.array([0.0]), jnp.array([2.0])))  # 1/2 (0-1)^2 + 1/2 (2-0)^2
    2.5
    """

    compares = False

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
        fake_target, real_target = jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)
        return pair_mean(
            lambda real: 0.5 * jnp.square(real - real_target),
            lambda fake: 0.5 * jnp.square(fake - fake_target),
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
        target = jnp.asarray(c, jnp.float32)
        return mean(lambda fake: 0.5 * jnp.square(fake - target), "fake_logits", fake_logits, where)


class wasserstein:
    """The dual form of the Wasserstein-1 distance, for a 1-Lipschitz critic.

    The loss does not enforce this: clip the critic's weights, penalise its gradient or normalise its kernels.

    Source: Arjovsky et al., Wasserstein GAN (2017), Eq. 2 and 3, with the signs of a loss.

    >>> import jax.numpy as jnp
    >>> print(wasserstein.critic(jnp.array([3.0]), jnp.array([1.0])))
    -2.0
    """

    compares = False

    @staticmethod
    def critic(real_logits: Logits, fake_logits: Logits, where: Mask = None) -> jax.Array:
        """E C(x') - E C(x)."""
        return pair_mean(lambda real: -real, lambda fake: fake, real_logits, fake_logits, where)

    @staticmethod
    def generator(
        fake_logits: Logits, real_logits: Logits | None = None, where: Mask = None
    ) -> jax.Array:
        """-E C(x')."""
        del real_logits
        return mean(lambda fake: -fake, "fake_logits", fake_logits, where)


class hinge:
    """The hinge loss: samples beyond the margin 1 do not affect the critic's loss; the generator's is Wasserstein's.

    Sources: Lim and Ye, Geometric GAN (2017); Miyato et al., Spectral Normalization for Generative
      Adversarial Networks (2018), Eq. 16 and 17.

    >>> import jax.numpy as jnp
    >>> print(hinge.critic(jnp.array([2.0, 0.5]), jnp.array([-3.0, 1.0])))  # 0.5/2 + 2/2
    1.25
    """

    compares = False

    @staticmethod
    def critic(real_logits: Logits, fake_logits: Logits, where: Mask = None) -> jax.Array:
        """E max(0, 1 - C(x)) + E max(0, 1 + C(x'))."""
        return pair_mean(
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
        return mean(lambda fake: -fake, "fake_logits", fake_logits, where)


class relativistic_paired:
    """The critic compares each real sample with one generated sample.

    Real and fake batches are paired in order, so their shapes must be equal. For a conditional critic
    the two samples of a pair must have the same condition. A patch critic's maps are paired by entry.

    Sources: Jolicoeur-Martineau, The Relativistic Discriminator (2018), Section 4.1 (RSGAN); Huang
      et al., The GAN is Dead; Long Live the GAN! A Modern GAN Baseline (2024), Section 2 (RpGAN),
      which adds R1 and R2.

    >>> import jax.numpy as jnp
    >>> print(relativistic_paired.critic(jnp.array([2.0, 0.0]), jnp.array([2.0, 0.0])))  # log 2
    0.6931472
    """

    compares = True

    @staticmethod
    def critic(real_logits: Logits, fake_logits: Logits, where: Mask = None) -> jax.Array:
        """E softplus(-(C(x) - C(x')))."""
        differences = _differences(real_logits, fake_logits)
        return mean(lambda d: jax.nn.softplus(-d), "real_logits", differences, where)

    @staticmethod
    def generator(
        fake_logits: Logits, real_logits: Logits | None = None, where: Mask = None
    ) -> jax.Array:
        """E softplus(-(C(x') - C(x)))."""
        differences = _differences(real_logits, fake_logits)
        return mean(jax.nn.softplus, "fake_logits", differences, where)


class relativistic_average:
    """Each sample is compared with the average logit of the other kind; both losses use real and generated samples.

    Source: Jolicoeur-Martineau, The Relativistic Discriminator (2018), Section 4.3 (RaSGAN).

    >>> import jax.numpy as jnp
    >>> print(relativistic_average.critic(jnp.array([1.0]), jnp.array([1.0])))  # 2 log 2
    1.3862944
    """

    compares = True

    @staticmethod
    def critic(real_logits: Logits, fake_logits: Logits, where: Mask = None) -> jax.Array:
        """E softplus(-(C(x) - E C(x'))) + E softplus(C(x') - E C(x))."""
        return _against_averages(
            lambda real: jax.nn.softplus(-real),
            jax.nn.softplus,
            "relativistic_average",
            real_logits,
            fake_logits,
            where,
        )

    @staticmethod
    def generator(
        fake_logits: Logits, real_logits: Logits | None = None, where: Mask = None
    ) -> jax.Array:
        """E softplus(C(x) - E C(x')) + E softplus(-(C(x') - E C(x)))."""
        return _against_averages(
            jax.nn.softplus,
            lambda fake: jax.nn.softplus(-fake),
            "relativistic_average",
            real_logits,
            fake_logits,
            where,
        )


class relativistic_average_least_squares:
    """`relativistic_average` with squared errors: real logits are regressed to the average fake logit
    plus 1, fake logits to the average real logit minus 1. Without the factors 1/2 of `least_squares`, as in the paper.

    Source: Jolicoeur-Martineau, The Relativistic Discriminator (2018), Appendix D (RaLSGAN).

    >>> import jax.numpy as jnp
    >>> print(relativistic_average_least_squares.critic(jnp.array([1.0]), jnp.array([0.0])))
    0.0
    """

    compares = True

    @staticmethod
    def critic(real_logits: Logits, fake_logits: Logits, where: Mask = None) -> jax.Array:
        """E (C(x) - E C(x') - 1)^2 + E (C(x') - E C(x) + 1)^2."""
        return _against_averages(
            lambda real: jnp.square(real - 1.0),
            lambda fake: jnp.square(fake + 1.0),
            "relativistic_average_least_squares",
            real_logits,
            fake_logits,
            where,
        )

    @staticmethod
    def generator(
        fake_logits: Logits, real_logits: Logits | None = None, where: Mask = None
    ) -> jax.Array:
        """E (C(x) - E C(x') + 1)^2 + E (C(x') - E C(x) - 1)^2."""
        return _against_averages(
            lambda real: jnp.square(real + 1.0),
            lambda fake: jnp.square(fake - 1.0),
            "relativistic_average_least_squares",
            real_logits,
            fake_logits,
            where,
        )


class relativistic_average_hinge:
    """`relativistic_average` with hinge losses: a margin of 1 above and below the average logit of the other kind.

    Source: Jolicoeur-Martineau, The Relativistic Discriminator (2018), Appendix D (RaHingeGAN).

    >>> import jax.numpy as jnp
    >>> print(relativistic_average_hinge.critic(jnp.array([3.0]), jnp.array([0.5])))
    0.0
    """

    compares = True

    @staticmethod
    def critic(real_logits: Logits, fake_logits: Logits, where: Mask = None) -> jax.Array:
        """E max(0, 1 - (C(x) - E C(x'))) + E max(0, 1 + (C(x') - E C(x)))."""
        return _against_averages(
            lambda real: jax.nn.relu(1.0 - real),
            lambda fake: jax.nn.relu(1.0 + fake),
            "relativistic_average_hinge",
            real_logits,
            fake_logits,
            where,
        )

    @staticmethod
    def generator(
        fake_logits: Logits, real_logits: Logits | None = None, where: Mask = None
    ) -> jax.Array:
        """E max(0, 1 + (C(x) - E C(x'))) + E max(0, 1 - (C(x') - E C(x)))."""
        return _against_averages(
            lambda real: jax.nn.relu(1.0 + real),
            lambda fake: jax.nn.relu(1.0 - fake),
            "relativistic_average_hinge",
            real_logits,
            fake_logits,
            where,
        )


def _against_averages(
    real_term: Term,
    fake_term: Term,
    objective: str,
    real_logits: Logits | None,
    fake_logits: Logits,
    where: Mask,
) -> jax.Array:
    """E real_term(C(x) - E C(x')) + E fake_term(C(x') - E C(x)), scale by scale."""
    real, fake = _compared(objective, real_logits, fake_logits)
    real_masks, fake_masks = masks(where, real, "real_logits"), masks(where, fake, "fake_logits")
    values = []
    for r, f, keep_r, keep_f in zip(real, fake, real_masks, fake_masks, strict=True):
        average_r, average_f = masked_mean(r, keep_r), masked_mean(f, keep_f)
        values.append(
            masked_mean(r - average_f, keep_r, real_term)
            + masked_mean(f - average_r, keep_f, fake_term)
        )
    return over_scales(values)


def _differences(real_logits: Logits | None, fake_logits: Logits) -> list[jax.Array]:
    """C(x) - C(x') of each pair, scale by scale."""
    real, fake = _compared("relativistic_paired", real_logits, fake_logits)
    for r, f in zip(real, fake, strict=True):
        if r.shape != f.shape:
            raise ValueError(
                f"relativistic_paired compares real and fake samples in pairs, but real_logits have "
                f"shape {r.shape} and fake_logits {f.shape}; make the shapes equal."
            )
    return [r - f for r, f in zip(real, fake, strict=True)]


def _compared(objective: str, real_logits: Logits | None, fake_logits: Logits):
    if real_logits is None:
        raise ValueError(
            f"{objective}.generator compares generated samples with real ones; give it real_logits, "
            "the critic's logits on real samples."
        )
    return as_pair(real_logits, fake_logits)


_OBJECTIVES: dict[str, Any] = {
    objective.__name__: objective
    for objective in (
        minimax,
        non_saturating,
        least_squares,
        wasserstein,
        hinge,
        relativistic_paired,
        relativistic_average,
        relativistic_average_least_squares,
        relativistic_average_hinge,
    )
}
NAMES: tuple[str, ...] = tuple(_OBJECTIVES)


def by_name(name: str) -> Objective:
    """The objective called `name`, one of `NAMES`.

    >>> by_name("hinge") is hinge
    True
    """
    if name not in _OBJECTIVES:
        close = difflib.get_close_matches(str(name), NAMES, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"choose one of {', '.join(NAMES)}."
        raise ValueError(f"there is no loss named '{name}'; {hint}")
    return _OBJECTIVES[name]
