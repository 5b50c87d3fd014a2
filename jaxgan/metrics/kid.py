"""Kernel distance, the formula of KID.

Bińkowski et al., "Demystifying MMD GANs", 2018, Section 4: the squared maximum mean discrepancy (MMD²)
of features under the kernel (x.y / D + 1)³, estimated without bias (Gretton et al., "A kernel
two-sample test", 2012, Eq. 3). Unlike the mean of the Fréchet distance, its mean does not depend on the
number of pictures. It is 0 for equal distributions, and an estimate may be negative. It is called KID
only with the features of the original Inception.
"""

from typing import NamedTuple

import numpy as np

from jaxgan.metrics._check import at_least, feature_pair


class KernelDistance(NamedTuple):
    """mean and (population) standard deviation over the subsets; the latter is not a standard error."""

    mean: float
    deviation: float


def kernel_distance(
    real,
    fake,
    subsets: int = 100,
    subset_size: int = 1000,
    *,
    degree: int = 3,
    gamma: float | None = None,
    coef0: float = 1.0,
    seed: int = 2020,
) -> KernelDistance:
    """Computes the unbiased MMD² of random subsets, under the kernel (gamma x.y + coef0)^degree.

    The subsets are those of torch-fidelity with the fakes as input 1 and the reals as input 2: for each
    subset, fakes and then reals are drawn by `RandomState(seed).choice(N, subset_size, replace=False)`.
    torch-fidelity computes the kernel in float32, with less precision; this function uses float64.

    Args:
      real: float [N, D] features.
      fake: float [M, D] features.
      subsets: number of subsets.
      subset_size: pictures of each set in a subset; at most the size of the smaller set.
      degree, gamma, coef0: parameters of the kernel; gamma is 1 / D by default.
      seed: the seed of the draws.

    Returns:
      `KernelDistance(mean, deviation)` over the subsets.

    >>> x = np.random.default_rng(0).normal(size=(200, 4))
    >>> near, far = (kernel_distance(x, x + shift, 10, 100).mean for shift in (0.0, 3.0))
    >>> abs(near) < 0.1 < far
    True
    """
    real, fake = feature_pair(real, fake)
    at_least("subsets", subsets, 1)
    at_least("subset_size", subset_size, 2)
    if min(len(real), len(fake)) < subset_size:
        raise ValueError(
            f"subset_size = {subset_size} exceeds the number of pictures ({len(real)} reals, {len(fake)} fakes);"
            " give more pictures, or use a smaller subset_size for all scores that you compare"
        )
    at_least("degree", degree, 1)
    kernel = _Kernel(degree, gamma, coef0)
    rng = np.random.RandomState(seed)
    values = []
    for _ in range(subsets):
        fakes = fake[rng.choice(len(fake), subset_size, replace=False)]
        reals = real[rng.choice(len(real), subset_size, replace=False)]
        values.append(_mmd2(reals, fakes, kernel))
    return KernelDistance(float(np.mean(values)), float(np.std(values)))


def kernel_distance_of_all(
    real, fake, *, degree: int = 3, gamma: float | None = None, coef0: float = 1.0
) -> float:
    """Computes the unbiased MMD² of the whole sets, whose sizes may differ.

    It varies less than the mean over subsets and involves no random draws. The time grows with (N + M)², the
    memory does not.

    Args:
      real: float [N, D] features.
      fake: float [M, D] features.
      degree, gamma, coef0: parameters of the kernel (gamma x.y + coef0)^degree; gamma is 1 / D by default.

    Returns:
      A float, which may be negative.

    >>> kernel_distance_of_all([[0.0], [2.0]], [[1.0], [1.0]])  # 1 + 8 - 2 (1 + 27) / 2
    -19.0
    """
    real, fake = feature_pair(real, fake)
    at_least("degree", degree, 1)
    if min(len(real), len(fake)) < 2:
        raise ValueError(
            f"the unbiased estimate compares each example with another of its set, but there are "
            f"{len(real)} reals and {len(fake)} fakes; give 2 or more of each"
        )
    return _mmd2(real, fake, _Kernel(degree, gamma, coef0))


class _Kernel(NamedTuple):
    degree: int
    gamma: float | None
    coef0: float

    def total(self, x: np.ndarray, y: np.ndarray) -> float:
        return float(np.sum(self._of(x @ y.T, x.shape[1])))

    def total_of_others(self, x: np.ndarray) -> float:
        """The sum over all pairs of different rows of x."""
        return self.total(x, x) - float(np.sum(self._of(np.square(x).sum(axis=1), x.shape[1])))

    def _of(self, products: np.ndarray, dim: int) -> np.ndarray:
        products *= 1 / dim if self.gamma is None else self.gamma
        products += self.coef0
        values = products.copy()
        for _ in range(self.degree - 1):  # np.power takes several times as long
            values *= products
        return values


def _mmd2(real: np.ndarray, fake: np.ndarray, kernel: _Kernel, block: int = 2048) -> float:
    """mean k(x, x') + mean k(y, y') - 2 mean k(x, y), without pairs of an example with itself."""
    n, m = len(real), len(fake)
    between = sum(
        kernel.total(x, y) for x in _blocks(real, block) for y in _blocks(fake, block)
    ) / (n * m)
    return (
        _within(real, kernel, block) / (n * (n - 1))
        + _within(fake, kernel, block) / (m * (m - 1))
        - 2 * between
    )


def _within(points: np.ndarray, kernel: _Kernel, block: int) -> float:
    """The sum over all pairs of two different examples; each pair of blocks is computed once."""
    total = 0.0
    for i, x in enumerate(_blocks(points, block)):
        total += kernel.total_of_others(x)
        for y in _blocks(points[(i + 1) * block :], block):
            total += 2 * kernel.total(x, y)
    return total


def _blocks(points: np.ndarray, block: int):
    for start in range(0, len(points), block):
        yield points[start : start + block].astype(np.float64)
