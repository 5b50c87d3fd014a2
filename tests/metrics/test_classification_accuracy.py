import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxgan.metrics.classification_accuracy import linear_probe_accuracy


@pytest.fixture(scope="module")
def digits():
    """Handwritten digits as pixels: a test set, and what a perfect generator would make."""
    pixels, labels = load_digits(return_X_y=True)
    return (pixels[:800], labels[:800]), (pixels[800:], labels[800:])


def test_a_perfect_generator_scores_as_reals_do(digits):
    real, fake = digits
    found = linear_probe_accuracy(*real, *fake)
    assert 0.88 < found.accuracy < 1
    assert sorted(found.per_class) == list(range(10))
    counts = np.bincount(real[1])
    mean = sum(counts[name] * share for name, share in found.per_class.items()) / 800
    assert found.accuracy == pytest.approx(mean)


def test_a_dropped_class_is_always_wrong(digits):
    (real, labels), (fake, fake_labels) = digits
    kept = fake_labels != 4
    found = linear_probe_accuracy(real, labels, fake[kept], fake_labels[kept])
    assert found.per_class[4] == 0
    assert found.per_class[0] > 0.9


def test_a_generator_that_ignores_its_label_scores_by_chance(digits):
    (real, labels), (fake, fake_labels) = digits
    shuffled = np.random.default_rng(0).permutation(fake_labels)
    assert linear_probe_accuracy(real, labels, fake, shuffled).accuracy < 0.3


def test_the_units_of_features_do_not_matter(digits):
    (real, labels), (fake, fake_labels) = digits
    scale = np.geomspace(1e-3, 1e3, 64)
    plain = linear_probe_accuracy(real, labels, fake, fake_labels)
    scaled = linear_probe_accuracy(real * scale, labels, fake * scale, fake_labels)
    assert scaled.accuracy == pytest.approx(plain.accuracy, abs=0.005)


_X, _Y = np.zeros((4, 2)), np.array([0, 0, 1, 1])


@pytest.mark.parametrize(
    ("arguments", "how", "message"),
    [
        ((_X, _Y, _X, np.full(4, 3)), {}, "all fakes are of class 3; .* at least two classes"),
        ((_X, _Y[:3], _X, _Y), {}, r"real_labels must be 4 whole numbers.* not int64 \[3\]"),
        ((_X, _Y, _X, _Y), {"c": 0}, "c = 0 must be positive"),
        ((_X * np.nan, _Y, _X, _Y), {}, "4 of 4 rows of real contain NaN or Inf"),
    ],
)
def test_refuses(arguments, how, message):
    with pytest.raises(ValueError, match=message):
        linear_probe_accuracy(*arguments, **how)
