"""Spectral normalisation as pure functions: W / sigma(W), with sigma(W) from power iteration.

All functions take matrices W [in, out], the layout of JAX kernels and the transpose of the paper's. The
only state is u [out], a unit vector that approximates the leading right singular vector of W. The left
one is computed from it:

    v = W u / ||W u||                       [in]
    u <- W^T v / ||W^T v||                  one step of power iteration
    sigma = v^T W u                         d sigma / d W = v u^T, with u and v held constant

So sigma is a function of (W, u) only, and is the same in training and evaluation for the same kernel and
u. It approaches the largest singular value from below, and is computed in float32 at full precision
whatever the kernel's dtype. Spectral normalisation divides the kernel by it; the singular vectors do not
change.

This is the norm of the *flattened* kernel, as in the paper and in published results. It is not
the operator norm of the convolution, so dividing by it does not make a convolution 1-Lipschitz.

Source: Miyato et al., Spectral Normalization for Generative Adversarial Networks (2018): Eq. 8 for
the normalised kernel, Eq. 11 and 12 for the gradient, Algorithm 1 for the iteration.
"""

from __future__ import annotations

import difflib
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import scaled

KINDS = ("conv", "conv_transpose", "conv_transpose_transposed", "dense", "dense_general", "embed")

# 2^11 power iterations leave sigma at most 1e-3 too low for any u and kernels of up to 900 columns or rows.
GRAM_STEPS = 11
# The smaller side of a kernel up to which `leading_vector` uses `gram_iteration`, on a CPU and on other devices. On
# two cores squarings take 1.0 ms for [1152, 128] and 42 ms for [2304, 512], Krylov products 0.3 and 1.8 ms. For a TPU
# v5e the compiler estimates 14, 203 and 2,080 thousand cycles for [1152, 128], [2304, 512] and [9216, 1024], against
# 290, 615 and 3,080 for Krylov products.
GRAM_SIDE_CPU, GRAM_SIDE = 128, 1024

# One iteration per step is enough for a kernel that changes slowly, but not after a poor start: for random
# kernels of the shapes in GANs, sigma is up to 25 % too low after 1 iteration, 10 % after 15, 1.5 % after
# 100 and less than 0.5 % after 200.
INIT_STEPS = 200


