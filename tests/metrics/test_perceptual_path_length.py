import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.metrics.perceptual_path_length import perceptual_path_length

D = 5
MATRIX = np.random.default_rng(0).normal(size=(D, 12)).astype(np.float32)


def _pictures(w):
    return (w @ MATRIX).reshape(-1, 2, 3, 2)


def _squares(one, other):
    return jnp.square(one - other).sum((1, 2, 3))


def _same(z):
    return z


def _length(synthesis=_pictures, distance=_squares, **how):
    how = {"num_samples": 4096, "batch_size": 4096, "epsilon": 1e-2, "trim": None} | how
    return perceptual_path_length(synthesis, distance, D, jax.random.key(0), **how)


@pytest.fixture(scope="module")
def plain():
    """1,000 paths in batches of 384, of which the last is cut."""
    return _length(mapping=_same, num_samples=1000, batch_size=384)


def test_of_a_linear_generator_in_w(plain):
    """|(w1 - w0) A|² at every place, whose mean is 2 |A|²; w = 3 z makes it 9 times as much."""
    assert plain.lengths.shape == (1000,)
    assert len(np.unique(plain.lengths)) == 1000  # each batch has paths of its own
    assert (plain.mean, plain.deviation) == (plain.lengths.mean(), plain.lengths.std())
    for found, factor in ((plain, 1), (_length(mapping=lambda z: 3 * z, sampling="end"), 9)):
        error = found.deviation / np.sqrt(len(found.lengths))
        assert abs(found.mean - factor * 2 * np.sum(MATRIX**2)) < 4 * error


def test_of_the_identity_in_z_is_the_squared_angle():
    """On the sphere of radius sqrt(D) the arc is sqrt(D) times the angle, wherever t is."""

    def on_the_sphere(one, other):
        off = jnp.abs(jnp.square(one).sum((1, 2, 3)) - D)
        return _squares(one, other) + jnp.where(off > 1e-4, jnp.inf, 0)

    found = _length(lambda z: z[:, None, None], on_the_sphere, space="z", epsilon=1e-3)
    z0, z1 = np.random.default_rng(1).normal(size=(2, 20_000, D))
    cosine = np.sum(z0 * z1, 1) / np.linalg.norm(z0, axis=1) / np.linalg.norm(z1, axis=1)
    assert found.mean == pytest.approx(D * np.mean(np.arccos(cosine) ** 2), rel=0.03)


def test_trimming_and_the_default_epsilon(plain):
    """The step is divided out, and its default above the rounding of float32; the key fixes the paths."""
    found = _length(mapping=_same, num_samples=1000, batch_size=384, trim=(1, 99), epsilon=1e-4)
    np.testing.assert_allclose(found.lengths, plain.lengths, rtol=0.05)
    # From the last length that 1 % do not exceed (of ranks 0 to 999, the 9.99th) to the first that 99 % do not.
    kept = np.sort(found.lengths)[9:991]
    assert found.mean == pytest.approx(kept.mean(), rel=1e-12)
    assert found.deviation == pytest.approx(kept.std(), rel=1e-12)


def test_full_paths_leave_the_ends():
    """A generator that is steep only where |w|² is small: in the middle of a path, not at its ends."""

    def steep_inside(w):
        return 10 * jnp.exp(-3 * jnp.square(w).sum(1))[:, None, None, None]

    full, end = (
        _length(steep_inside, mapping=_same, sampling=sampling) for sampling in ("full", "end")
    )
    assert full.mean > 2 * end.mean


def test_both_ends_have_one_label_and_one_noise(plain):
    """Labels go to mapping and synthesis; were the ends' different, the length would be that over epsilon²."""

    def labels(key, count):
        return jax.random.randint(key, (count,), 0, 3).astype(jnp.float32)

    def mapping(z, label):
        return z + label[:, None]

    def synthesis(w, label):
        noise = jax.random.normal(jax.random.key(7), (len(w), 2, 3, 2))
        return _pictures(w) + 10 * label[:, None, None, None] + noise

    found = _length(synthesis, mapping=mapping, labels=labels, num_samples=1000, batch_size=384)
    np.testing.assert_allclose(found.lengths, plain.lengths, rtol=0.02, atol=0.5)


def test_large_pictures_are_brought_down_by_means():
    """512 x 512 to 256 x 256 by squares of 2: checks of one pixel, whatever their contrast, vanish."""
    checks = (np.indices((512, 512)).sum(0) % 2 * 2 - 1)[None, :, :, None].astype(np.float32)
    seen = []

    def distance(one, other):
        seen.append(one.shape)
        return _squares(one, other)

    found = _length(
        lambda z: z[:, :1, None, None] * checks,
        distance,
        mapping=_same,
        num_samples=2,
        batch_size=2,
    )
    assert seen == [(2, 256, 256, 1)]
    assert found.lengths.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"space": "x"}, "space is 'x'; it must be 'w' or 'z'"),
        ({"sampling": "half"}, "sampling is 'half'; it must be 'full' or 'end'"),
        (
            {"mapping": None},
            "space 'w' needs a mapping; use space='z' for a generator without one",
        ),
        ({"trim": (99, 1)}, r"trim = \(99, 1\) must be two percentiles, the lower first"),
        ({"epsilon": 0}, "epsilon = 0 must be positive"),
        ({"num_samples": 0}, "num_samples = 0 must be at least 1"),
        ({"synthesis": lambda w: _pictures(w) * jnp.nan}, "rows of path lengths contain NaN"),
        (
            {"synthesis": lambda w: jnp.zeros((len(w), 513, 512, 1))},
            "513 x 512 cannot be reduced to about 256 by blocks of 2",
        ),
    ],
)
def test_refuses(how, message):
    with pytest.raises(ValueError, match=message):
        _length(**{"mapping": _same, "num_samples": 2, "batch_size": 2} | how)
