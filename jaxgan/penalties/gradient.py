"""Penalties on the gradient of a critic with respect to its input; `jaxgan.penalties` has the conventions."""

from __future__ import annotations

import difflib
import numbers
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxgan import draws, scaled

Critic = Callable[[jax.Array], jax.Array]


def gradient_penalty(
    critic: Critic,
    real: jax.Array,
    fake: jax.Array,
    key: jax.Array,
    target: float = 1.0,
    one_sided: bool = False,
    checkpoint: bool = False,
    each_scale: bool = False,
) -> jax.Array:
    """Penalty for the distance of the critic's input gradient norm from `target`, between real and
    generated samples.

        E (||grad C(y)|| - target)^2,    y = x + alpha (x' - x),    alpha ~ U[0, 1]

    alpha is uniform and drawn once per sample (not normal, not per pixel). The norm is over all axes but
    the first. Where the gradient is 0, the norm is 0 with derivative 0, so a constant critic gives
    target^2 and not NaN. With target 0 this is the zero-centred penalty.

    Args:
      critic: samples [B, ...] -> logits [B] or [B, 1], each depending on its own sample alone.
      real: [B, ...], floating point. Interpolates have the dtype of both, or float32 if they
        differ. For a critic that takes a list of scales, a list of such arrays, with one alpha per sample for
        all of them; the norm is over all scales together.
      fake: [B, ...], of the same shape. Stop its gradient if the generator is updated in the same turn.
      key: random key for alpha.
      target: the target norm.
      one_sided: penalise only norms above the target: E max(0, ||grad C(y)|| - target)^2.
      checkpoint: recompute the critic's activations instead of storing them.
      each_scale: for a list of scales, take the norm of each scale's gradient, and the mean of the penalties
        over the scales.

    Returns:
      The unscaled penalty, a float32 scalar. The paper's weight is 10.

    Sources: Gulrajani et al., Improved Training of Wasserstein GANs (2017), Eq. 3; for one-sided,
      its Section 4 and Petzka et al., On the Regularization of Wasserstein GANs (2018); for target
      0, Thanh-Tung et al., Improving Generalization and Stability of Generative Adversarial
      Networks (2019); for `each_scale`, Karnewar and Wang, MSG-GAN (2020).

    >>> import jax, jax.numpy as jnp
    >>> x = jax.random.normal(jax.random.key(0), (2, 4, 3))
    >>> slope_2 = lambda x: 2.0 * x[:, 0]
    >>> print(gradient_penalty(slope_2, x[0], x[1], jax.random.key(1)))  # (2 - 1)^2
    1.0
    """
    interpolates = _between(real, fake, key)
    return _norm_penalty(critic, interpolates, target, one_sided, checkpoint, each_scale)


def max_gradient_penalty(
    critic: Critic, real: jax.Array, fake: jax.Array, key: jax.Array, checkpoint: bool = False
) -> jax.Array:
    """The largest squared gradient norm of the batch, max_y ||grad C(y)||^2.

    The interpolates y are those of `gradient_penalty`. A mean over samples allows a few large gradients;
    the maximum does not. Only the sample with the largest gradient contributes to the derivative.

    Args: as for `gradient_penalty`.

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
    """Penalty for the distance of the critic's input gradient norm from `target`, around the real samples.

        E (||grad C(x + noise)|| - target)^2

    The unit of the noise is s, the standard deviation of all entries of `real`. The paper, the authors'
    code and other implementations use different distributions:

        "gaussian"   scale s N(0, 1) per pixel: the paper, whose c is (scale s)^2
        "uniform"    scale s U(-1, 1) per pixel: compare_gan, before its clipping
        "positive"   alpha scale s U(0, 1) per pixel, alpha ~ U[0, 1] per sample: the authors' code
                     and PyTorch-StudioGAN; it shifts every sample towards white

    Args:
      critic: samples [B, ...] -> logits [B] or [B, 1], each depending on its own sample alone.
      real: [B, ...], floating point.
      key: random key for the noise.
      scale: scale of the noise; the authors use 0.5.
      target, one_sided, checkpoint: as for `gradient_penalty`.
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
        noise = draws.normal(noise_key, x.shape)
    elif variant == "uniform":
        noise = draws.uniform(noise_key, x.shape, minval=-1.0)
    else:
        noise = _alpha(alpha_key, x) * draws.uniform(noise_key, x.shape)
    size = jnp.asarray(scale, jnp.float32) * jax.lax.stop_gradient(
        jnp.std(x)
    )  # the gradient of a standard deviation of 0 is NaN
    perturbed = (x + size * noise).astype(real.dtype)
    return _norm_penalty(critic, perturbed, target, one_sided, checkpoint)


