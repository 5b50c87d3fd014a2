"""Streaming mean and covariance, merged exactly over batches, devices and hosts.

Chan, Golub & LeVeque, "Algorithms for computing the sample variance: analysis and
recommendations", The American Statistician 37(3), 1983: their pairwise formula, for vectors.
Features are float32; sums are float64 on the host. No array of size N x D is stored.
"""

from typing import NamedTuple, Self

import numpy as np


class Moments(NamedTuple):
    """Count, mean and scatter of a set of feature vectors: sufficient statistics of a Gaussian.

    >>> one = Moments.of(np.array([[0.0, 0.0], [2.0, 0.0]]))
    >>> two = Moments.of(np.array([[1.0, 3.0], [9.0, 9.0]]), mask=np.array([True, False]))
    >>> both = one.merge(two)
    >>> both.count, both.mean.tolist(), both.covariance().tolist()
    (3, [1.0, 1.0], [[1.0, 0.0], [0.0, 3.0]])
    """

    count: int  # type: ignore[assignment]  # overrides `tuple.count`
    mean: np.ndarray  # float64 [D]
    scatter: np.ndarray  # float64 [D, D], the sum over the set of (x - mean)(x - mean)^T

    @classmethod
    def empty(cls, dim: int) -> Self:
        """The moments of an empty set, the neutral element of `merge`."""
        return cls(0, np.zeros(dim), np.zeros((dim, dim)))

    @classmethod
    def of(cls, features, mask=None) -> Self:
        """The moments of one batch.

        Args:
          features: float [B, D].
          mask: bool [B], False for the padding of a last batch; all True by default.
        """
        features = np.asarray(features)
        if features.ndim != 2:
            raise ValueError(f"features must have shape [B, D], not {list(features.shape)}")
        if mask is not None:
            mask = np.asarray(mask)
            if mask.shape != features.shape[:1] or mask.dtype != bool:
                raise ValueError(
                    f"a mask for features {list(features.shape)} must be bool "
                    f"[{features.shape[0]}], not {mask.dtype} {list(mask.shape)}"
                )
            features = features[mask]
        if not len(features):
            return cls.empty(features.shape[1])
        features = features.astype(np.float64)
        mean = features.mean(axis=0)
        centred = features - mean
        return cls(len(features), mean, centred.T @ centred)

    def merge(self, other: Self) -> Self:
        """The moments of the union of two disjoint sets (Chan et al., 1983).

        With delta = mean_b - mean_a and n = n_a + n_b:
        mean = mean_a + delta n_b / n, scatter = S_a + S_b + delta delta^T n_a n_b / n.
        """
        if self.mean.shape != other.mean.shape:
            raise ValueError(
                f"moments of {self.mean.size} features cannot be merged with moments of "
                f"{other.mean.size}"
            )
        if not self.count:
            return other
        if not other.count:
            return self
        count = self.count + other.count
        delta = other.mean - self.mean
        scatter = self.scatter + other.scatter
        scatter += np.outer(delta, delta * (self.count * other.count / count))
        return type(self)(count, self.mean + delta * (other.count / count), scatter)

    def covariance(self) -> np.ndarray:
        """The unbiased covariance, scatter / (count - 1): float64 [D, D]."""
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 examples, not {self.count}")
        return self.scatter / (self.count - 1)
