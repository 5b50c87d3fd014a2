"""`jaxgan.spectral`: kernels as matrices, linear maps by themselves, constants, whole critics."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from jaxgan import spectral
from table import Case

NUMBERS = {
    "gradients": "a Python number from names and sizes, no function of arrays",
    "extremes": "a Python number from names and sizes, no function of arrays",
    "bfloat16": "a Python number from names and sizes, no function of arrays",
    "jit": "a Python number from names and sizes, no function of arrays",
    "vmap": "a Python number from names and sizes, no function of arrays",
    "devices": "a Python number from names and sizes, no function of arrays",
}
CONCRETE = {
    "gradients": "a bound for concrete parameters, in Python numbers",
    "jit": "runs on concrete arrays only, step by step",
    "vmap": "runs on concrete arrays only, step by step",
    "devices": "runs on concrete arrays only, step by step",
}
NO_GRADIENT = {"gradients": "carries no gradient by definition; test_spectral.py holds it to that"}
TWO_ROWS = {"one": "two singular values need a matrix of two rows"}


def draw_matrix(rng, batch):
    return (np.float32(rng.standard_normal((batch, 6))),)


def draw_with_u(rng, batch):
    u = rng.standard_normal(6)
    return (*draw_matrix(rng, batch), np.float32(u / np.linalg.norm(u)))


def draw_with_basis(rng, batch):
    return (
        *draw_matrix(rng, batch),
        np.float32(np.linalg.qr(rng.standard_normal((6, 2)))[0]),
    )


def draw_kernel(*shape):
    return lambda rng, batch: (np.float32(rng.standard_normal((batch, *shape))),)


def draw_nothing(rng, batch):
    return ()


def svd_norm(w):
    return np.linalg.norm(w, 2)


def unit(x):
    return x / np.linalg.norm(x)


def power_reference(w, u):
    for _ in range(2):
        u = unit(w.T @ unit(w @ u))
    return u


def krylov_reference(w, u):
    """The projector on the best vector of span{u, Gu, GGu}."""
    span = np.stack([u, w.T @ w @ u, w.T @ w @ w.T @ w @ u], 1)
    left, values, _ = np.linalg.svd(span, full_matrices=False)
    basis = left[:, values > 1e-9 * values[0]]
    best = basis @ np.linalg.svd(w @ basis)[2][0]
    return np.outer(best, best)


def gram_reference(w, u):
    """The projector on the leading right singular vector, whatever u is."""
    leading = np.linalg.svd(w)[2][0]
    return np.outer(leading, leading)


def projector(columns):
    return jnp.matmul(columns, columns.T, precision="highest")


def leading_projector(w):
    right = np.linalg.svd(w)[2][:2]
    return right.T @ right


def orthogonal_reference(w, u):
    q = np.linalg.qr(w.T @ w @ w.T @ w @ u)[0]
    return q @ q.T


def pads(sizes, window, strides):
    """TensorFlow's "SAME" at each axis, as (low, high)."""
    for n, k, s in zip(sizes, window, strides, strict=True):
        total = max((-(-n // s) - 1) * s + k - n, 0)
        yield total // 2, total - total // 2


def to_kernel(k):
    """[in, h, w, out] as [h, w, in, out]: XLA does not partition every convolution along its window."""
    return k.transpose(1, 2, 0, 3)


def conv_matrix(kernel, shape, strides):
    """[outputs, inputs] of the convolution with zero "SAME" padding, an entry for each tap."""
    h, w, into, out = kernel.shape
    (top, _), (left, _) = pads(shape, (h, w), strides)
    outputs = [-(-n // s) for n, s in zip(shape, strides, strict=True)]
    matrix = np.zeros((*outputs, out, *shape, into))
    for i, j, m, n in itertools.product(*map(range, (*outputs, h, w))):
        y, x = strides[0] * i + m - top, strides[1] * j + n - left
        if 0 <= y < shape[0] and 0 <= x < shape[1]:
            matrix[i, j, :, y, x] += kernel[m, n].T
    return matrix.reshape(math.prod(outputs) * out, -1)


def conv_transpose_matrix(kernel, shape, stride):
    """[inputs, outputs] of `jax.lax.conv_transpose` with "SAME" padding: strides * shape pixels come out."""
    h, w, into, out = kernel.shape
    low = []
    for k in (h, w):
        low.append(k - 1 if stride > k - 1 else -(-(k + stride - 2) // 2))
    matrix = np.zeros((*shape, into, shape[0] * stride, shape[1] * stride, out))
    outputs = [n * stride for n in shape]
    for i, j, y, x in itertools.product(*map(range, (*shape, *outputs))):
        m, n = i * stride + low[0] - y, j * stride + low[1] - x
        if 0 <= m < h and 0 <= n < w:
            matrix[i, j, :, y, x] += kernel[m, n]
    return matrix.reshape(math.prod(shape) * into, -1)


def pooling_matrix(n, window, stride):
    """Averages of one axis without padding, [outputs, n]."""
    rows = range(0, n - window + 1, stride)
    return np.stack([np.isin(np.arange(n), np.arange(r, r + window)) / window for r in rows])


def steepest_gelu():
    x = np.linspace(0, 4, 400001)
    normal = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    return np.max(scipy.special.ndtr(x) + x * normal)


def by_matrix(w):
    w = w.astype(jnp.float32)
    return lambda x: jnp.matmul(x, w, precision="highest")


def linear_critic(w):
    w = w.astype(jnp.float32)
    return lambda x: jnp.matmul(x, w, precision="highest")[:, 0]


def bounds_of(w):
    return jnp.float32(spectral.operator_norm_bounds(by_matrix(w), w.shape[:1]))


def certificate_of(w):
    found = spectral.lipschitz_certificate(linear_critic(w), jnp.ones((2, w.shape[0]), jnp.float32))
    return jnp.float32([found.lower, found.upper])


def lower_of(w):
    return spectral.lipschitz_lower_bound(
        linear_critic(w), jnp.ones((2, w.shape[0]), jnp.float32), n_steps=2
    )


def twice_norm(w):
    return np.full(2, np.linalg.norm(w, 2))


W, U = [[3.0, 0.0], [4.0, 5.0]], [1.0, 0.0]
# The same matrix at each pixel, [in, 1, 1, out].
ONE_TAP = ([[[[3.0, 0.0]]], [[[4.0, 5.0]]]],)

# Windows of 3 on 3 pixels and on 4: A A^T is 1/3, and [[3, 2], [2, 3]] / 9.
AVERAGES_BY_HAND = math.sqrt(1 / 3) * math.sqrt(5 / 9)

CASES = [
    Case(
        "spectral.flatten_kernel",
        draw_kernel(3, 2, 5),
        lambda k: np.stack([k[:, :, o].reshape(-1) for o in range(2)], axis=1),
        # A window of one pixel, [out = 2, in = 3].
        hand=((([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]],), [[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]),),
        call=lambda k: spectral.flatten_kernel(k, "conv_transpose_transposed"),
    ),
    Case(
        "spectral.sigma",
        draw_with_u,
        lambda w, u: np.linalg.norm(w @ u),
        hand=(((W, U), 5.0),),
        scaled=(0,),
        shared=(1,),
    ),
    Case(
        "spectral.power_iteration",
        draw_with_u,
        power_reference,
        # W u = (3, 4), then W^T v along (5, 4); W (5, 4) along (3, 8), W^T (3, 8) = (41, 40).
        hand=(((W, U), np.float64([41, 40]) / np.hypot(41, 40)),),
        call=lambda w, u: spectral.power_iteration(w, u, 2),
        wrt=(),
        scaled=(0,),
        shared=(1,),
        skip=NO_GRADIENT,
    ),
    Case(
        "spectral.krylov_iteration",
        draw_with_u,
        krylov_reference,
        # Two steps exhaust the plane: the leading eigenvector of G = [[25, 20], [20, 25]].
        hand=(((W, U), np.full((2, 2), 0.5)),),
        call=lambda w, u: projector(spectral.krylov_iteration(w, u, 2)[:, None]),
        wrt=(),
        scaled=(0,),
        shared=(1,),
        atol=2e-4,
        rtol=1e-3,
        skip=NO_GRADIENT,
    ),
    Case(
        "spectral.gram_iteration",
        draw_with_u,
        gram_reference,
        # The leading eigenvector of G = [[25, 20], [20, 25]].
        hand=(((W, U), np.full((2, 2), 0.5)),),
        call=lambda w, u: projector(spectral.gram_iteration(w, u)[:, None]),
        wrt=(),
        scaled=(0,),
        shared=(1,),
        atol=1e-5,
        skip=NO_GRADIENT,
    ),
    Case(
        "spectral.leading_vector",
        draw_with_u,
        gram_reference,
        hand=(((W, U), np.full((2, 2), 0.5)),),
        call=lambda w, u: projector(spectral.leading_vector(w, u)[:, None]),
        wrt=(),
        scaled=(0,),
        shared=(1,),
        atol=1e-5,
        skip=NO_GRADIENT,
    ),
    Case(
        "spectral.init_u",
        draw_matrix,
        svd_norm,
        hand=(((W,), math.sqrt(45.0)),),
        call=lambda w: spectral.sigma(w, spectral.init_u(jax.random.key(0), w)),
        rtol=1e-4,
        skip=NO_GRADIENT,
    ),
    Case(
        "spectral.divide",
        lambda rng, batch: (*draw_matrix(rng, batch), np.float32(1 + rng.random())),
        lambda kernel, sigma: kernel / sigma,
        hand=((([[3.0, 1.0]], 2.0), [[1.5, 0.5]]), (([[3.0, 1.0]], 0.0), [[3.0, 1.0]])),
        call=lambda kernel, sigma: spectral.divide(kernel, sigma.astype(jnp.float32)),
        wrt=(0, 1),
        scaled=(0,),
        shared=(1,),
        keeps_dtype=True,
        bfloat16_rtol=2**-8,
    ),
    Case(
        "spectral.normalised_kernel",
        lambda rng, batch: (*draw_kernel(3, 2, 6)(rng, batch), draw_with_u(rng, 1)[1]),
        lambda k, u: k / np.linalg.norm(k.reshape(-1, 6) @ u),
        hand=((([[[[3.0, 0.0], [4.0, 5.0]]]], U), [[[[0.6, 0.0], [0.8, 1.0]]]]),),
        call=lambda k, u: spectral.normalised_kernel(k, u, "conv"),
        scaled=(0,),
        shared=(1,),
        keeps_dtype=True,
        bfloat16_rtol=2**-8,
    ),
    Case(
        "spectral.init_basis",
        draw_matrix,
        leading_projector,
        hand=((([[1.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 2.0]],), np.diag([0.0, 1.0, 1.0])),),
        call=lambda w: projector(spectral.init_basis(jax.random.key(0), w, 2)),
        wrt=(),
        rtol=1e-3,
        atol=1e-3,
        skip=NO_GRADIENT | TWO_ROWS,
    ),
    Case(
        "spectral.orthogonal_iteration",
        draw_with_basis,
        orthogonal_reference,
        hand=(((np.diag([2.0, 1.0]), np.eye(2)), np.eye(2)),),
        call=lambda w, u: projector(spectral.orthogonal_iteration(w, u, 2)),
        wrt=(),
        scaled=(0,),
        shared=(1,),
        atol=1e-4,
        rtol=1e-4,
        skip=NO_GRADIENT | TWO_ROWS,
    ),
    Case(
        "spectral.singular_values",
        draw_with_basis,
        lambda w, u: np.linalg.svd(w @ u, compute_uv=False),
        hand=(((W, np.eye(2)), [math.sqrt(45.0), math.sqrt(5.0)]),),
        scaled=(0,),
        shared=(1,),
        skip=TWO_ROWS,
    ),
    Case(
        "spectral.spectral_norm",
        draw_kernel(3, 2, 5),
        lambda k: svd_norm(k.reshape(-1, 5)),
        hand=((([[[[3.0, 0.0], [4.0, 5.0]]]],), math.sqrt(45.0)),),
        call=lambda k: spectral.spectral_norm(k, "conv"),
        rtol=1e-4,
    ),
    Case(
        "spectral.operator_norm",
        draw_matrix,
        svd_norm,
        hand=(((W,), math.sqrt(45.0)),),
        call=lambda w: spectral.operator_norm(by_matrix(w), w.shape[:1]),
        rtol=1e-4,
    ),
    Case(
        "spectral.operator_norm_bounds",
        draw_matrix,
        twice_norm,
        hand=(((W,), [math.sqrt(45.0)] * 2),),
        call=bounds_of,
        skip=CONCRETE,
        wrt=(),
    ),
    Case(
        "spectral.conv_norm",
        draw_kernel(3, 2, 3),
        lambda k: svd_norm(conv_matrix(to_kernel(k), (5, 4), (2, 1))),
        hand=((ONE_TAP, math.sqrt(45.0)),),
        call=lambda k: spectral.conv_norm(to_kernel(k), (5, 4), (2, 1)),
        rtol=1e-4,
    ),
    Case(
        "spectral.conv_transpose_norm",
        draw_kernel(3, 2, 3),
        lambda k: svd_norm(conv_transpose_matrix(to_kernel(k), (3, 4), 2)),
        hand=((ONE_TAP, math.sqrt(45.0)),),
        call=lambda k: spectral.conv_transpose_norm(to_kernel(k), (3, 4), 2),
        rtol=1e-4,
    ),
    Case(
        "spectral.activation_lipschitz",
        draw_nothing,
        steepest_gelu,
        # At sqrt 2: (1 + erf 1) / 2 + 1 / (e sqrt pi).
        hand=(((), (1 + math.erf(1)) / 2 + 1 / (math.e * math.sqrt(math.pi))),),
        call=lambda: spectral.activation_lipschitz("gelu"),
        wrt=(),
        skip=NUMBERS,
    ),
    Case(
        "spectral.max_pool_lipschitz",
        draw_nothing,
        # Of the pixels of a 9x9 image, those in two windows of 3 with stride 2 along both axes are in four.
        lambda: math.sqrt(
            max(sum(2 * o <= i < 2 * o + 3 for o in range(4)) for i in range(9)) ** 2
        ),
        hand=(((), 2.0),),
        call=lambda: spectral.max_pool_lipschitz((9, 9), 3, 2),
        wrt=(),
        skip=NUMBERS,
    ),
    Case(
        "spectral.average_pool_lipschitz",
        draw_nothing,
        lambda: svd_norm(np.kron(pooling_matrix(3, 3, 2), pooling_matrix(4, 3, 1))),
        hand=(((), AVERAGES_BY_HAND),),
        call=lambda: spectral.average_pool_lipschitz((3, 4), 3, (2, 1)),
        wrt=(),
        skip=NUMBERS,
    ),
    Case(
        "spectral.lipschitz_certificate",
        draw_kernel(1),
        twice_norm,
        hand=((([[3.0], [4.0]],), [5.0, 5.0]),),
        call=certificate_of,
        wrt=(),
        skip=CONCRETE,
    ),
    Case(
        "spectral.lipschitz_lower_bound",
        draw_kernel(1),
        svd_norm,
        hand=((([[3.0], [4.0]],), 5.0),),
        call=lower_of,
    ),
]
