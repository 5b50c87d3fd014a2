"""Penalties on the logits of a critic: consistency, LeCam and top-k."""

from __future__ import annotations

import numbers
from typing import NamedTuple

import jax
import jax.numpy as jnp


def consistency(logits: jax.Array, augmented_logits: jax.Array) -> jax.Array:
    """CR: mean squared change of the logits under an augmentation, E (C(x) - C(T(x)))^2.

    On real samples this is CR-GAN's penalty. T is a random augmentation under which the critic's output
    should not change, such as a flip or a shift by a few pixels (`jaxgan.augment`).

    Args:
      logits, augmented_logits: logits of the same samples in the same order, of equal shape.

    Returns:
      The unscaled penalty, a float32 scalar. The paper's weight is 10.

    Source: Zhang et al., Consistency Regularization for Generative Adversarial Networks (2020),
      Algorithm 1.

    >>> import jax.numpy as jnp
    >>> print(consistency(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0])))
    2.0
    """
    logits, augmented_logits = _as_pair("logits", logits, "augmented_logits", augmented_logits)
    return jnp.mean(jnp.square(logits - augmented_logits))


def balanced_consistency(
    real_logits: jax.Array,
    augmented_real_logits: jax.Array,
    fake_logits: jax.Array,
    augmented_fake_logits: jax.Array,
) -> jax.Array:
    """bCR: the sum of `consistency` on real samples and on generated samples.

    Without the second term, the generator learns the artefacts of T. In the paper both weights are 10; for
    different weights, add two calls of `consistency`.

    Source: Zhao et al., Improved Consistency Regularization for GANs (2021), Algorithm 1.

    >>> import jax.numpy as jnp
    >>> a, b = jnp.zeros(2), jnp.ones(2)
    >>> print(balanced_consistency(a, b, b, 3 * b))
    5.0
    """
    real = _as_pair("real_logits", real_logits, "augmented_real_logits", augmented_real_logits)
    fake = _as_pair("fake_logits", fake_logits, "augmented_fake_logits", augmented_fake_logits)
    return consistency(*real) + consistency(*fake)


class latent_consistency:
    """zCR: small steps in the latent should not change the critic's output, but should change the generator's.

    For latents z and z + delta, for example with delta ~ N(0, 0.03^2). Each player adds its own penalty.

    Source: Zhao et al., Improved Consistency Regularization for GANs (2021), Algorithm 2.
    """

    @staticmethod
    def critic(fake_logits: jax.Array, perturbed_logits: jax.Array) -> jax.Array:
        """E (C(G(z)) - C(G(z + delta)))^2. The paper's weight is 5.

        >>> import jax.numpy as jnp
        >>> print(latent_consistency.critic(jnp.zeros(2), jnp.array([0.0, 2.0])))
        2.0
        """
        pair = _as_pair("fake_logits", fake_logits, "perturbed_logits", perturbed_logits)
        return consistency(*pair)

    @staticmethod
    def generator(fake: jax.Array, perturbed: jax.Array) -> jax.Array:
        """-E ||G(z) - G(z + delta)||^2 / (H W C), for samples [B, ...]. The paper's weight is 0.5.

        >>> import jax.numpy as jnp
        >>> print(latent_consistency.generator(jnp.zeros((2, 1)), jnp.array([[0.0], [2.0]])))
        -2.0
        """
        fake, perturbed = _as_pair("fake", fake, "perturbed", perturbed)
        return -jnp.mean(jnp.square(fake - perturbed))


class LeCam(NamedTuple):
    """The state of `lecam`: decayed sums of mean logits, and the sum of their weights."""

    real: jax.Array
    fake: jax.Array
    weight: jax.Array

    @classmethod
    def init(cls) -> LeCam:
        """The initial state."""
        return cls(*(jnp.zeros((), jnp.float32) for _ in range(3)))


