import numpy as np
import pytest

from jaxgan.metrics import kid
from jaxgan.metrics.kid import kernel_distance, kernel_distance_of_all


def _by_definition(x, y, kernel=lambda d: (d / 5 + 1) ** 3):
    """Gretton et al. 2012, Eq. 3."""

    def others(z):
        return np.mean([kernel(a @ b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j])

    return others(x) + others(y) - 2 * np.mean([[kernel(a @ b) for b in y] for a in x])


@pytest.fixture(scope="module")
def sets():
    rng = np.random.default_rng(0)
    return rng.normal(size=(23, 5)), 1.2 * rng.normal(size=(17, 5)) + 0.4


def test_is_the_definition(sets):
    assert kernel_distance_of_all(*sets) == pytest.approx(_by_definition(*sets), rel=1e-12)
    quartic = kernel_distance_of_all(*sets, degree=4, gamma=0.3, coef0=0.0)
    assert quartic == pytest.approx(_by_definition(*sets, lambda d: (0.3 * d) ** 4), rel=1e-12)


@pytest.mark.parametrize("block", [1, 4, 17, 23])
def test_blocks_do_not_matter(sets, block):
    kernel = kid._Kernel(3, None, 1.0)
    assert kid._mmd2(*sets, kernel, block) == pytest.approx(_by_definition(*sets), rel=1e-12)


def test_a_subset_of_all_is_all(sets):
    one, other = sets[0][:17], sets[1]
    found = kernel_distance(one, other, subsets=3, subset_size=17)
    assert found == pytest.approx((kernel_distance_of_all(one, other), 0), rel=1e-10, abs=1e-10)


def test_has_no_bias():
    """The mean over many draws of equal distributions is 0, as their number does not matter."""
    rng = np.random.default_rng(1)
    values = [kernel_distance_of_all(*rng.normal(size=(2, 10, 2))) for _ in range(2000)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(2000)
    assert min(values) < 0


def test_the_seed_fixes_the_draw(sets):
    first, again, other = (kernel_distance(*sets, 5, 10, seed=seed) for seed in (2020, 2020, 1))
    assert first == again != other


def test_float32_features_lose_nothing_to_the_kernel(sets):
    one, other = (x.astype(np.float32) for x in sets)
    wide = kernel_distance_of_all(one.astype(np.float64), other.astype(np.float64))
    assert kernel_distance_of_all(one, other) == wide


_X = np.zeros((9, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: kernel_distance(_X, _X),
            r"subset_size = 1000 exceeds the number of pictures \(9 reals, 9 fakes\)",
        ),
        (lambda: kernel_distance(_X, _X, 0, 5), "subsets = 0 must be at least 1"),
        (lambda: kernel_distance(_X, _X, 5, 1), "subset_size = 1 must be at least 2"),
        (lambda: kernel_distance(_X, _X, 5, 5, degree=0), "degree = 0 must be at least 1"),
        (lambda: kernel_distance(_X, _X + np.inf, 5, 5), "9 of 9 rows of fake contain NaN or Inf"),
        (lambda: kernel_distance_of_all(_X, _X[:1]), "9 reals and 1 fakes; give 2 or more of each"),
        (lambda: kernel_distance_of_all(_X, np.zeros((9, 3))), r"not real \[9, 2\], fake \[9, 3\]"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
