import numpy as np
import pytest
import scipy.ndimage

from jaxgan.metrics import sliced
from jaxgan.metrics.sliced import patch_sliced_wasserstein


def _by_definition(real, fake, patches, lines, rng):
    """Karras et al. 2018, Section 5, in NumPy and SciPy: all that is random is drawn otherwise."""
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])[None, :, :, None] / 256

    def pyramid(images):
        images = images.astype(float)
        while min(images.shape[1:3]) >= 32:
            small = scipy.ndimage.convolve(images, kernel, mode="mirror")[:, ::2, ::2]
            spread = np.zeros_like(images)
            spread[:, ::2, ::2] = small
            yield images - scipy.ndimage.convolve(spread, 4 * kernel, mode="mirror")
            images = small
        yield images

    def descriptors(level):
        _, h, w, _ = level.shape
        taken = np.array(
            [
                image[y : y + 7, x : x + 7]
                for image in level
                for y, x in zip(
                    rng.integers(h - 6, size=patches),
                    rng.integers(w - 6, size=patches),
                    strict=True,
                )
            ]
        )
        taken = taken - taken.mean((0, 1, 2))
        return (taken / taken.std((0, 1, 2))).reshape(len(taken), -1)

    result = {}
    for one, other in zip(pyramid(real), pyramid(fake), strict=True):
        x, y = descriptors(one), descriptors(other)
        directions = rng.normal(size=(x.shape[1], lines))
        directions /= np.linalg.norm(directions, axis=0)
        apart = np.sort(x @ directions, axis=0) - np.sort(y @ directions, axis=0)
        result[one.shape[1]] = np.abs(apart).mean()
    return result


def _pictures(rng, sigma, count=60, shape=(32, 32, 3)):
    images = scipy.ndimage.gaussian_filter(rng.normal(size=(count, *shape)), (0, sigma, sigma, 0))
    return np.clip(128 + 50 * images / images.std(), 0, 255).astype(np.uint8)


def test_is_the_paper():
    rng = np.random.default_rng(0)
    real, fake = _pictures(rng, 1.0), _pictures(rng, 0.4)
    expected = _by_definition(real, fake, 64, 200, rng)
    found = patch_sliced_wasserstein(real, fake, patches=64, projections=200)
    assert list(found.per_level) == list(expected) == [32, 16]
    for height, value in expected.items():
        assert value > 0.02
        assert found.per_level[height] == pytest.approx(value, rel=0.06)
    assert found.mean == pytest.approx(sum(found.per_level.values()) / 2)


def test_finds_the_level_at_which_pictures_differ():
    """White noise on smooth pictures is mostly in the finest level."""
    rng = np.random.default_rng(1)
    real, noisy = _pictures(rng, 3.0), _pictures(rng, 3.0)
    noisy = np.clip(noisy + 9 * rng.normal(size=noisy.shape), 0, 255).astype(np.uint8)
    same = patch_sliced_wasserstein(real, real, patches=32, projections=64)  # other patches
    found = patch_sliced_wasserstein(real, noisy, patches=32, projections=64)
    assert max(same.per_level.values()) < 0.05
    assert found.per_level[32] > 1.3 * found.per_level[16]
    assert found.per_level[32] > 2 * same.per_level[32]


def test_cast_and_contrast_of_a_set_do_not_count_and_a_constant_one_is_finite():
    rng = np.random.default_rng(2)
    real = _pictures(rng, 1.0).astype(np.float32)
    plain = patch_sliced_wasserstein(real, real, patches=8, projections=16)
    cast = real * np.float32([0.5, 1, 0.25]) + np.float32([0, 9, 40])
    found = patch_sliced_wasserstein(real, cast, patches=8, projections=16)
    assert found.mean == pytest.approx(plain.mean, rel=1e-3)
    gray = np.full_like(real, 128)
    collapsed = patch_sliced_wasserstein(real, gray, patches=8, projections=16)
    assert collapsed.mean > 5 * plain.mean
    assert patch_sliced_wasserstein(gray, gray, patches=8, projections=16).mean == 0


def test_on_a_line_the_distance_is_of_sorted_numbers():
    """In one dimension every direction is the line itself, whatever the number of directions at a time."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 500, 1)).astype(np.float32)
    expected = np.abs(np.sort(x[:, 0]) - np.sort(y[:, 0])).mean()
    for lines in (1, 16, 17):
        assert sliced._sliced(x, y, lines, rng) == pytest.approx(expected, rel=1e-5)


def test_batches_do_not_matter_and_the_seed_does():
    rng = np.random.default_rng(4)
    real, fake = (_pictures(rng, 1.0, 7, (16, 24, 1)) for _ in range(2))
    how = {"patches": 5, "projections": 4}
    found = patch_sliced_wasserstein(real, fake, **how)
    assert found == patch_sliced_wasserstein(real, fake, **how)
    assert found != patch_sliced_wasserstein(real, fake, **how, seed=1)
    assert list(found.per_level) == [16]


@pytest.mark.parametrize(("side", "levels"), [(7, [7]), (8, [8]), (16, [16]), (32, [32, 16])])
def test_small_pictures_have_one_level_and_are_told_apart(side, levels):
    rng = np.random.default_rng(5)
    real, other, sharp = (_pictures(rng, s, 400, (side, side, 1)) for s in (2.0, 2.0, 0.4))
    same, found = (
        patch_sliced_wasserstein(real, fake, patches=16, projections=64) for fake in (other, sharp)
    )
    assert list(same.per_level) == list(found.per_level) == levels
    assert found.mean > 1.5 * same.mean


_X = np.zeros((4, 32, 32, 3), np.uint8)


@pytest.mark.parametrize(
    ("real", "fake", "how", "message"),
    [
        (
            _X,
            _X[:3],
            {},
            r"the same number, shape and dtype, not uint8 \[4, 32, 32, 3\]",
        ),
        (_X, _X.astype(np.float32), {}, r"and float32 \[4, 32, 32, 3\]"),
        (
            _X[:, :6],
            _X[:, :6],
            {},
            "pictures 6 x 32 are too small; .* at least 7, the side of a patch",
        ),
        (_X[:, :15], _X[:, :15], {}, None),
        (_X[:, :, 1:], _X[:, :, 1:], {}, None),  # one level: nothing is halved
        (
            np.zeros((2, 34, 33, 1)),
            np.zeros((2, 34, 33, 1)),
            {},
            "34 x 33 cannot be halved 1 times",
        ),
        (_X, _X, {"projections": 0}, "projections = 0 must be at least 1"),
        (np.zeros((2, 32, 32)), _X, {}, r"real must be pictures \[N, H, W, C\], not \[2, 32, 32\]"),
    ],
)
def test_refuses(real, fake, how, message):
    if message is None:
        found = patch_sliced_wasserstein(real, fake, patches=2, projections=2)
        assert list(found.per_level) == [real.shape[1]]
        return
    with pytest.raises(ValueError, match=message):
        patch_sliced_wasserstein(real, fake, **how)