def lecam(
    real_logits: jax.Array,
    fake_logits: jax.Array,
    state: LeCam,
    decay: float = 0.99,
    one_sided: bool = False,
) -> tuple[jax.Array, LeCam]:
    """Penalty for the distance of real and fake logits from the running mean of the other kind.

        E (C(x) - a_F)^2 + E (C(x') - a_R)^2

    a_R and a_F are exponential moving averages of the mean logits of real and generated samples. They
    include this batch and have no gradient. They are divided by the sum of their weights (as Adam's
    moments are), so that the first averages are not biased towards 0. With the Wasserstein objective the
    penalised optimum is a LeCam divergence. The penalty helps with little data. If a mean is NaN or infinite, the
    averages stay as they are, so that only this penalty is NaN and not all later ones.

    Args:
      real_logits, fake_logits: [B] or any other shape; the batch sizes may differ.
      state: `LeCam.init()`, then the state that the last call returned.
      decay: decay of the averages per call.
      one_sided: penalise only real logits above a_F and generated ones below a_R, as in the authors' code.

    Returns:
      (the unscaled penalty, the new state), float32 scalars. The weight is 0.3 on CIFAR-10. Use weight 0
      for the first few hundred steps, until the averages are reliable.

    Source: Tseng et al., Regularizing Generative Adversarial Networks under Limited Data (2021),
      Section 3.

    >>> import jax.numpy as jnp
    >>> penalty, state = lecam(jnp.array([2.0]), jnp.array([-1.0]), LeCam.init())
    >>> print(penalty)  # (2 + 1)^2 + (-1 - 2)^2
    18.0
    """
    real, fake = _logits("real_logits", real_logits), _logits("fake_logits", fake_logits)
    if isinstance(decay, numbers.Real) and not 0 <= decay < 1:
        raise ValueError(f"decay is {decay}; give 0 (no memory) or more, and less than 1.")
    new = 1.0 - jnp.asarray(decay, jnp.float32)
    means = LeCam(jnp.mean(real), jnp.mean(fake), jnp.float32(1.0))
    usable = jnp.isfinite(means.real) & jnp.isfinite(means.fake)
    state = jax.tree.map(
        lambda old, mean: jax.lax.stop_gradient(
            jnp.where(usable, old + new * (mean - old), jnp.asarray(old, jnp.float32))
        ),
        state,
        means,
    )
    over_fake = real - state.fake / state.weight
    under_real = state.real / state.weight - fake
    if one_sided:
        over_fake, under_real = jax.nn.relu(over_fake), jax.nn.relu(under_real)
    return jnp.mean(jnp.square(over_fake)) + jnp.mean(jnp.square(under_real)), state


def top_k(fake_logits: jax.Array, k: int | jax.Array) -> jax.Array:
    """The k generated samples with the largest logits, as a mask for the argument `where` of a loss.

        losses.hinge.generator(fake_logits, where=penalties.top_k(fake_logits, k))

    Late in training, the critic's gradients on the worst samples point away from the data; excluding these
    samples from the generator's loss helps. The paper starts with k = B and multiplies k by 0.99 per
    epoch, down to B / 2.

    Args:
      fake_logits: [B] or [B, 1].
      k: number of samples to keep, 1 to B; may be traced, so that a new value does not recompile.

    Returns:
      Boolean [B], True for the k largest logits; of equal logits the first ones are kept.

    Source: Sinha et al., Top-k Training of GANs: Improving GAN Performance by Throwing Away Bad
      Samples (2020), Section 3.

    >>> import jax.numpy as jnp
    >>> print(top_k(jnp.array([0.5, -1.0, 2.0]), 2))
    [ True False  True]
    """
    logits = _logits("fake_logits", fake_logits)
    if logits.shape not in ((logits.shape[0],), (logits.shape[0], 1)):
        raise ValueError(
            f"fake_logits has shape {logits.shape}; top_k needs one number per sample, [B] or "
            "[B, 1] (average a patch critic's map first)."
        )
    batch = logits.shape[0]
    if isinstance(k, numbers.Integral) and not 1 <= k <= batch:
        raise ValueError(f"k is {k} for a batch of {batch}; keep 1 to {batch} samples.")
    order = jnp.argsort(-jax.lax.stop_gradient(logits.reshape(batch)), stable=True)
    rank = jnp.zeros(batch, jnp.int32).at[order].set(jnp.arange(batch, dtype=jnp.int32))
    return rank < k


def _as_pair(first: str, a: jax.Array, second: str, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    a, b = _logits(first, a), _logits(second, b)
    if a.shape != b.shape:
        raise ValueError(
            f"{first} has shape {a.shape} and {second} {b.shape}; both must be of the same samples, "
            "so make the shapes equal."
        )
    return a, b


def _logits(name: str, x: jax.Array) -> jax.Array:
    x = jnp.asarray(x).astype(jnp.float32)
    if x.ndim == 0 or x.size == 0:
        raise ValueError(f"{name} has shape {x.shape}, which holds no batch; give [B, ...].")
    return x
