"""Penalties on what a critic says: of a sample and its neighbour, of now and before, of the best."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


def consistency(logits: jax.Array, augmented_logits: jax.Array) -> jax.Array:
    """CR: mean squared change of the critic under an augmentation, E (C(x) - C(T(x)))^2.

    On real samples it is CR-GAN's penalty. T is a random augmentation that keeps what the critic
    should judge (a flip, a shift of some pixels: `jaxgan.augment`).

    Args:
      logits, augmented_logits: of equal shape, of the same samples in the same order.

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
    """bCR: `consistency` on real and on generated samples, added.

    Without the second the generator learns to draw the artefacts of T. The weights of both are the
    paper's 10; for others add two `consistency`s.

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
    """zCR: the critic shall not see a small step in the latent, the generator shall show it.

    For latents z and z + delta, delta ~ N(0, 0.03^2) or so. Each player adds its own side.

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
    """The state of `lecam`: sums of decayed logits, and of the weights with which they came in."""

    real: jax.Array
    fake: jax.Array
    weight: jax.Array

    @classmethod
    def init(cls) -> LeCam:
        """Nothing seen yet."""
        return cls(*(jnp.zeros((), jnp.float32) for _ in range(3)))


def lecam(
    real_logits: jax.Array,
    fake_logits: jax.Array,
    state: LeCam,
    decay: float = 0.99,
    one_sided: bool = False,
) -> tuple[jax.Array, LeCam]:
    """Pulls the logits of each side towards the running mean of the other's.

        E (C(x) - a_F)^2 + E (C(x') - a_R)^2

    a_R and a_F are exponential moving averages of the batch means on real and generated samples,
    constant to the gradient and including this batch. They are divided by the weight they have seen
    (as Adam's moments are), so that the first ones are means and not shrunk towards 0. For the
    Wasserstein objective the penalised optimum is a LeCam divergence; it serves where data are few.

    Args:
      real_logits, fake_logits: [B] or any other shape; the batches may differ.
      state: `LeCam.init()`, then what the last call returned.
      decay: of the averages, per call.
      one_sided: as the authors' code: only real logits above a_F and generated ones below a_R.

    Returns:
      (the unscaled penalty, the new state), float32 scalars. The weight is 0.3 on CIFAR-10. Give
      it weight 0 for some hundred steps, until the averages mean something.

    Source: Tseng et al., Regularizing Generative Adversarial Networks under Limited Data (2021),
      Section 3.

    >>> import jax.numpy as jnp
    >>> penalty, state = lecam(jnp.array([2.0]), jnp.array([-1.0]), LeCam.init())
    >>> print(penalty)  # (2 + 1)^2 + (-1 - 2)^2
    18.0
    """
    real, fake = _logits("real_logits", real_logits), _logits("fake_logits", fake_logits)
    if isinstance(decay, int | float) and not 0 <= decay < 1:
        raise ValueError(f"decay is {decay}; give 0 (no memory) or more, and less than 1.")
    new = 1.0 - jnp.asarray(decay, jnp.float32)
    means = LeCam(jnp.mean(real), jnp.mean(fake), jnp.float32(1.0))
    state = jax.tree.map(
        lambda old, mean: jax.lax.stop_gradient(old + new * (mean - old)), state, means
    )
    over_fake = real - state.fake / state.weight
    under_real = state.real / state.weight - fake
    if one_sided:
        over_fake, under_real = jax.nn.relu(over_fake), jax.nn.relu(under_real)
    return jnp.mean(jnp.square(over_fake)) + jnp.mean(jnp.square(under_real)), state


def top_k(fake_logits: jax.Array, k: int | jax.Array) -> jax.Array:
    """The k generated samples that the critic finds most real, as a mask for a loss's `where`.

        losses.hinge.generator(fake_logits, where=penalties.top_k(fake_logits, k))

    Late in training the critic's gradient on its worst samples points away from the data; leaving
    those out of the generator's loss helps. The paper begins with k = B and multiplies it by 0.99
    each epoch, down to B / 2.

    Args:
      fake_logits: [B] or [B, 1].
      k: how many to keep, 1 to B; may be traced, so that it can shrink without compiling again.

    Returns:
      Boolean [B] with k entries True: the largest, of equal ones those that come first.

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
    if isinstance(k, int) and not 1 <= k <= batch:
        raise ValueError(f"k is {k} for a batch of {batch}; keep 1 to {batch} samples.")
    order = jnp.argsort(-jax.lax.stop_gradient(logits.reshape(batch)), stable=True)
    rank = jnp.zeros(batch, jnp.int32).at[order].set(jnp.arange(batch, dtype=jnp.int32))
    return rank < k


def _as_pair(first: str, a: jax.Array, second: str, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    a, b = _logits(first, a), _logits(second, b)
    if a.shape != b.shape:
        raise ValueError(
            f"{first} has shape {a.shape} and {second} {b.shape}; they belong to the same samples, "
            "so make the shapes equal."
        )
    return a, b


def _logits(name: str, x: jax.Array) -> jax.Array:
    x = jnp.asarray(x).astype(jnp.float32)
    if x.ndim == 0 or x.size == 0:
        raise ValueError(f"{name} has shape {x.shape}, which holds no batch; give [B, ...].")
    return x
