"""On pictures with classes of known spread; the pairs themselves are tested in test_pairs.py."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.metrics.perceptual_diversity import perceptual_diversity


def test_is_the_mean_square_of_independent_differences():
    """Of pictures m + s n with n normal, E (a - b)² = 2 s²; of copies 0."""
    rng = np.random.default_rng(0)
    spread = np.repeat([0.0, 1.0, 3.0], 40)[:, None, None, None]
    images = (5 + spread * rng.normal(size=(120, 8, 8, 2))).astype(np.float32)
    found = perceptual_diversity(
        images,
        lambda a, b: jnp.square(a - b).mean((1, 2, 3)),
        np.repeat([0, 1, 2], 40),
        pairs=200,
    )
    assert found.per_group[0] == 0
    assert found.per_group[1] == pytest.approx(2, rel=0.05)
    assert found.per_group[2] == pytest.approx(18, rel=0.05)
