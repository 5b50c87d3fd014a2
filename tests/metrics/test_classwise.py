import numpy as np
import pytest

from jaxgan.metrics.classwise import classwise_frechet
from jaxgan.metrics.frechet import frechet_distance_to
from jaxgan.metrics.moments import Moments


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([2, 5, 9], 60))
    return rng.normal(size=(180, 4)) + 10 * labels[:, None], labels


def test_is_the_distance_of_each_class(data):
    real, labels = data
    rng = np.random.default_rng(1)
    order = rng.permutation(180)[:150]
    fake, fake_labels = real[order] + rng.normal(size=(150, 4)), labels[order]
    found = classwise_frechet(real, labels, fake, fake_labels)
    expected = {
        name: frechet_distance_to(Moments.of(real[labels == name]))(
            Moments.of(fake[fake_labels == name])
        )
        for name in (2, 5, 9)
    }
    assert found.per_class == expected
    assert found.mean == pytest.approx(np.mean(list(expected.values())))
    assert found.notes == []


def test_sees_a_collapse_that_the_whole_hides(data):
    """Every class one point: as the classes lie far apart, the whole hardly changes."""
    real, labels = data
    fake = 10.0 * np.repeat(labels[:, None], 4, axis=1)
    whole = frechet_distance_to(Moments.of(real))(Moments.of(fake))
    found = classwise_frechet(real, labels, fake, labels)
    assert found.mean > 3
    assert whole / np.trace(Moments.of(real).covariance()) < 0.002
    assert found.mean / np.trace(Moments.of(real[labels == 2]).covariance()) > 0.5
    assert any("class 5: 4 of 4 fake features are constant" in note for note in found.notes)


def test_swapped_classes_are_seen(data):
    real, labels = data
    assert classwise_frechet(real, labels, real, labels).mean == pytest.approx(0, abs=1e-6)
    swapped = np.choose(np.searchsorted([2, 5, 9], labels), [5, 2, 9])
    found = classwise_frechet(real, labels, real, swapped)
    assert found.per_class[2] == pytest.approx(4 * 30**2, rel=0.05)
    assert found.per_class[9] == pytest.approx(0, abs=1e-6)


def test_few_of_a_class_are_noted(data):
    real, labels = data
    few = np.flatnonzero(labels == 5)[:3]
    kept = np.concatenate([few, np.flatnonzero(labels != 5)])
    found = classwise_frechet(real, labels, real[kept], labels[kept])
    (note,) = found.notes
    assert note.startswith("class 5: 3 fake examples are fewer than the 5")


@pytest.mark.parametrize(
    ("keep", "least", "message"),
    [
        (lambda labels: labels != 5, 2, "class 5 has 0 fake examples; each class needs at least 2"),
        (
            lambda labels: labels > 0,
            61,
            "class 2 has 60 real examples; .* at least 61 of each kind",
        ),
        (lambda labels: labels > 0, 1, "least = 1 must be 2 or more"),
    ],
)
def test_too_few_of_a_class_are_an_error_that_names_it(data, keep, least, message):
    real, labels = data
    kept = keep(labels)
    with pytest.raises(ValueError, match=message):
        classwise_frechet(real, labels, real[kept], labels[kept], least=least)


@pytest.mark.parametrize("wrong", [np.zeros(179, int), np.zeros(180), np.zeros((180, 3), int)])
def test_labels_must_be_whole_numbers_one_for_each(data, wrong):
    real, labels = data
    with pytest.raises(ValueError, match="fake_labels must be 180 whole numbers, one for each"):
        classwise_frechet(real, labels, real, wrong)
