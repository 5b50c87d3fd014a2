import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal

from jaxgan.metrics.ms_ssim import WEIGHTS, ms_ssim, ms_ssim_diversity, ssim


def _terms(x, y, data_range, size=11, sigma=1.5):
    """Wang et al. 2004, Eq. 13 of one channel: the mean SSIM, and that of contrast and structure alone."""
    places = np.arange(size) - (size - 1) / 2
    window = np.exp(-(places[:, None] ** 2 + places**2) / (2 * sigma**2))
    window /= window.sum()

    def mean(z):
        return scipy.signal.convolve2d(z, window, mode="valid")

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    structure = (2 * cov + c2) / (vx + vy + c2)
    return np.mean((2 * mx * my + c1) / (mx**2 + my**2 + c1) * structure), structure.mean()


def _ms_ssim(x, y, data_range, weights, shrink=False):
    """Wang et al. 2003, Eq. 7, as their program does: low-pass 2 x 2, every second pixel."""
    result = 1.0
    for level, weight in enumerate(np.array(weights) / np.sum(weights)):
        size = min(11, *x.shape[:2]) if shrink else 11
        channels = [
            _terms(x[..., c], y[..., c], data_range, size, 1.5 * size / 11)
            for c in range(x.shape[-1])
        ]
        whole, structure = np.mean(channels, axis=0)
        result *= (whole if level == len(weights) - 1 else structure) ** weight
        low_pass = np.full((2, 2, 1), 0.25)
        x, y = (
            scipy.ndimage.correlate(z, low_pass, mode="reflect", origin=(-1, -1, 0))[::2, ::2]
            for z in (x, y)
        )
    return result


def _pictures(shape, noise):
    """Smooth pictures and noisy copies of them, uint8."""
    rng = np.random.default_rng(0)
    x = scipy.ndimage.gaussian_filter(rng.normal(size=shape), (0, 4, 4, 0)) * 900 + 128
    y = x + noise * rng.normal(size=shape)
    return (np.clip(np.round(z), 0, 255).astype(np.uint8) for z in (x, y))


@pytest.mark.parametrize(
    ("side", "scales", "shrink"),
    [((170, 163), 5, False), ((47, 64), 3, False), ((33, 64), 4, True)],
)
def test_is_the_paper(side, scales, shrink):
    one, other = _pictures((2, *side, 2), 40)
    weights = WEIGHTS[:scales]
    expected = [
        _ms_ssim(x.astype(float), y.astype(float), 255, weights, shrink)
        for x, y in zip(one, other, strict=True)
    ]
    assert 0.2 < max(expected) < 0.97
    found = ms_ssim(one, other, weights=weights, shrink_window=shrink)
    np.testing.assert_allclose(found, expected, rtol=3e-6)


def test_one_scale_is_ssim_and_the_range_a_unit():
    one, other = _pictures((3, 40, 30, 3), 25)
    found = ssim(one, other)
    np.testing.assert_allclose(ms_ssim(one, other, weights=(1.0,)), found, rtol=1e-6)
    scaled = [x.astype(np.float32) / 127.5 - 1 for x in (one, other)]
    # The luminance term knows where 0 is; without the shift the two are equal.
    np.testing.assert_allclose(ssim(*(x + 1 for x in scaled), data_range=2), found, rtol=1e-5)
    np.testing.assert_allclose(ssim(other, one), found, rtol=1e-6)


def test_constant_pictures_and_negatives():
    black, white = np.zeros((1, 32, 32, 1), np.uint8), np.full((1, 32, 32, 1), 255, np.uint8)
    assert float(ssim(black, black)[0]) == pytest.approx(1, rel=1e-6)
    assert float(ssim(black, white)[0]) == pytest.approx(1e-4 / (1 + 1e-4), rel=1e-4)
    (one, _) = _pictures((1, 64, 64, 1), 0)
    assert float(ssim(one, 255 - one)[0]) < -0.3
    assert float(ms_ssim(one, 255 - one, weights=WEIGHTS[:2])[0]) == 0  # and not NaN


def test_is_traceable():
    one, other = _pictures((2, 24, 24, 1), 9)
    np.testing.assert_allclose(jax.jit(ssim)(one, other), ssim(one, other), rtol=1e-6)


def test_diversity_falls_where_a_class_collapses():
    rng = np.random.default_rng(1)
    images = scipy.ndimage.gaussian_filter(rng.normal(size=(12, 32, 32, 1)), (0, 2, 2, 0)) * 600
    images = np.clip(images + 128, 0, 255).astype(np.uint8)
    images[6:] = np.clip(images[6] + rng.integers(0, 5, images[6:].shape), 0, 255)
    labels = np.repeat([3, 7], 6)
    found = ms_ssim_diversity(images, labels, weights=WEIGHTS[:2], pairs=20)
    assert found.per_group[3] < 0.4
    assert found.per_group[7] > 0.9
    assert found.mean == pytest.approx(sum(found.per_group.values()) / 2)


_X = np.zeros((2, 32, 32, 3), np.uint8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ssim(_X[:, :10], _X[:, :10]), "pictures 10 x 32 hold windows of 11 at 0 of 1"),
        (lambda: ms_ssim(_X, _X), r"32 x 32 hold windows of 11 at 2 of 5 scales; .*WEIGHTS\[:n\]"),
        (lambda: ms_ssim(_X[:, :16], _X[:, :16], shrink_window=True), "windows of 2 at 4 of 5"),
        (lambda: ssim(_X, _X[:1]), r"of one shape, not \[2, 32, 32, 3\] and \[1, 32, 32, 3\]"),
        (lambda: ssim(_X, _X.astype(np.float32)), "must have one dtype, not uint8 and float32"),
        (
            lambda: ssim(*[_X.astype(np.float32)] * 2),
            "data_range is required for float32 .* is 2 for",
        ),
        (lambda: ssim(_X, _X, data_range=0), "data_range = 0 must be positive"),
        (lambda: ms_ssim(_X, _X, weights=()), r"weights = \(\) must be positive"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_negative_scale_has_no_infinite_slope():
    """A power below 1 of 0: the gradient was infinite."""
    x = np.tile(np.float32([0, 1])[None, None, :, None], (1, 64, 32, 1))

    def similarity(x, y):
        return ms_ssim(x, y, data_range=1.0, weights=WEIGHTS[:3]).sum()

    value, slope = jax.value_and_grad(similarity)(jnp.asarray(x), jnp.asarray(1 - x))
    assert value == 0
    assert not np.any(slope)
