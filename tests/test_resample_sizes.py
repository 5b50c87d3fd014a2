"""Resizing, wavelets and pyramids: other libraries, exact reconstruction, adjointness."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import resample


@pytest.fixture
def x(key):
    return jax.random.normal(key, (2, 16, 24, 3))


@pytest.mark.parametrize("size", [(5, 7), (16, 24), (8, 40), (40, 33)])
@pytest.mark.parametrize(
    ("method", "name"), [("linear", "BILINEAR"), ("cubic", "BICUBIC"), ("lanczos3", "LANCZOS")]
)
def test_resizing_is_pillows_on_float_images(x, size, method, name):
    image = pytest.importorskip("PIL.Image")
    found = resample.resize_antialiased(x, size, method)
    kind = getattr(image.Resampling, name)
    for c in range(3):
        picture = image.fromarray(np.asarray(x[0, :, :, c]))
        expected = np.asarray(picture.resize(size[::-1], kind))
        np.testing.assert_allclose(found[0, :, :, c], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("method", "mode"), [("linear", "bilinear"), ("cubic", "bicubic")])
def test_resizing_is_torchs_with_antialias(x, method, mode):
    torch = pytest.importorskip("torch")
    other = torch.tensor(np.asarray(x).transpose(0, 3, 1, 2))
    expected = torch.nn.functional.interpolate(
        other, (5, 7), mode=mode, antialias=True, align_corners=False
    )
    found = resample.resize_antialiased(x, (5, 7), method)
    np.testing.assert_allclose(found, expected.numpy().transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-5)


def test_what_small_images_cannot_show_does_not_fold_over():
    """Stripes of one pixel at a quarter of the size are grey, where every fourth pixel alone would be black."""
    stripes = jnp.broadcast_to(jnp.arange(64).reshape(1, 1, 64, 1) % 2, (1, 64, 64, 1))
    y = resample.resize_antialiased(stripes.astype(jnp.float32), (16, 16))
    np.testing.assert_allclose(y[:, 2:-2, 2:-2], 0.5, atol=1e-2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "nearest"}, r"method is 'nearest'; give one of linear, cubic, lanczos3"),
        ({"size": (4,)}, r"size is \(4,\); give \(height, width\), whole numbers from 1"),
        ({"size": (0, 4)}, r"size is \(0, 4\); give"),
        (
            {"x": jnp.zeros((4, 4))},
            r"resize_antialiased takes floating-point images \[B, H, W, C\]",
        ),
        ({"x": jnp.zeros((1, 0, 4, 3))}, r"shape \(1, 0, 4, 3\), which holds no pixels"),
    ],
)
def test_errors_of_resizing(arguments, message):
    with pytest.raises(ValueError, match=message):
        resample.resize_antialiased(**{"x": jnp.zeros((1, 4, 4, 3)), "size": (2, 2), **arguments})


def test_haar_is_orthonormal_and_its_inverse_the_transpose(x):
    bands = resample.haar(x)
    assert bands.shape == (2, 8, 12, 12)
    np.testing.assert_allclose(resample.haar_inverse(bands), x, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(resample.haar(resample.haar_inverse(bands)), bands, atol=1e-5)
    np.testing.assert_allclose(jnp.sum(bands**2), jnp.sum(x**2), rtol=1e-5)
    y = jax.random.normal(jax.random.key(1), bands.shape)
    (transposed,) = jax.vjp(resample.haar, x)[1](y)
    np.testing.assert_allclose(resample.haar_inverse(y), transposed, rtol=1e-5, atol=1e-6)


def test_each_band_of_haar_sees_its_own_edges():
    rows = jnp.broadcast_to(jnp.array([1.0, -1.0] * 4).reshape(1, 8, 1, 1), (1, 8, 8, 1))
    for image, band in ((rows, 1), (rows.swapaxes(1, 2), 2), (rows * rows.swapaxes(1, 2), 3)):
        energy = jnp.sum(resample.haar(image) ** 2, (0, 1, 2))
        np.testing.assert_allclose(energy, 64.0 * np.eye(4)[band])
    low = resample.haar(jnp.ones((1, 8, 8, 2)))
    np.testing.assert_allclose(jnp.sum(low**2, (0, 1, 2)), [64.0, 64.0, 0, 0, 0, 0, 0, 0])


def test_errors_of_haar():
    with pytest.raises(ValueError, match=r"haar halves .* must be even; got 3x4"):
        resample.haar(jnp.zeros((1, 3, 4, 1)))
    with pytest.raises(ValueError, match=r"haar_inverse takes four bands, .* got 6"):
        resample.haar_inverse(jnp.zeros((1, 3, 4, 6)))
    with pytest.raises(ValueError, match=r"haar takes floating-point images .* int32"):
        resample.haar(jnp.zeros((1, 4, 4, 1), jnp.int32))


def test_the_gaussian_pyramid_is_scipys_filter_at_every_second_pixel(x):
    ndimage = pytest.importorskip("scipy.ndimage")
    taps = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    y = np.asarray(x, np.float64)
    for image in resample.gaussian_pyramid(x, 4)[1:]:
        for axis in (1, 2):
            y = ndimage.correlate1d(y, taps, axis, mode="mirror")
        y = y[:, ::2, ::2]
        np.testing.assert_allclose(image, y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_a_laplacian_pyramid_adds_up_to_its_image(x, levels):
    pyramid = resample.laplacian_pyramid(x, levels)
    assert [level.shape[1] for level in pyramid] == [16, 8, 4, 2][:levels]
    np.testing.assert_allclose(resample.laplacian_reconstruct(pyramid), x, rtol=0, atol=1e-6)
    # Each level's own part, and no more: the levels below enlarged.
    if levels > 1:
        smooth = resample.laplacian_reconstruct([jnp.zeros_like(pyramid[0]), *pyramid[1:]])
        np.testing.assert_allclose(smooth + pyramid[0], x, atol=1e-6)


def test_a_slope_has_no_detail_inside():
    """Linear images are kept by smoothing and by enlarging, so their differences are 0 but at the edges."""
    slope = jnp.broadcast_to(jnp.arange(32.0).reshape(1, 1, 32, 1), (1, 32, 32, 1))
    detail, _ = resample.laplacian_pyramid(slope, 2)
    np.testing.assert_allclose(detail[:, :, 4:-4], 0.0, atol=1e-4)


def test_pyramids_of_single_pixels(key):
    x = jax.random.normal(key, (1, 2, 2, 1))
    pyramid = resample.laplacian_pyramid(x, 2)
    np.testing.assert_allclose(resample.laplacian_reconstruct(pyramid), x, atol=1e-6)


def test_errors_of_pyramids():
    x = jnp.zeros((1, 12, 8, 1))
    with pytest.raises(ValueError, match=r"4 levels halve .* 3 times; got 12x8"):
        resample.gaussian_pyramid(x, 4)
    with pytest.raises(ValueError, match=r"levels is 0; give a whole number from 1"):
        resample.laplacian_pyramid(x, 0)
    with pytest.raises(ValueError, match=r"The pyramid has no levels"):
        resample.laplacian_reconstruct([])
    with pytest.raises(ValueError, match=r"\(1, 12, 8, 1\) is followed by one of \(1, 12, 8, 1\)"):
        resample.laplacian_reconstruct([x, x])
    with pytest.raises(ValueError, match=r"laplacian_reconstruct takes floating-point images"):
        resample.laplacian_reconstruct([x, x[0]])