def r1(critic: Critic, real: jax.Array, checkpoint: bool = False) -> jax.Array:
    """Half the mean squared gradient norm on real samples: 1/2 E ||grad C(x)||^2.

    With the paper's factor 1/2, the weight is its gamma. For lazy regularisation, every k steps, the
    weight is k gamma, and the optimiser's learning rate and betas change too (StyleGAN2, Appendix B).
    For a critic with augmentation, `critic` includes the augmentation, so that the gradient is with
    respect to the samples before augmentation.

    Args:
      critic: samples [B, ...] -> logits [B] or [B, 1], each depending on its own sample alone.
      real: [B, ...], floating point. For a critic that takes a list of scales, a list of such arrays; the gradient is
        with respect to all of them.
      checkpoint: recompute the critic's activations instead of keeping them.

    Returns:
      The unscaled penalty, a float32 scalar. The weight is 10 in the paper; in StyleGAN
      it is proportional to the number of pixels.

    Source: Mescheder et al., Which Training Methods for GANs do actually Converge? (2018), Eq. 9.

    >>> import jax.numpy as jnp
    >>> print(r1(lambda x: 3.0 * x[:, 0], jnp.zeros((4, 2))))
    4.5
    """
    return 0.5 * jnp.mean(_squares(_gradient(critic, _samples("real", real), checkpoint)))


def r2(critic: Critic, fake: jax.Array, checkpoint: bool = False) -> jax.Array:
    """Half the mean squared gradient norm on generated samples: 1/2 E ||grad C(x')||^2.

    Otherwise like `r1`. Stop the gradient of `fake` if the generator is updated in the same turn.

    Source: Mescheder et al., Which Training Methods for GANs do actually Converge? (2018), Eq. 10.

    >>> import jax.numpy as jnp
    >>> print(r2(lambda x: 3.0 * x[:, 0], jnp.zeros((4, 2))))
    4.5
    """
    return 0.5 * jnp.mean(_squares(_gradient(critic, _samples("fake", fake), checkpoint)))


