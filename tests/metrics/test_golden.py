"""The scores of `golden_metrics.npz`, which an independent program computed in float64 from real features.

The features are a CIFAR-10 classifier's (ResNet-56) of 1,017 pictures: true test pictures (a), the same as JPEG (b),
true training pictures (c).
"""

import os
from pathlib import Path

import numpy as np
import pytest

from jaxgan.metrics.frechet import frechet_distance, frechet_distance_to
from jaxgan.metrics.inception_score import inception_score
from jaxgan.metrics.kid import kernel_distance_of_all
from jaxgan.metrics.moments import Moments
from jaxgan.metrics.precision_recall import precision_recall


@pytest.fixture(scope="module")
def golden():
    if "JAXGAN_TEST_DATA" not in os.environ:
        pytest.skip("JAXGAN_TEST_DATA does not name the folder of test data")
    with np.load(Path(os.environ["JAXGAN_TEST_DATA"]) / "nets" / "golden_metrics.npz") as file:
        return dict(file)


@pytest.mark.parametrize("which", ["a", "b"])
def test_moments(golden, which):
    moments = Moments.of(golden[f"features_{which}"])
    np.testing.assert_allclose(moments.mean, golden[f"mu_{which}"], rtol=1e-6)
    sigma = golden[f"sigma_{which}"]
    np.testing.assert_allclose(moments.covariance(), sigma, rtol=1e-6, atol=1e-9 * sigma.max())


@pytest.mark.parametrize("pair", ["ab", "ac"])
def test_frechet_distance(golden, pair):
    one, other = (Moments.of(golden[f"features_{which}"]) for which in pair)
    assert frechet_distance_to(one)(other) == pytest.approx(float(golden[f"fid_{pair}"]), rel=1e-6)


def test_frechet_distance_of_equal_sets(golden):
    moments = Moments.of(golden["features_a"])
    assert frechet_distance_to(moments)(moments) == pytest.approx(0, abs=1e-6)
    assert float(golden["fid_aa"]) == pytest.approx(0, abs=1e-6)


def test_frechet_distance_of_stored_statistics(golden):
    distance = frechet_distance(
        golden["mu_a"], golden["sigma_a"], golden["mu_b"], golden["sigma_b"]
    )
    assert distance == pytest.approx(float(golden["fid_ab"]), rel=1e-6)


@pytest.mark.parametrize("pair", ["ab", "ac"])
def test_kernel_distance(golden, pair):
    one, other = (golden[f"features_{which}"] for which in pair)
    expected = float(golden[f"kid_{pair}"])
    assert kernel_distance_of_all(one, other) == pytest.approx(expected, rel=1e-6)


def test_inception_score(golden):
    score = inception_score(golden["logits_a"], splits=1)
    assert score.mean == pytest.approx(float(golden["inception_score_a"]), rel=1e-6)


def test_precision_and_recall(golden):
    found = precision_recall(golden["features_a"], golden["features_b"], k=3)
    expected = float(golden["precision_ab"]), float(golden["recall_ab"])
    assert found == pytest.approx(expected, rel=1e-6)