def flatten_kernel(kernel: jax.Array, kind: str, n_in: int = 1) -> jax.Array:
    """The kernel as a float32 matrix [inputs, outputs], whose norm spectral normalisation uses.

    kind                          kernel                    inputs             outputs
    "dense"                       [in, out]                 in                 out
    "dense_general"               [*ins, *outs]             the `n_in` first   the rest
    "conv"                        [*window, in, out]        window x in        out
    "conv_transpose"              [*window, in, out]        window x in        out
    "conv_transpose_transposed"   [*window, out, in]        window x in        out
    "embed"                       [num, features]           features           num

    The window may have any number of axes. "conv_transpose_transposed" is the layout of Flax's
    `ConvTranspose(transpose_kernel=True)`. For an embedding table, u has `num` entries, as in
    mimicry and BigGAN-PyTorch.

    >>> import jax.numpy as jnp
    >>> flatten_kernel(jnp.ones((3, 3, 16, 8)), "conv").shape
    (144, 8)
    >>> flatten_kernel(jnp.ones((4, 4, 8, 16)), "conv_transpose_transposed").shape
    (256, 8)
    """
    if kind not in KINDS:
        close = difflib.get_close_matches(str(kind), KINDS, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"choose one of {', '.join(KINDS)}."
        raise ValueError(f"there is no kernel kind '{kind}'; {hint}")
    if kind != "dense_general":
        n_in = kernel.ndim - 1
    elif not 0 < n_in < kernel.ndim:
        raise ValueError(
            f"n_in is {n_in}, but a dense_general kernel of shape {kernel.shape} has at least one "
            f"input and one output axis; give 1 to {kernel.ndim - 1}."
        )
    if kernel.ndim < 2 or (kind in ("dense", "embed") and kernel.ndim != 2):
        raise ValueError(
            f"a kernel of shape {kernel.shape} is not of kind '{kind}'; see flatten_kernel."
        )
    if kind in ("conv_transpose_transposed", "embed"):
        kernel = jnp.swapaxes(kernel, -1, -2)
    outputs = math.prod(kernel.shape[n_in:])
    return kernel.astype(jnp.float32).reshape(-1, outputs)


def init_u(
    key: jax.Array, w: jax.Array, n_steps: int = INIT_STEPS, eps: float = 1e-12
) -> jax.Array:
    """A float32 unit vector u [out] for w [in, out]: random, then `n_steps` of power iteration.

    Source: SN-GAN (2018), Algorithm 1, initialisation.

    >>> import jax, jax.numpy as jnp
    >>> w = jnp.diag(jnp.array([1.0, 3.0]))
    >>> print(jnp.abs(init_u(jax.random.key(0), w)).round(3) + 0.0)
    [0. 1.]
    """
    u = jax.random.normal(key, w.shape[1:], jnp.float32)
    u = _normalise(u, u, eps)
    return power_iteration(w, u, n_steps, eps)


def power_iteration(w: jax.Array, u: jax.Array, n_steps: int = 1, eps: float = 1e-12) -> jax.Array:
    """`n_steps` times: v = W u / ||W u||, u = W^T v / ||W^T v||. No gradient flows through it.

    If W u is zero (a kernel of zeros), u is not changed.

    Args:
      w: the flattened kernel, [in, out].
      u: unit vector, [out].
      n_steps: 0 or more, static.
      eps: norms up to this count as zero.

    Returns:
      The new u, a float32 unit vector [out].

    Source: SN-GAN (2018), Algorithm 1, step 1.

    >>> import jax.numpy as jnp
    >>> w = jnp.diag(jnp.array([1.0, 2.0]))
    >>> u = power_iteration(w, jnp.array([0.6, 0.8]))  # in proportion to 0.6, 4 * 0.8
    >>> f"{u[0]:.4f} {u[1]:.4f}"
    '0.1843 0.9829'
    """
    return _power(*_constant(w, u), n_steps, eps)


def krylov_iteration(w: jax.Array, u: jax.Array, n_steps: int = 8, eps: float = 1e-12) -> jax.Array:
    """The best vector in the Krylov space of `n_steps` products with W^T W from u. No gradient flows through it.

        u = argmax ||W x||  over  x in span{u, G u, ..., G^n u}, ||x|| = 1,    G = W^T W

    Power iteration with n steps returns the last of these vectors; this function returns their best linear
    combination, with the same products (and n more inner products). The difference matters if the two
    largest singular values are close, as early in training. Then sigma of a changing kernel is a few percent
    too low with one step of power iteration, and less than 1e-3 with eight steps of this function. If u is
    a singular vector, a fixed random vector takes the place of G u: the Krylov space would be u alone, and
    sigma would stay at this value when another overtakes it. Where two values cross among many close ones
    (160 from 0.85 to 1, crossing in 100 steps), sigma was 0.35 % low for two steps.

    Args:
      w: the flattened kernel, [in, out].
      u: unit vector, [out].
      n_steps: number of products with W^T W, 0 or more, static.
      eps: norms up to this count as zero.

    Returns:
      The new u, a float32 unit vector [out]; the given u if W is zero or not finite.

    Source: Golub and Van Loan, Matrix Computations, Section 10.1 (Lanczos, fully
      reorthogonalised, with Rayleigh-Ritz).

    >>> import jax, jax.numpy as jnp
    >>> w = jnp.diag(jnp.array([1.0, 3.0, 2.99]))
    >>> u = jnp.ones(3) / jnp.sqrt(3.0)
    >>> f"{sigma(w, power_iteration(w, u, 2)):.3f} {sigma(w, krylov_iteration(w, u, 2)):.3f}"
    '2.995 3.000'
    """
    return _krylov(*_constant(w, u), n_steps, eps)


def gram_iteration(
    w: jax.Array, u: jax.Array, n_steps: int = GRAM_STEPS, eps: float = 1e-12
) -> jax.Array:
    """2^n power iterations, by squaring the Gram matrix n times. No gradient flows through it.

        G = W^T W,   n times: G <- G G,   u <- G u / ||G u||

    A few large matrix products replace thousands of sequential small ones. If in < out, the iteration uses
    G = W W^T and W u instead of u, and returns W^T G W u, one more power iteration. G is divided by its trace
    from time to time. If the norm of G u is less than half that of the longest column of G, u has almost no
    component along the leading vector, and this column replaces G u. So for any u, up to rounding,

        sigma_1 (1 - log(4 k) / 2^(n + 2)) <= ||W u|| <= sigma_1,    k = min(in, out),

    and the error is much smaller if u was updated in previous steps. u does not change within the space of
    equal largest singular values.

    Args:
      w: the flattened kernel, [in, out].
      u: unit vector, [out].
      n_steps: number of squarings, 0 or more, static.
      eps: norms up to this count as zero.

    Returns:
      The new u, a float32 unit vector [out]. It is the given u if the Frobenius norm of W is at
      most `eps`, or too large to be squared in float32.

    Source: Delattre et al., Efficient Bound of Lipschitz Constant for Convolutional Layers by Gram
      Iteration (2023), for the squarings and their scaling (there for an upper bound of the norm).

    >>> import jax.numpy as jnp
    >>> w = jnp.diag(jnp.array([1.0, 3.0, 2.99]))
    >>> u = jnp.array([0.0, 0.0, 1.0])  # the singular vector of the second largest value
    >>> print(gram_iteration(w, u))
    [0. 1. 0.]
    """
    return _gram(*_constant(w, u), n_steps, eps)


def leading_vector(w: jax.Array, u: jax.Array, eps: float = 1e-12) -> jax.Array:
    """The leading right singular vector of W, starting from that of a similar matrix. No gradient flows through it.

    It uses `gram_iteration`; for large kernels (smaller side above 128 on a CPU, above 1024 on other devices)
    it uses eight products of `krylov_iteration`.

    Largest (and mean) underestimate of sigma in a thousand steps of `sngan_digits`: 0.05 % (0.002 %) with
    squarings, 10 % (1.5 %) with one power iteration per step. The largest errors occur when one singular value
    overtakes another. For kernels that move from singular values (1, 0.9, ...) to (0.9, 1, ...) in 1 to 1,000
    steps, whatever their vectors, squarings were at most 0.02 % low (the bound is 0.08 % for 128 columns), Krylov
    products 0.03 % (0.35 % among many close values). So a second vector is not needed.

    Args:
      w: the flattened kernel, [in, out].
      u: unit vector, [out].
      eps: norms up to this count as zero.

    Returns:
      The new u, a float32 unit vector [out]; the given u if W is zero.

    >>> import jax.numpy as jnp
    >>> w = jnp.array([[3.0, 0.0], [4.0, 5.0]])
    >>> print(leading_vector(w, jnp.array([1.0, 0.0])).round(4))  # W^T W = [[25, 20], [20, 25]]
    [0.7071 0.7071]
    """

    def gram(w, u):
        return gram_iteration(w, u, eps=eps)

    def krylov(w, u):
        return krylov_iteration(w, u, eps=eps)

    narrow = min(w.shape)
    if narrow <= GRAM_SIDE_CPU:
        return gram(w, u)
    if narrow > GRAM_SIDE:
        return krylov(w, u)
    return jax.lax.platform_dependent(w, u, cpu=krylov, default=gram)


def sigma(w: jax.Array, u: jax.Array, eps: float = 1e-12) -> jax.Array:
    """v^T W u with v = W u / ||W u||, both constant: the estimate of the largest singular value.

    Args:
      w: the flattened kernel, [in, out].
      u: unit vector, [out], from `init_u` or `power_iteration`.
      eps: norms up to this count as zero.

    Returns:
      A float32 scalar; 0, with gradient 0, if the norm of W u is at most `eps`; NaN if W u holds NaN.

    Source: SN-GAN (2018), Algorithm 1, step 2, and Eq. 11 and 12 for the gradient.

    >>> import jax, jax.numpy as jnp
    >>> w = jnp.diag(jnp.array([1.0, 3.0, 2.0]))
    >>> print(sigma(w, init_u(jax.random.key(0), w)))
    3.0
    """
    w = w.astype(jnp.float32)
    u = jax.lax.stop_gradient(u.astype(jnp.float32))
    image = _matmul(w, u)
    v = jax.lax.stop_gradient(image)
    scale = scaled.power_of_two(v)
    v = v / scale
    norm = jnp.sqrt(jnp.sum(v * v))
    small = norm * scale[0] <= jnp.asarray(eps, jnp.float32)  # false for NaN, which is returned
    # v is normalised after the product: one reduction serves both.
    return jnp.where(
        small, 0.0, jnp.sum(v * (image / scale)) / jnp.where(small, 1.0, norm) * scale[0]
    )


def normalised_kernel(
    kernel: jax.Array, u: jax.Array, kind: str, n_in: int = 1, eps: float = 1e-12
) -> jax.Array:
    """kernel / sigma, in the kernel's own shape and dtype (SN-GAN, Eq. 8). Does not iterate.

    A kernel whose sigma is at most `eps` is returned unchanged, so that zeros have a finite gradient.

    Source: SN-GAN (2018), Eq. 8.

    >>> import jax, jax.numpy as jnp
    >>> kernel = jnp.diag(jnp.array([1.0, 4.0]))
    >>> print(normalised_kernel(kernel, init_u(jax.random.key(0), kernel), "dense"))
    [[0.25 0.  ]
     [0.   1.  ]]
    """
    return divide(kernel, sigma(flatten_kernel(kernel, kind, n_in), u, eps), eps)


def divide(kernel: jax.Array, sigma: jax.Array, eps: float = 1e-12) -> jax.Array:
    """kernel / sigma in the kernel's dtype; the kernel itself if sigma is at most `eps`.

    >>> import jax.numpy as jnp
    >>> print(divide(jnp.array([2.0, 4.0]), jnp.float32(2.0)), divide(jnp.zeros(2), jnp.float32(0.0)))
    [1. 2.] [0. 0.]
    """
    quotient = kernel.astype(jnp.float32) / jnp.where(
        sigma > jnp.asarray(eps, jnp.float32), sigma, 1.0
    )
    return quotient.astype(kernel.dtype)


def _constant(w: jax.Array, u: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both in float32, without a gradient."""
    return jax.lax.stop_gradient((w.astype(jnp.float32), u.astype(jnp.float32)))


# Jitted here because outside `jax.jit` each call would compile its loop again.
@partial(jax.jit, static_argnames="n_steps", inline=True)
def _power(w: jax.Array, u: jax.Array, n_steps: int, eps: float) -> jax.Array:
    def step(_, u: jax.Array) -> jax.Array:
        v = _normalise(_matmul(w, u), jnp.zeros(w.shape[:1], jnp.float32), eps)
        return _normalise(_matmul(v, w), u, eps)

    return step(0, u) if n_steps == 1 else jax.lax.fori_loop(0, n_steps, step, u)


@partial(jax.jit, static_argnames="n_steps", inline=True)
def _krylov(w: jax.Array, u: jax.Array, n_steps: int, eps: float) -> jax.Array:
    size = min(n_steps + 1, u.shape[0])

    def product(x: jax.Array) -> jax.Array:
        """G x, times a positive number."""
        return _matmul(_normalise(_matmul(w, x), jnp.zeros(w.shape[:1], jnp.float32), eps), w)

    def extend(i: int, basis: jax.Array) -> jax.Array:
        return _orthogonalise(basis, i, product(basis[i - 1]), eps)

    basis = jnp.zeros((size, u.shape[0]), jnp.float32).at[0].set(u)
    if size > 1:
        basis = basis.at[1].set(_second(u, product(u), eps))
    basis = jax.lax.fori_loop(2, size, extend, basis)
    images = _matmul(w, basis.T)
    images = images / scaled.power_of_two(images)[None]
    weights = _leading_eigenvector(_matmul(images.T, images))
    return _normalise(_matmul(weights, basis), u, eps)


@partial(jax.jit, static_argnames="n_steps", inline=True)
def _gram(w: jax.Array, u: jax.Array, n_steps: int, eps: float) -> jax.Array:
    # Proof of the bound: with p = 2^n and the unit vector s as start (u, W u / ||W u|| or a unit vector), let
    # m(i) = s^T G^i s.
    # The longest column of G^p has at least the length sigma_1^(2 p) / sqrt(k), so m(2 p) >= sigma_1^(4 p) / (4 k).
    # log m is convex and m(0) = 1, so ||W u||^2 = m(2 p + 1) / m(2 p) >= m(2 p)^(1 / (2 p)).
    wide = w.shape[0] < w.shape[1]
    gram = _matmul(w, w.T) if wide else _matmul(w.T, w)
    square = jnp.trace(gram)  # the Frobenius norm's
    least = jnp.square(jnp.asarray(eps, jnp.float32))
    usable = (square > least) & (square < jnp.inf)
    gram = _squared(gram, n_steps)
    start = _normalise(_matmul(w, u), jnp.zeros(w.shape[:1], jnp.float32), 0.0) if wide else u
    found = _matmul(gram, start)
    columns = jnp.sum(gram * gram, axis=0)
    found = jnp.where(
        4.0 * jnp.sum(found * found) < jnp.max(columns), gram[jnp.argmax(columns)], found
    )
    new = _normalise(_matmul(found, w) if wide else found, u, 0.0)
    return jnp.where(usable, new, u)


def _squared(gram: jax.Array, n: int) -> jax.Array:
    """A positive semidefinite matrix to the power 2^n, times some positive number; zeros if it is zero."""

    def scaled(gram: jax.Array) -> jax.Array:
        trace = jnp.trace(gram)
        return gram / jnp.where(trace > 0, trace, 1.0)

    # After scaling to trace 1, the largest eigenvalue is at least 1 / k; its eighth power is not 0 for k < 50,000.
    gram = scaled(gram)
    for i in range(n if gram.shape[0] > 1 else 0):
        gram = _matmul(gram, gram)
        if i % 3 == 2:
            gram = scaled(gram)
    return gram


def _matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    # HIGHEST: accelerators otherwise round float32 operands to bfloat16 or TF32.
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _normalise(x: jax.Array, otherwise: jax.Array, eps: float | jax.Array) -> jax.Array:
    """x / ||x||, or `otherwise` if the norm is at most `eps` or x is not finite."""
    scale = scaled.power_of_two(x)
    x = x / scale
    norm = jnp.sqrt(jnp.sum(jnp.square(x)))
    usable = (norm * scale[0] > jnp.asarray(eps, jnp.float32)) & jnp.isfinite(norm)
    return jnp.where(usable, x / jnp.where(usable, norm, 1.0), otherwise)


def _orthogonalise(
    basis: jax.Array, i: int | jax.Array, image: jax.Array, eps: float = 0.0
) -> jax.Array:
    """The orthonormal rows [k, n], zeros from row i on, with the normalised orthogonal part of `image` as row i."""
    rest = image
    for _ in range(2):  # one pass leaves rounding errors as large as the result
        rest = rest - _matmul(_matmul(basis, rest), basis)
    # If the Krylov space is exhausted, the remainder is rounding error; a row of zeros has no effect.
    exhausted = jnp.maximum(1e-5 * scaled.norm(image, 0), jnp.asarray(eps, jnp.float32))
    return basis.at[i].set(_normalise(rest, jnp.zeros_like(image), exhausted))


def _second(u: jax.Array, image: jax.Array, eps: float) -> jax.Array:
    """The unit vector [n] along the part of G u orthogonal to u, or of a fixed random vector if G u has none.

    If u is a singular vector, its Krylov space holds no other, and u would stay when another value overtakes its own.
    """
    spare = jnp.asarray(np.random.default_rng(0).standard_normal(u.shape[0]), jnp.float32)
    rest, spare = image, spare / jnp.linalg.norm(spare)
    for _ in range(2):
        rest, spare = rest - jnp.sum(u * rest) * u, spare - jnp.sum(u * spare) * u
    exhausted = jnp.maximum(1e-5 * scaled.norm(image, 0), jnp.asarray(eps, jnp.float32))
    return _normalise(rest, _normalise(spare, jnp.zeros_like(u), 0.0), exhausted)


def _leading_eigenvector(gram: jax.Array) -> jax.Array:
    """The leading eigenvector of a small positive semidefinite matrix; zeros if the matrix is zero.

    It is computed by 14 squarings of the matrix, which on accelerators are faster than an eigensolver.
    """
    gram = _squared(gram, 14)
    return _normalise(gram[:, jnp.argmax(jnp.diagonal(gram))], jnp.zeros_like(gram[0]), 0.0)
