import numpy as np
import pytest

from jaxgan.metrics.neighbours import nearest


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("block", [7, 64, 4096])
@pytest.mark.parametrize("themselves", [False, True])
def test_is_the_definition_whatever_the_block(k, block, themselves):
    rng = np.random.default_rng(k)
    points = rng.normal(size=(90, 5)).astype(np.float32) + 3
    queries = points if themselves else rng.normal(size=(33, 5)).astype(np.float32)
    distances = np.linalg.norm(queries[:, None].astype(np.float64) - points[None], axis=-1)
    if themselves:
        np.fill_diagonal(distances, np.inf)
    found = nearest(queries, points, k, themselves=themselves, block=block)
    np.testing.assert_array_equal(found.index, np.argsort(distances, axis=1)[:, :k])
    np.testing.assert_allclose(found.distance, np.sort(distances, axis=1)[:, :k], rtol=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_a_copy_is_at_distance_0_and_a_near_copy_is_not(offset):
    rng = np.random.default_rng(0)
    points = (rng.normal(size=(50, 300)) + offset).astype(np.float32)
    copies = points[::-1].copy()
    copies[0, 0] = np.nextafter(copies[0, 0], np.float32(np.inf))
    found = nearest(copies, points)
    np.testing.assert_array_equal(found.index[:, 0], np.arange(50)[::-1])
    assert found.distance[0, 0] == float(copies[0, 0]) - float(points[-1, 0]) > 0
    assert (found.distance[1:] == 0).all()


@pytest.mark.parametrize(
    ("queries", "points", "k", "themselves", "message"),
    [
        ((9, 2), (9, 3), 1, False, r"at least 1 in each set, not queries \[9, 2\], points \[9, 3\]"),
        ((9,), (9, 3), 1, False, r"not queries \[9\]"),
        ((9, 2), (0, 2), 1, False, r"points \[0, 2\]"),
        ((9, 2), (4, 2), 5, False, "k = 5 .* to the 4 points"),
        ((4, 2), (4, 2), 4, True, "k = 4 .* to the 3 points"),
        ((4, 2), (4, 2), 0, False, "k = 0 "),
        ((5, 2), (4, 2), 1, True, "there are 5 queries and 4 points"),
    ],
)  # fmt: skip
def test_refuses(queries, points, k, themselves, message):
    with pytest.raises(ValueError, match=message):
        nearest(np.zeros(queries), np.zeros(points), k, themselves=themselves)


def test_refuses_nan():
    with pytest.raises(ValueError, match="rows of points contain NaN or Inf: the gen"):
        nearest(np.zeros((2, 2)), np.array([[0.0, np.nan]]))