def r1_r2(
    critic: Critic, real: jax.Array, fake: jax.Array, checkpoint: bool = False
) -> tuple[jax.Array, jax.Array]:
    """R1 and R2 with one call of the critic on both batches, concatenated.

    Args:
      critic: samples [2B, ...] -> logits [2B] or [2B, 1], the real samples first. A conditional critic
        must close over the concatenated labels of both.
      real, fake: [B, ...], floating point, of equal shape. Stop the gradient of `fake` if the
        generator is updated in the same turn. Both are cast to float32 if their dtypes differ.
      checkpoint: recompute the critic's activations instead of keeping them.

    Returns:
      (`r1`, `r2`), float32 scalars. R3GAN's loss is gamma (r1 + r2) with gamma from 0.05 to 150,
      increasing with the resolution.

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


def approximate_r1(
    critic: Critic,
    real: jax.Array,
    key: jax.Array,
    sigma: float = 0.01,
    checkpoint: bool = False,
) -> jax.Array:
    """Approximates R1 without a gradient: mean squared change of the logits under small noise on real samples.

        E (C(x) - C(x + sigma n))^2,    n ~ N(0, I)

    For small sigma it is a multiple of `r1`, and a weight of gamma / (2 sigma^2) corresponds to gamma `r1`:

        E_n (C(x) - C(x + sigma n))^2 = sigma^2 ||grad C(x)||^2 + O(sigma^4) = 2 sigma^2 r1 + O(sigma^4)

    Use it where `r1` cannot be used: its gradient with respect to the critic's parameters needs no second derivatives,
    which some kernels do not have. It is not cheaper: its two forward and backward passes are about the work of `r1`
    for a smooth critic, and 1.5 times that work for a critic of convolutions and ReLUs, whose second derivatives are
    0. If the loss has the logits of the real samples already, `consistency(logits, critic(x + sigma n))` saves a pass.

    One noise is drawn per sample, so the estimate is noisier than `r1`: for gradients of equal norms and small sigma,
    its relative standard deviation is sqrt(2 / B). The difference of two logits loses digits if sigma is small. In
    bfloat16, neighbouring numbers near 1 differ by 0.004 to 0.008: use float32 there, or a larger sigma.

    Args:
      critic: samples [B, ...] -> logits [B] or [B, 1]; it is called twice, with the same samples without noise first.
      real: [B, ...], floating point, or a list of such arrays, as for `r1`.
      key: random key for the noise.
      sigma: standard deviation of the noise, above 0.
      checkpoint: recompute the critic's activations instead of keeping them.

    Returns:
      The unscaled penalty, a float32 scalar. The paper's weight is 100, with sigma 0.01 for images and 0.1 for videos.

    Source: Lin et al., Diffusion Adversarial Post-Training for One-Step Video Generation (2025), Section 3.

    >>> import jax, jax.numpy as jnp
    >>> slope_3, x = lambda x: 3.0 * x[:, 0], jnp.zeros((100_000, 2))
    >>> print(f"{approximate_r1(slope_3, x, jax.random.key(0)) / (2 * 0.01**2):.1f}")  # r1 is 4.5
    4.5
    """
    return _noise_penalty(critic, _samples("real", real), key, sigma, checkpoint)


def approximate_r2(
    critic: Critic,
    fake: jax.Array,
    key: jax.Array,
    sigma: float = 0.01,
    checkpoint: bool = False,
) -> jax.Array:
    """Approximates R2 without a gradient: mean squared change of the logits under small noise on generated samples.

    Otherwise like `approximate_r1`. Stop the gradient of `fake` if the generator is updated in the same turn.

    Source: Lin et al., Autoregressive Adversarial Post-Training for Real-Time Interactive Video Generation (2025).

    >>> import jax, jax.numpy as jnp
    >>> slope_3, x = lambda x: 3.0 * x[:, 0], jnp.zeros((100_000, 2))
    >>> print(f"{approximate_r2(slope_3, x, jax.random.key(0)) / (2 * 0.01**2):.1f}")  # r2 is 4.5
    4.5
    """
    return _noise_penalty(critic, _samples("fake", fake), key, sigma, checkpoint)


def safe_norm(x: jax.Array) -> jax.Array:
    """Euclidean norm of each sample, [B, ...] -> float32 [B], with gradient 0 (not NaN) at 0.

    There is no epsilon under the square root, which would bias small norms, and the squares neither overflow nor
    underflow. The norm of a sample with NaN is NaN.

    Args:
      x: [B, ...], or a list of such arrays; then the norm is that over all of them.

    >>> import jax.numpy as jnp
    >>> print(safe_norm(jnp.array([[3.0, 4.0], [0.0, 0.0]])))
    [5. 0.]
    """
    rows = [leaf.astype(jnp.float32).reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(x)]
    return scaled.norm(rows[0] if len(rows) == 1 else jnp.concatenate(rows, axis=1), 1)


def _norm_penalty(
    critic: Critic,
    x: jax.Array,
    target: float,
    one_sided: bool,
    checkpoint: bool,
    each_scale: bool = False,
) -> jax.Array:
    _not_negative("target", target, "a norm is never negative")
    gradient = _gradient(critic, x, checkpoint)
    # [B], or [scales, B].
    scales = jax.tree.leaves(gradient)
    norms = jnp.stack([safe_norm(g) for g in scales]) if each_scale else safe_norm(gradient)
    excess = norms - jnp.asarray(target, jnp.float32)
    if one_sided:
        excess = jax.nn.relu(excess)
    return jnp.mean(jnp.square(excess))


def _noise_penalty(
    critic: Critic, x: jax.Array, key: jax.Array, sigma: float, checkpoint: bool
) -> jax.Array:
    if isinstance(sigma, numbers.Real) and not sigma > 0:
        raise ValueError(f"sigma is {sigma}; give a number above 0.")
    leaves, structure = jax.tree.flatten(x)
    keys = [key] if len(leaves) == 1 else list(jax.random.split(key, len(leaves)))

    def perturbed(x: jax.Array, key: jax.Array) -> jax.Array:
        step = jnp.asarray(sigma, jnp.float32) * draws.normal(key, x.shape)
        return (x.astype(jnp.float32) + step).astype(x.dtype)

    def logits(x: jax.Array) -> jax.Array:
        return _one_per_sample(critic, x)

    if checkpoint:
        logits = jax.checkpoint(logits)
    moved = jax.tree.map(perturbed, x, jax.tree.unflatten(structure, keys))
    return jnp.mean(jnp.square(logits(x) - logits(moved)))


def _gradient(critic: Critic, x: jax.Array, checkpoint: bool) -> jax.Array:
    """The gradient for each sample: that of the sum of the outputs, since outputs depend on one sample each."""

    def total(x: jax.Array) -> jax.Array:
        return jnp.sum(_one_per_sample(critic, x))

    return jax.grad(jax.checkpoint(total) if checkpoint else total)(x)


def _one_per_sample(critic: Critic, x: jax.Array) -> jax.Array:
    """The critic's outputs in float32, [B] or [B, 1]; raises for other shapes."""
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
    return logits.astype(jnp.float32)


