"""Measures of pairs against NumPy, and what their scores say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.metrics import paired
from jaxgan.metrics.evaluate import check_counts, evaluate
from jaxgan.metrics.features import random_conv
from jaxgan.metrics.ms_ssim import ms_ssim, ssim
from jaxgan.metrics.paired import MEASURES, finite_psnr, l1, psnr
from jaxgan.metrics.protocols import PROTOCOLS, Protocol, adapted
from jaxgan.metrics.scores import OF_PAIRS, OF_TRANSFORMS, SCORES, score_name
from jaxgan.metrics.summary import Summary

RNG = np.random.default_rng(0)
ONE, OTHER = RNG.integers(0, 256, (2, 5, 16, 20, 3), np.uint8)


def test_psnr_and_l1_are_their_formulas_picture_by_picture():
    difference = ONE.astype(np.float64) - OTHER
    mse = np.square(difference).mean((1, 2, 3))
    np.testing.assert_allclose(psnr(ONE, OTHER), 10 * np.log10(255**2 / mse), rtol=1e-5)
    np.testing.assert_allclose(l1(ONE, OTHER), np.abs(difference).mean((1, 2, 3)) / 255, rtol=1e-5)
    # The mean of ratios is not the ratio of the mean.
    assert psnr(ONE, OTHER).shape == (5,)


def test_equal_pictures_have_an_infinite_psnr_that_a_mean_counts_as_the_largest_finite_one():
    assert np.isinf(psnr(ONE, ONE)).all()
    nearly = ONE.copy()
    nearly[:, 3, 4, 1] ^= 1  # one byte off by one
    most = 10 * np.log10(255**2 * 16 * 20 * 3)
    np.testing.assert_allclose(psnr(ONE, nearly), most, rtol=1e-6)
    np.testing.assert_allclose(finite_psnr(ONE, ONE), most, rtol=1e-6)
    np.testing.assert_allclose(finite_psnr(ONE, OTHER), psnr(ONE, OTHER), rtol=0)


def test_a_window_larger_than_the_picture_shrinks_to_it():
    found = MEASURES["ssim"].of((), ONE, OTHER)
    assert (found == ssim(ONE, OTHER)).all()
    small, same = ONE[:, :8, :8], OTHER[:, :8, :8] // 4 + ONE[:, :8, :8] // 2
    one_scale = ms_ssim(small, same, weights=(1.0,), shrink_window=True)
    np.testing.assert_allclose(MEASURES["ssim"].of((), small, same), one_scale, rtol=1e-5)
    with pytest.raises(ValueError, match="hold windows of 11 at 0 of 1 scales"):
        ssim(small, same)


def test_lpips_sees_grey_as_colour_and_bytes_as_minus_one_to_one(monkeypatch):
    seen = []

    def lpips(variables, x, y, backbone):
        seen.append((np.asarray(x), backbone))
        return jnp.abs(x - y).mean((1, 2, 3)) * variables

    monkeypatch.setattr(paired.lpips, "lpips", lpips)
    found = MEASURES["lpips_vgg"].of(jnp.float32(2), ONE[..., :1], OTHER[..., :1])
    ((x, backbone),) = seen
    assert (x.shape, backbone) == ((5, 16, 20, 3), "vgg")
    np.testing.assert_allclose(x[..., 2], ONE[..., 0] / 127.5 - 1, atol=1e-6)
    np.testing.assert_allclose(found, 4 * l1(ONE[..., :1], OTHER[..., :1]), rtol=1e-5)


def test_lpips_without_its_weights_says_where_to_put_them(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path))
    monkeypatch.setattr("jaxgan.weights.store._PAUSE", 0)
    monkeypatch.setattr(
        "jaxgan.weights.store._body", lambda *_: (_ for _ in ()).throw(OSError("no network"))
    )
    with pytest.raises(OSError, match=r"cannot be downloaded from .* put it at .*alexnet"):
        MEASURES["lpips_alex"].load()


@pytest.mark.parametrize("function", [psnr, l1])
def test_what_is_no_pair_is_refused(function):
    for other in (OTHER[:, :8], OTHER.astype(np.float32), OTHER[..., :1]):
        with pytest.raises(ValueError, match="pairs are two batches of uint8 pictures"):
            function(ONE, other)
    with pytest.raises(ValueError, match="pairs are two batches"):
        function(ONE[0], OTHER[0])


def test_scores_of_pairs_are_means_over_pairs_and_say_of_what():
    values = np.array([[20.0], [30.0], [25.0]], np.float32)
    fake = Summary(3, np.dtype(np.uint8), {}, {"psnr": values, "l1": values})
    protocol = Protocol("custom", ("psnr", "l1"), num_fake=3, split="test", of="transforms")
    result = evaluate(None, fake, random_conv((16, 20, 3)), protocol)
    assert (result["psnr"], result["l1"]) == (25, 25)
    said = {name: result["protocol"][name] for name in ("of", "num_real", "split")}
    assert said == {"of": "transforms", "num_real": 3, "split": "test"}
    assert [SCORES[name].lower_is_better for name in OF_PAIRS] == [False, False, True, True, True]


def test_pairs_are_of_transforms_only_and_rfid_is_not_fid():
    with pytest.raises(
        ValueError,
        match=r"'ssim' compares the transform of .* leave this score out, or measure the transforms",
    ):
        check_counts(adapted("quick", scores=("fd", "ssim")))
    with pytest.raises(ValueError, match="of is 'fakes'; it must be samples or transforms"):
        check_counts(adapted("quick", of="fakes"))
    assert score_name("fd", "inception", "tf1", "transforms") == "rfid"
    assert score_name("fd", "inception", "clean", "transforms") == "clean_rfid"
    assert score_name("fd", "random_conv", "none", "transforms") == "fd_random_conv"
    for name, protocol in PROTOCOLS.items():
        pairs = set(protocol.scores) & set(OF_TRANSFORMS)
        assert protocol.of != "samples" or not pairs, name
        if protocol.of == "transforms":
            assert pairs
            assert protocol.num_fake == protocol.num_real


def test_measures_are_traceable_and_batches_do_not_matter():
    for name in ("psnr", "ssim", "l1"):
        whole = jax.jit(MEASURES[name].of)((), ONE, OTHER)
        parts = [MEASURES[name].of((), ONE[i : i + 1], OTHER[i : i + 1]) for i in range(5)]
        np.testing.assert_allclose(whole, np.concatenate(parts), rtol=1e-5)
