"""Penalties on a critic's gradient by its input; see `jaxgan.penalties` for what they share."""

from __future__ import annotations

import difflib
from collections.abc import Callable

import jax
import jax.numpy as jnp

Critic = Callable[[jax.Array], jax.Array]


def gradient_penalty(
    critic: Critic,
    real: jax.Array,
    fake: jax.Array,
    key: jax.Array,
    target: float = 1.0,
    one_sided: bool = False,
    checkpoint: bool = False,
) -> jax.Array:
    """Pulls the norm of the critic's input gradient to `target`, between real and generated
    samples.

        E (||grad C(y)|| - target)^2,    y = x + alpha (x' - x),    alpha ~ U[0, 1]

    alpha is uniform and drawn once per sample (not normal, not per pixel), and the norm is over all
    axes but the first. The root's value is exact and its gradient 0 where the critic is flat, so a
    dead critic gives target^2 and no NaN. A target of 0 is the zero-centred penalty.

    Args:
      critic: samples [B, ...] -> logits [B] or [B, 1], each depending on its own sample alone.
      real: [B, ...], floating point. Interpolates have the dtype of both, or float32 if they
        differ.
      fake: [B, ...], of the same shape. Stop its gradient if the generator moves in the same turn.
      key: for alpha.
      target: the norm to pull to.
      one_sided: penalise only norms above the target: E max(0, ||grad C(y)|| - target)^2.
      checkpoint: recompute the critic's activations instead of keeping them.

    Returns:
      The unscaled penalty, a float32 scalar. The paper's weight is 10.

    Sources: Gulrajani et al., Improved Training of Wasserstein GANs (2017), Eq. 3; for one-sided,
      its Section 4 and Petzka et al., On the Regularization of Wasserstein GANs (2018); for target
      0, Thanh-Tung et al., Improving Generalization and Stability of Generative Adversarial
      Networks (2019).

    >>> import jax, jax.numpy as jnp
    >>> x = jax.random.normal(jax.random.key(0), (2, 4, 3))
    >>> slope_2 = lambda x: 2.0 * x[:, 0]
    >>> print(gradient_penalty(slope_2, x[0], x[1], jax.random.key(1)))  # (2 - 1)^2
    1.0
    """
    interpolates = _between(real, fake, key)
    return _norm_penalty(critic, interpolates, target, one_sided, checkpoint)


def max_gradient_penalty(
    critic: Critic, real: jax.Array, fake: jax.Array, key: jax.Array, checkpoint: bool = False
) -> jax.Array:
    """The largest squared gradient norm of the batch, max_y ||grad C(y)||^2.

    The interpolates y are those of `gradient_penalty`. It bounds the Lipschitz constant itself,
    where a mean lets a few steep places be; only the steepest sample has a gradient.

    Args: as of `gradient_penalty`.

    Returns:
      The unscaled penalty, a float32 scalar.

    Source: Zhou et al., Lipschitz Generative Adversarial Nets (2019), its MaxGP.

    >>> import jax, jax.numpy as jnp
    >>> x = jnp.zeros((3, 1))
    >>> print(max_gradient_penalty(lambda x: 3.0 * x, x, x, jax.random.key(0)))
    9.0
    """
    return jnp.max(_squares(_gradient(critic, _between(real, fake, key), checkpoint)))


DRAGAN_VARIANTS = ("gaussian", "uniform", "positive")


