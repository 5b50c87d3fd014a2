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
            jax.jit(
                lambda x, k: jnp.mean(jnp.sin(resample.upfirdn2d(x, k, up, down, (1, 2, -1, 2))))
            ),
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


FILTERS = {
    "box": resample.binomial(2),
    "four": resample.binomial(4),
    "five": resample.binomial(5),
    "six, not even": np.float32([0.1, -0.2, 0.5, 0.3, 0.2, 0.1]),
    "plane": resample.kaiser_lowpass(6, 0.25, 0.3, radial=True),
}


@pytest.fixture(params=FILTERS.values(), ids=FILTERS)
def taps(request):
    return request.param


def assert_close(found, expected, rtol=2e-5):
    """Equal up to float32 rounding of sums, measured against the largest entry."""
    expected = np.asarray(expected, np.float64)
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(np.asarray(found, np.float64) / scale, expected / scale, atol=rtol)


def test_the_box_is_averaging_and_repeating(key):
    x = jax.random.normal(key, (2, 4, 6, 3))
    box = resample.binomial(2)
    np.testing.assert_allclose(
        resample.downsample_fir(x, box), resample.avg_pool(x), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(resample.upsample_fir(x, box), resample.upsample_nearest(x))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_up_is_the_transpose_of_down_by_the_turned_filter(factor, key):
    keys = jax.random.split(key, 3)
    for size in (4, 5, 6, (4, 5)):
        taps = jax.random.normal(keys[2], size if isinstance(size, tuple) else (size,))
        small = jax.random.normal(keys[0], (2, 3, 4, 2))
        large = jax.random.normal(keys[1], (2, 3 * factor, 4 * factor, 2))
        turned = taps[tuple(slice(None, None, -1) for _ in range(taps.ndim))]
        up = resample.upsample_fir(small, taps, factor)
        assert up.shape == large.shape
        down = resample.downsample_fir(large, turned, factor)
        np.testing.assert_allclose(
            jnp.vdot(up, large), factor**2 * jnp.vdot(small, down), rtol=1e-4, atol=1e-4
        )


def test_filters_of_sum_1_keep_a_grey_image_grey_inside(taps):
    grey = jnp.full((1, 16, 16, 1), 0.5)
    assert np.sum(taps) == pytest.approx(1.0, abs=1e-6)
    for y in (resample.downsample_fir(grey, taps), resample.blur(grey, taps)):
        np.testing.assert_allclose(y[:, 4:-4, 4:-4], 0.5, rtol=1e-5)
    up = resample.upsample_fir(grey, resample.binomial(4))
    np.testing.assert_allclose(up[:, 4:-4, 4:-4], 0.5, rtol=1e-5)


def test_blur_is_scipys_convolution(taps, key):
    signal = pytest.importorskip("scipy.signal")
    x = np.asarray(jax.random.normal(key, (2, 8, 9, 3)))
    plane = taps if taps.ndim == 2 else np.outer(taps, taps)
    h, w = plane.shape
    for b in range(2):
        for c in range(3):
            full = signal.convolve2d(x[b, :, :, c], plane)
            # The middle; where there are two, the later.
            expected = full[(h - 1) // 2 :, (w - 1) // 2 :][:8, :9]
            np.testing.assert_allclose(
                resample.blur(jnp.asarray(x), taps)[b, :, :, c], expected, rtol=1e-4, atol=1e-5
            )


@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (1, 2)])
def test_upfirdn2d_against_torch(up, down):
    """Depthwise convolutions of the padded image, the kernel turned; values, gradients and theirs."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    rng = np.random.default_rng(0)
    x, kernel = np.float32(rng.normal(size=(2, 6, 8, 3))), np.float32(rng.normal(size=(3, 4)))

    def ours(x):
        y = resample.upfirdn2d(x, kernel, up, down, (1, 1, 2, 1))
        return jnp.sum(jnp.tanh(y))

    def theirs(x):
        y = torch.zeros(2, 3, 6 * up, 8 * up)
        y[:, :, ::up, ::up] = x
        y = functional.pad(y, (2, 1, 1, 1))
        weight = torch.tensor(kernel[::-1, ::-1].copy())[None, None].repeat(3, 1, 1, 1)
        return torch.tanh(functional.conv2d(y, weight, stride=down, groups=3)).sum()

    other = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
    value = theirs(other)
    (gradient,) = torch.autograd.grad(value, other, create_graph=True)
    (second,) = torch.autograd.grad((gradient**2).sum(), other)
    images = jnp.asarray(x)
    np.testing.assert_allclose(ours(images), value.item(), rtol=1e-5)
    assert_close(jax.grad(ours)(images), gradient.detach().numpy().transpose(0, 2, 3, 1), 1e-5)
    assert_close(
        jax.grad(lambda x: jnp.sum(jax.grad(ours)(x) ** 2))(images),
        second.numpy().transpose(0, 2, 3, 1),
        1e-5,
    )


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (5, 3)])
def test_fused_forms_are_the_compositions_away_from_the_edge(size, taps, key):
    """And at the edge too, of an image in a margin of zeros, where nothing is cut off."""
    keys = jax.random.split(key, 3)
    x = jax.random.normal(keys[0], (2, 8, 10, 3))
    kernel, bias = jax.random.normal(keys[1], (*size, 3, 4)), jax.random.normal(keys[2], (4,))
    wide = jnp.pad(x, ((0, 0), (8, 8), (8, 8), (0, 0)))
    up = resample.conv(resample.upsample_fir(wide, taps), kernel, bias)[:, 16:-16, 16:-16]
    assert_close(resample.upsample_conv_fir(x, kernel, taps, bias), up)
    down = resample.downsample_fir(resample.conv(wide, kernel), taps)[:, 4:-4, 4:-4]
    assert_close(
        resample.conv_downsample_fir(x, kernel, taps, bias), down + bias.reshape(1, 1, 1, 4)
    )

    plain = resample.conv(resample.upsample_fir(x, taps), kernel, bias)
    h, w = size[0] // 2, size[1] // 2
    inner = (slice(None), slice(h, 16 - h), slice(w, 20 - w))
    assert_close(resample.upsample_conv_fir(x, kernel, taps, bias)[inner], plain[inner])


FUSED = {
    "up": (
        resample.upsample_conv_fir,
        lambda x, k, f: resample.conv(resample.upsample_fir(x, f), k)[:, 16:-16, 16:-16],
    ),
    "down": (
        resample.conv_downsample_fir,
        lambda x, k, f: resample.downsample_fir(resample.conv(x, k), f)[:, 4:-4, 4:-4],
    ),
}


@pytest.mark.parametrize("name", FUSED)
def test_gradients_of_the_fused_forms_are_those_of_the_compositions(name, key):
    fused, plain = FUSED[name]
    keys = jax.random.split(key, 2)
    x, kernel = jax.random.normal(keys[0], (1, 4, 6, 2)), jax.random.normal(keys[1], (3, 5, 2, 3))
    taps = jnp.asarray(resample.binomial(4))

    def penalty(f):
        def norm(x, kernel, taps):
            return jnp.sum(jax.grad(lambda x: jnp.sum(jnp.tanh(f(x, kernel, taps))))(x) ** 2)

        return norm

    def wide(x, *others):
        return plain(jnp.pad(x, ((0, 0), (8, 8), (8, 8), (0, 0))), *others)

    for found, expected in zip(
        jax.jit(jax.grad(penalty(fused), (0, 1, 2)))(x, kernel, taps),
        jax.jit(jax.grad(penalty(wide), (0, 1, 2)))(x, kernel, taps),
        strict=True,
    ):
        assert_close(found, expected, 1e-4)


def test_the_fused_forms_save_three_quarters_of_the_arithmetic(key):
    """As XLA counts it, with what the filter takes."""
    x, kernel = jax.random.normal(key, (4, 32, 32, 32)), jnp.ones((3, 3, 32, 32))
    taps = resample.binomial(4)

    def flops(f, *arguments):
        return jax.jit(f).lower(*arguments).compile().cost_analysis()["flops"]

    plain = flops(lambda x, k: resample.downsample_fir(resample.conv(x, k), taps), x, kernel)
    assert flops(lambda x, k: resample.conv_downsample_fir(x, k, taps), x, kernel) < 0.35 * plain


@pytest.mark.parametrize("name", ["upsample_conv_fir", "conv_downsample_fir"])
def test_errors_of_the_fused_forms(name):
    f, x, kernel = getattr(resample, name), jnp.zeros((1, 4, 4, 2)), jnp.zeros((3, 3, 2, 1))
    taps = jnp.ones(4) / 8
    with pytest.raises(ValueError, match=rf"{name} takes floating-point images \[B, H, W, C\]"):
        f(x[0], kernel, taps)
    with pytest.raises(ValueError, match=r"kernel \[kh, kw, 2, O\] for images of 2 channels; got"):
        f(x, jnp.zeros((3, 3, 4, 1)), taps)
    with pytest.raises(ValueError, match=r"exact for kernels of odd size only; got 4x3"):
        f(x, jnp.zeros((4, 3, 2, 1)), taps)
    with pytest.raises(ValueError, match=rf"{name} by 2 takes a kernel of at least 2 taps"):
        f(x, kernel, taps[:1])


def test_errors_of_the_resampling_filters():
    x, taps = jnp.zeros((1, 5, 6, 3)), jnp.ones(4) / 4
    with pytest.raises(ValueError, match=r"downsample_fir divides .* by 2; got a height of 5"):
        resample.downsample_fir(x, taps)
    with pytest.raises(ValueError, match=r"conv_downsample_fir halves .* must be even; got 5x6"):
        resample.conv_downsample_fir(x, jnp.zeros((3, 3, 3, 1)), taps)
    with pytest.raises(ValueError, match=r"upsample_fir by 5 takes a kernel of at least 5 taps"):
        resample.upsample_fir(x, taps, 5)
    with pytest.raises(ValueError, match=r"factor is 0; give a whole number from 1"):
        resample.downsample_fir(x, taps, 0)
    with pytest.raises(ValueError, match=r"blur takes floating-point images .* \(5, 6, 3\)"):
        resample.blur(x[0], taps)
    with pytest.raises(ValueError, match=r"kernel has shape \(\); give \[kh, kw\]"):
        resample.blur(x, jnp.float32(1.0))


@pytest.mark.parametrize(
    ("taps", "cutoff", "width"), [(6, 0.2, 0.4), (12, 0.3, 0.2), (9, 0.1, 0.7)]
)
@pytest.mark.parametrize("rate", [1.0, 64.0])
def test_kaiser_lowpass_is_scipys_firwin(taps, cutoff, width, rate):
    """Without a window, with a middling and with a strong one."""
    signal = pytest.importorskip("scipy.signal")
    expected = signal.firwin(taps, cutoff * rate, width=width * rate, fs=rate)
    found = resample.kaiser_lowpass(taps, cutoff * rate, width * rate, rate)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_radial_filter_is_that_of_a_disc():
    """Its window taken off again, the jinc, by SciPy's Bessel function."""
    special = pytest.importorskip("scipy.special")
    cutoff, n = 0.3, 12
    at = np.arange(n) - (n - 1) / 2
    r = np.hypot(at[:, None], at[None, :])
    line = resample.kaiser_lowpass(n, cutoff, 0.2)
    window = line / np.sinc(2 * cutoff * at)
    expected = cutoff * special.j1(2 * np.pi * cutoff * r) / r * np.outer(window, window)
    found = resample.kaiser_lowpass(n, cutoff, 0.2, radial=True)
    np.testing.assert_allclose(found, expected / expected.sum(), atol=1e-6)
    # At 0 the limit.
    odd = resample.kaiser_lowpass(3, 0.25, 0.01, radial=True)
    ratio = 0.25 * special.j1(np.pi / 2) / (np.pi * 0.25**2)
    assert odd[1, 2] / odd[1, 1] == pytest.approx(ratio, rel=1e-5)


def test_errors_of_the_filters():
    with pytest.raises(ValueError, match="taps is 0; give a whole number from 1"):
        resample.binomial(0)
    with pytest.raises(ValueError, match=r"taps is 2.5; give a whole number"):
        resample.kaiser_lowpass(2.5, 0.2, 0.1)
    with pytest.raises(ValueError, match=r"cutoff is 0.5; give a frequency between 0 and .* 0.5"):
        resample.kaiser_lowpass(6, 0.5, 0.1)
    with pytest.raises(ValueError, match=r"width is 0; the transition"):
        resample.kaiser_lowpass(6, 0.2, 0)