def _squares(x: jax.Array) -> jax.Array:
    """Squared Euclidean norm of each sample, float32 [B]; for a list, the sum over its arrays."""

    def squares(x: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(x.astype(jnp.float32)), axis=tuple(range(1, x.ndim)))

    return jnp.asarray(sum(squares(leaf) for leaf in jax.tree.leaves(x)))


def _between(real: jax.Array, fake: jax.Array, key: jax.Array) -> jax.Array:
    """A random point on the line from each real sample to its generated sample; the same one at all scales."""
    if isinstance(real, list | tuple) or isinstance(fake, list | tuple):
        found = [_scales(real), _scales(fake)]
        if found[0] != found[1]:
            raise ValueError(
                f"real is {found[0]} and fake {found[1]}; give both as lists of the same scales."
            )
        # The same key draws the same numbers for all scales.
        return [_between(r, f, key) for r, f in zip(real, fake, strict=True)]
    real, fake, dtype = _pair(real, fake)
    real, fake = real.astype(jnp.float32), fake.astype(jnp.float32)
    return (real + _alpha(key, real) * (fake - real)).astype(dtype)


def _scales(x) -> str:
    if not isinstance(x, list | tuple):
        return "one array"
    return f"a list of {len(x)} scales of {len(x[0]) if x else 0} samples"


def _alpha(key: jax.Array, x: jax.Array) -> jax.Array:
    """One number from U[0, 1] for each sample."""
    return draws.uniform(key, (x.shape[0],) + (1,) * (x.ndim - 1))


def _pair(real: jax.Array, fake: jax.Array) -> tuple[jax.Array, jax.Array, jnp.dtype]:
    """Both arrays after checks, and their common dtype."""
    real, fake = _samples("real", real), _samples("fake", fake)
    if real.shape != fake.shape:
        raise ValueError(
            f"real has shape {real.shape} and fake {fake.shape}; the penalty pairs real and fake "
            "samples, so make the shapes equal."
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
    if isinstance(value, numbers.Real) and value < 0:
        raise ValueError(f"{name} is {value}, but {because}; give 0 or more.")