def dragan(
    critic: Critic,
    real: jax.Array,
    key: jax.Array,
    scale: float = 0.5,
    target: float = 1.0,
    one_sided: bool = False,
    variant: str = "gaussian",
    checkpoint: bool = False,
) -> jax.Array:
    """Pulls the norm of the critic's input gradient to `target` around the real samples.

        E (||grad C(x + noise)|| - target)^2

    The noise is in units of s, the standard deviation of all numbers in `real`. Paper, the authors'
    code and others' differ, so its kind has a name:

        "gaussian"   scale s N(0, 1) per pixel: the paper's, whose c is (scale s)^2
        "uniform"    scale s U(-1, 1) per pixel: compare_gan's, before its clipping
        "positive"   alpha scale s U(0, 1) per pixel, alpha ~ U[0, 1] per sample: the authors' code
                     and PyTorch-StudioGAN's; it shifts every sample towards white

    Args:
      critic: samples [B, ...] -> logits [B] or [B, 1], each depending on its own sample alone.
      real: [B, ...], floating point.
      key: for the noise.
      scale: of the noise; 0.5 is the authors'.
      target, one_sided, checkpoint: as of `gradient_penalty`.
      variant: "gaussian", "uniform" or "positive".

    Returns:
      The unscaled penalty, a float32 scalar. The paper's weight is 10.

    Source: Kodali et al., On Convergence and Stability of GANs (2017).

    >>> import jax, jax.numpy as jnp
    >>> slope_2 = lambda x: 2.0 * x[:, 0]
    >>> print(dragan(slope_2, jnp.ones((4, 3)), jax.random.key(0)))
    1.0
    """
    if variant not in DRAGAN_VARIANTS:
        close = difflib.get_close_matches(str(variant), DRAGAN_VARIANTS, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"use {', '.join(DRAGAN_VARIANTS)}."
        raise ValueError(f"there is no DRAGAN variant '{variant}'; {hint}")
    _not_negative("scale", scale, "noise has a size of 0 or more")
    real = _samples("real", real)
    x = real.astype(jnp.float32)
    noise_key, alpha_key = jax.random.split(key)
    if variant == "gaussian":
        noise = jax.random.normal(noise_key, x.shape, jnp.float32)
    elif variant == "uniform":
        noise = jax.random.uniform(noise_key, x.shape, jnp.float32, minval=-1.0)
    else:
        noise = _alpha(alpha_key, x) * jax.random.uniform(noise_key, x.shape, jnp.float32)
    size = scale * jax.lax.stop_gradient(jnp.std(x))  # whose own gradient at 0 is NaN
    perturbed = (x + size * noise).astype(real.dtype)
    return _norm_penalty(critic, perturbed, target, one_sided, checkpoint)


def r1(critic: Critic, real: jax.Array, checkpoint: bool = False) -> jax.Array:
    """Half the mean squared gradient norm on real samples: 1/2 E ||grad C(x)||^2.

    The half is the paper's, so that the weight is its gamma. Played lazily, every k steps, the
    weight is k gamma and the optimiser's learning rate and betas change too (StyleGAN2, Appendix
    B). Of an augmented critic, give the closure that augments: the gradient is by the samples as
    they were.

    Args:
      critic: samples [B, ...] -> logits [B] or [B, 1], each depending on its own sample alone.
      real: [B, ...], floating point. For a critic that takes a list of scales, a list of such arrays; the gradient is
        by all of them.
      checkpoint: recompute the critic's activations instead of keeping them.

    Returns:
      The unscaled penalty, a float32 scalar. The weight is 10 in the paper; StyleGAN's scale with
      the number of pixels.

    Source: Mescheder et al., Which Training Methods for GANs do actually Converge? (2018), Eq. 9.

    >>> import jax.numpy as jnp
    >>> print(r1(lambda x: 3.0 * x[:, 0], jnp.zeros((4, 2))))
    4.5
    """
    return 0.5 * jnp.mean(_squares(_gradient(critic, _samples("real", real), checkpoint)))


def r2(critic: Critic, fake: jax.Array, checkpoint: bool = False) -> jax.Array:
    """Half the mean squared gradient norm on generated samples: 1/2 E ||grad C(x')||^2.

    `r1` on the other side; stop the gradient of `fake` if the generator moves in the same turn.

    Source: Mescheder et al., Which Training Methods for GANs do actually Converge? (2018), Eq. 10.

    >>> import jax.numpy as jnp
    >>> print(r2(lambda x: 3.0 * x[:, 0], jnp.zeros((4, 2))))
    4.5
    """
    return 0.5 * jnp.mean(_squares(_gradient(critic, _samples("fake", fake), checkpoint)))


def r1_r2(
    critic: Critic, real: jax.Array, fake: jax.Array, checkpoint: bool = False
) -> tuple[jax.Array, jax.Array]:
    """R1 and R2 by one double backward pass: both batches go through the critic as one.

    Args:
      critic: samples [2B, ...] -> logits [2B] or [2B, 1], the real ones first: close over the
        labels of both, concatenated, if it is conditional.
      real, fake: [B, ...], floating point, of equal shape. Stop the gradient of `fake` if the
        generator moves in the same turn. They meet in float32 if their dtypes differ.
      checkpoint: recompute the critic's activations instead of keeping them.

    Returns:
      (`r1`, `r2`), float32 scalars. R3GAN's loss is gamma (r1 + r2) with gamma from 0.05 to 150,
      growing with the resolution.

    Sources: Mescheder et al. (2018), Eq. 9 and 10; Huang et al., The GAN is Dead; Long Live the GAN!
      A Modern GAN Baseline (2024), Section 2.

    >>> import jax.numpy as jnp
    >>> slope = lambda x: x[:, 0] ** 2  # 2 x
    >>> print(*r1_r2(slope, jnp.ones((4, 1)), jnp.zeros((4, 1))))
    2.0 0.0
    """
    real, fake, dtype = _pair(real, fake)
    both = jnp.concatenate([real.astype(dtype), fake.astype(dtype)])
    squares = _squares(_gradient(critic, both, checkpoint))
    batch = real.shape[0]
    return 0.5 * jnp.mean(squares[:batch]), 0.5 * jnp.mean(squares[batch:])


def safe_norm(x: jax.Array) -> jax.Array:
    """Euclidean norm of each sample, [B, ...] -> float32 [B], with gradient 0 (not NaN) where it is
    0.

    The value is exact: no epsilon under the root, which would bias small norms.

    >>> import jax.numpy as jnp
    >>> print(safe_norm(jnp.array([[3.0, 4.0], [0.0, 0.0]])))
    [5. 0.]
    """
    square = _squares(x)
    positive = square > 0.0
    # The inner `where` keeps the root's infinite slope at 0 out of the gradient, the outer one
    # restores the value.
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


def _norm_penalty(
    critic: Critic, x: jax.Array, target: float, one_sided: bool, checkpoint: bool
) -> jax.Array:
    _not_negative("target", target, "a norm is never negative")
    excess = safe_norm(_gradient(critic, x, checkpoint)) - target
    if one_sided:
        excess = jax.nn.relu(excess)
    return jnp.mean(jnp.square(excess))


def _gradient(critic: Critic, x: jax.Array, checkpoint: bool) -> jax.Array:
    """Each sample's own gradient, that of the sum of the critic's outputs, as samples do not mix."""

    def total(x: jax.Array) -> jax.Array:
        logits = critic(x)
        batch = jax.tree.leaves(x)[0].shape[0]
        shape = getattr(logits, "shape", None)
        if shape not in ((batch,), (batch, 1)):
            found = f"a {type(logits).__name__}" if shape is None else f"an array of shape {shape}"
            raise ValueError(
                f"the critic returned {found} for a batch of {batch}; a gradient penalty needs one "
                f"number per sample, [{batch}] or [{batch}, 1] (average a patch critic's map "
                "first)."
            )
        return jnp.sum(logits.astype(jnp.float32))

    return jax.grad(jax.checkpoint(total) if checkpoint else total)(x)


def _squares(x: jax.Array) -> jax.Array:
    """Squared Euclidean norm of each sample, float32 [B]; of a list, of its arrays together."""

    def squares(x: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(x.astype(jnp.float32)), axis=tuple(range(1, x.ndim)))

    return jnp.asarray(sum(squares(leaf) for leaf in jax.tree.leaves(x)))


def _between(real: jax.Array, fake: jax.Array, key: jax.Array) -> jax.Array:
    """A random point of the line from each real sample to its generated one."""
    real, fake, dtype = _pair(real, fake)
    real, fake = real.astype(jnp.float32), fake.astype(jnp.float32)
    return (real + _alpha(key, real) * (fake - real)).astype(dtype)


def _alpha(key: jax.Array, x: jax.Array) -> jax.Array:
    """U[0, 1], one for each sample."""
    return jax.random.uniform(key, (x.shape[0],) + (1,) * (x.ndim - 1), jnp.float32)


def _pair(real: jax.Array, fake: jax.Array) -> tuple[jax.Array, jax.Array, jnp.dtype]:
    """Both, checked, and the dtype in which they meet."""
    real, fake = _samples("real", real), _samples("fake", fake)
    if real.shape != fake.shape:
        raise ValueError(
            f"real has shape {real.shape} and fake {fake.shape}; the penalty takes one of both at "
            "a time, so make the shapes equal."
        )
    return real, fake, real.dtype if real.dtype == fake.dtype else jnp.dtype(jnp.float32)


def _samples(name: str, x: jax.Array) -> jax.Array:
    if isinstance(x, list | tuple):
        return [_samples(name, each) for each in x]
    x = jnp.asarray(x)
    if x.ndim == 0 or x.size == 0:
        raise ValueError(f"{name} has shape {x.shape}, which holds no samples; give [B, ...].")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"{name} has dtype {x.dtype}, which has no gradient; convert it to floating point."
        )
    return x


def _not_negative(name: str, value: float | jax.Array, because: str) -> None:
    if isinstance(value, int | float) and value < 0:
        raise ValueError(f"{name} is {value}, but {because}; give 0 or more.")
