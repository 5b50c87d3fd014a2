"""The scores against the packages that the field publishes with, on the same features and pictures."""

import numpy as np
import pytest
import reference

from jaxgan.metrics.frechet import frechet_distance_to
from jaxgan.metrics.inception_score import inception_score
from jaxgan.metrics.kid import kernel_distance
from jaxgan.metrics.moments import Moments
from jaxgan.metrics.ms_ssim import ssim
from jaxgan.metrics.precision_recall import density_coverage, precision_recall


@pytest.fixture(scope="module")
def features():
    """Reals and fakes, float32 [300, 40], not negative, as those of a ReLU network."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(40, 40)) / 6
    real, fake = (np.maximum(rng.normal(size=(n, 40)) @ mixing + 0.3, 0) for n in (300, 280))
    return real.astype(np.float32), (fake + 0.2).astype(np.float32)


@pytest.fixture(scope="module")
def fidelity():
    """The modules of torch-fidelity that take features, by their metric's name."""
    pytest.importorskip("torch")
    reference.torchvision_ready()
    pytest.importorskip("torch_fidelity")
    from torch_fidelity import metric_fid, metric_isc, metric_kid, metric_prc

    return {"fid": metric_fid, "isc": metric_isc, "kid": metric_kid, "prc": metric_prc}


def _tensors(*arrays):
    import torch

    return [torch.from_numpy(array.astype(np.float64)) for array in arrays]


@pytest.mark.parametrize("splits", [1, 7, 10])
def test_inception_score_is_torch_fidelitys(fidelity, splits):
    logits = (3 * np.random.default_rng(1).normal(size=(251, 12))).astype(np.float32)
    theirs = fidelity["isc"].isc_features_to_metric(*_tensors(logits), splits=splits)
    ours = inception_score(logits, splits, shuffle_seed=2020)
    assert ours.mean == pytest.approx(theirs["inception_score_mean"], rel=1e-10)
    assert ours.deviation == pytest.approx(theirs["inception_score_std"], rel=1e-8, abs=1e-12)
    unshuffled = fidelity["isc"].isc_features_to_metric(*_tensors(logits), splits, shuffle=False)
    assert inception_score(logits, splits).mean == pytest.approx(
        unshuffled["inception_score_mean"], rel=1e-10
    )


def test_frechet_distance_is_torch_fidelitys(fidelity, features):
    fid = fidelity["fid"]
    one, other = (fid.fid_features_to_statistics(tensor) for tensor in _tensors(*features))
    theirs = fid.fid_statistics_to_metric(one, other, False)["frechet_inception_distance"]
    ours = frechet_distance_to(Moments.of(features[0]))(Moments.of(features[1]))
    assert ours == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("kernel", [{}, {"degree": 2, "gamma": 0.1, "coef0": 0.5}])
def test_kernel_distance_is_torch_fidelitys(fidelity, features, kernel):
    real, fake = _tensors(*features)
    theirs = fidelity["kid"].kid_features_to_metric(
        fake,
        real,
        kid_subsets=20,
        kid_subset_size=100,
        verbose=False,
        **{f"kid_kernel_poly_{name}": value for name, value in kernel.items()},
    )
    ours = kernel_distance(*features, subsets=20, subset_size=100, **kernel)
    assert ours.mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)
    assert ours.deviation == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-9)


@pytest.mark.parametrize("k", [1, 3])
def test_precision_and_recall_are_torch_fidelitys(fidelity, features, k):
    real, fake = _tensors(*features)
    theirs = fidelity["prc"].prc_features_to_metric(fake, real, prc_neighborhood=k, verbose=False)
    ours = precision_recall(*features, k)
    assert 0.1 < min(ours) < max(ours) < 0.99
    # It takes the means in float32.
    assert ours == pytest.approx((theirs["precision"], theirs["recall"]), rel=1e-6)


@pytest.mark.parametrize("k", [1, 5])
def test_density_and_coverage_are_those_of_prdc(features, k):
    prdc = pytest.importorskip("prdc")
    real, fake = (array.astype(np.float64) for array in features)
    theirs = prdc.compute_prdc(real, fake, k)
    ours = density_coverage(real, fake, k)
    assert 0.1 < ours.coverage < 0.99
    assert ours == pytest.approx((theirs["density"], theirs["coverage"]), rel=1e-12)
    theirs = prdc.compute_prdc(real, real, k)
    assert density_coverage(real, real, k) == (theirs["density"], theirs["coverage"]) == (1, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_ssim_is_scikit_images(dtype):
    metrics = pytest.importorskip("skimage.metrics")
    rng = np.random.default_rng(2)
    one = rng.integers(0, 256, (4, 37, 24, 3))
    one[1] = 250 + one[1] // 200  # bright and flat, where float32 variances are delicate
    one[2] = np.linspace(0, 200, 24)[:, None]
    other = np.clip(
        one + rng.normal(size=one.shape) * [[[[30]]], [[[2]]], [[[5]]], [[[0]]]], 0, 255
    )
    one, other = one.astype(np.uint8), other.astype(np.uint8)
    data_range = 255
    if dtype == np.float32:
        one, other, data_range = (
            (one / 127.5 - 1).astype(dtype),
            (other / 127.5 - 1).astype(dtype),
            2,
        )
    theirs = [
        metrics.structural_similarity(
            a.astype(np.float64),
            b.astype(np.float64),
            channel_axis=-1,
            data_range=data_range,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in zip(one, other, strict=True)
    ]
    np.testing.assert_allclose(ssim(one, other, data_range), theirs, rtol=2e-6)
    assert theirs[0] < 0.95
