"""FIR filters against SciPy's `upfirdn` and against convolutions written out."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxgan import resample


def upfirdn(x, rows, columns, up, down, padding):
    """SciPy's, of the padded or cropped image, cut to the outputs that the whole kernel lies behind."""
    signal = pytest.importorskip("scipy.signal")
    y = np.asarray(x, np.float64)
    for axis, taps, u, d, pad in zip(
        (1, 2), (rows, columns), up, down, (padding[:2], padding[2:]), strict=True
    ):
        zeros = np.zeros([u * n if a == axis else n for a, n in enumerate(y.shape)])
        zeros[tuple(slice(None, None, u) if a == axis else slice(None) for a in range(4))] = y
        edges = [tuple(max(0, p) for p in pad) if a == axis else (0, 0) for a in range(4)]
        v = np.pad(zeros, edges)
        crop = [slice(max(0, -pad[0]), v.shape[axis] - max(0, -pad[1]))]
        v = v[tuple(crop[0] if a == axis else slice(None) for a in range(4))]
        full = signal.upfirdn(taps, v, axis=axis)
        whole = slice(len(taps) - 1, v.shape[axis], d)
        y = full[tuple(whole if a == axis else slice(None) for a in range(4))]
    return y


RATES = [((u, v), (d, e)) for u, v, d, e in itertools.product((1, 2, 3), (1, 2), (1, 2), (1, 3, 4))]


@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (-1, 2, 3, -2)])
@pytest.mark.parametrize(("up", "down"), RATES[::2])
def test_upfirdn2d_against_scipy(up, down, padding):
    rng = np.random.default_rng(0)
    x = np.float32(rng.normal(size=(2, 7, 8, 3)))
    rows, columns = np.float32(rng.normal(size=4)), np.float32(rng.normal(size=3))
    expected = upfirdn(x, rows, columns, up, down, padding)
    found = resample.upfirdn2d(x, np.outer(rows, columns), up, down, padding)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    found = resample.upfirdn2d(x, rows, up, down, padding)
    expected = upfirdn(x, rows, rows, up, down, padding)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("up", "down"), RATES[::9])
def test_upfirdn2d_to_third_order(up, down):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, kernel = jnp.asarray(rng.normal(size=(1, 4, 5, 2))), jnp.asarray(rng.normal(size=(3, 2)))
        check_grads(
            lambda x, k: jnp.mean(jnp.sin(resample.upfirdn2d(x, k, up, down, (1, 2, -1, 2)))),
            (x, kernel),
            order=3,
            modes=("rev",),
            rtol=1e-3,
        )


@pytest.mark.parametrize(("up", "down"), RATES[1::3])
def test_the_gradient_by_the_image_is_the_adjoint(up, down):
    """<A x, y> = <x, A^T y>, A^T from automatic differentiation of a convolution."""
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.normal(size=(2, 5, 6, 2)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(3, 4)), jnp.float32)
    padding = (2, -1, 1, 3)

    def plain(x):
        y = jax.lax.conv_general_dilated(
            x,
            jnp.broadcast_to(kernel[::-1, ::-1, None, None], (3, 4, 1, 2)),
            down,
            ((padding[0], padding[1] + up[0] - 1), (padding[2], padding[3] + up[1] - 1)),
            lhs_dilation=up,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=2,
        )
        return y

    found, back = jax.vjp(lambda x: resample.upfirdn2d(x, kernel, up, down, padding), x)
    expected, plain_back = jax.vjp(plain, x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    y = jnp.asarray(rng.normal(size=found.shape), jnp.float32)
    np.testing.assert_allclose(back(y)[0], plain_back(y)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": jnp.zeros((4, 4, 3))}, r"images \[B, H, W, C\]; got float32 of shape \(4, 4, 3\)"),
        ({"x": jnp.zeros((1, 4, 4, 3), jnp.uint8)}, r"takes floating-point images .* got uint8"),
        ({"kernel": jnp.zeros((1, 2, 3))}, r"kernel has shape \(1, 2, 3\); give \[kh, kw\]"),
        ({"kernel": jnp.zeros(0)}, r"kernel has shape \(0,\); give"),
        ({"up": 0}, r"up is 0; give a whole number from 1"),
        ({"down": (1, 2, 3)}, r"down is \(1, 2, 3\); give a whole number from 1, or two"),
        ({"padding": (1, 1)}, r"padding is \(1, 1\); give four whole numbers"),
        ({"padding": (0, 0, 0, -3)}, r"The width is 1 after .* less than the kernel's 2"),
    ],
)
def test_errors_of_upfirdn2d(arguments, message):
    with pytest.raises(ValueError, match=message):
        resample.upfirdn2d(**{"x": jnp.zeros((1, 4, 4, 3)), "kernel": jnp.ones(2), **arguments})
