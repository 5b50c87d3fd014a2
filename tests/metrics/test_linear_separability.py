"""The planes are those of a support vector machine: for 2,000 points within a few per cent of the best ones."""

import numpy as np
import pytest

from jaxgan.metrics.linear_separability import linear_separability


def entropy(p):
    return -p * np.log(p) - (1 - p) * np.log(1 - p)


@pytest.fixture(scope="module")
def latents():
    return np.random.default_rng(0).normal(size=(2000, 4))


def test_a_plane_separates_what_a_linear_classifier_finds(latents):
    """Of two such attributes, each of which has entropy 0 given its plane."""
    logits = latents @ np.random.default_rng(1).normal(size=(4, 1)) + 0.3
    assert linear_separability(latents, logits).score == pytest.approx(1.0, abs=0.02)


def test_attributes_of_no_plane_have_the_entropy_of_their_shares(latents):
    """The sign of a product of coordinates is independent of every half space that contains 0 in its plane."""
    logits = (latents[:, 0] * latents[:, 1])[:, None]
    found = linear_separability(latents, logits, keep=1.0)
    assert found.score == pytest.approx(2.0, rel=0.05)
    np.testing.assert_allclose(found.score, np.exp(found.entropies.sum()))


def test_the_entropy_of_decisions_that_are_flipped_at_random(latents):
    """A plane's decisions, of which a tenth is flipped: H(Y | X) = H(0.1)."""
    flips = np.random.default_rng(2).random(2000) < 0.1
    logits = np.where(flips, -1.0, 1.0)[:, None] * np.sign(latents[:, :1])
    found = linear_separability(latents, logits, keep=1.0)
    assert found.entropies[0] == pytest.approx(entropy(np.mean(flips)), rel=0.1)


def test_only_the_most_confident_share_is_used(latents):
    """The less confident half is decided at random, the other half by a plane."""
    rng = np.random.default_rng(3)
    sure = rng.random(2000) < 0.5
    decisions = np.where(sure, np.sign(latents[:, 0]), np.sign(rng.normal(size=2000)))
    logits = (decisions * np.where(sure, 5.0, 0.1))[:, None]
    kept = float(np.mean(sure))
    assert linear_separability(latents, logits, keep=kept).score < 1.05
    assert linear_separability(latents, logits, keep=1.0).score > 1.5


def test_classes_are_attributes_against_all_others(latents):
    """Three classes by the largest logit; a fourth that is never found adds nothing."""
    logits = np.concatenate([latents[:, :3] * 4, np.full((2000, 1), -50.0)], axis=1)
    found = linear_separability(latents, logits)
    assert found.entropies.shape == (4,)
    assert found.entropies[3] == 0
    one = [
        linear_separability(
            latents,
            (logits[:, k] - np.log(np.exp(np.delete(logits, k, 1)).sum(1)))[:, None],
        ).entropies[0]
        for k in range(3)
    ]
    np.testing.assert_allclose(found.entropies[:3], one, atol=1e-6)


@pytest.mark.parametrize(
    ("latents", "logits", "keep", "text"),
    [
        (np.zeros((30, 2)), np.zeros((20, 1)), 0.5, r"one row for each picture, not \[30, 2\]"),
        (np.zeros((30, 2)), np.zeros(30), 0.5, "one row for each picture"),
        (np.zeros((30, 2)), np.zeros((30, 1)), 0.0, "keep is 0.0; it must be a share"),
        (
            np.zeros((10, 2)),
            np.zeros((10, 1)),
            0.5,
            "pictures that are kept = 5 must be at least 10",
        ),
        (np.full((30, 2), np.nan), np.zeros((30, 1)), 0.5, "30 of 30 rows of latents contain NaN"),
    ],
)
def test_wrong_arrays_are_refused(latents, logits, keep, text):
    with pytest.raises(ValueError, match=text):
        linear_separability(latents, logits, keep)
