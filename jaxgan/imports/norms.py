"""Vectors of spectral normalisation that reproduce a published sigma.

PyTorch's programs divide a weight W [O, I] by sigma = u^T W v with one or the other vector a half step older. Here
sigma is ||W^T u||. With converged vectors these are equal. With those of one power iteration per step, which trail the
weight, they differ by up to some percent, and so would the pictures.
"""

from __future__ import annotations

import numpy as np


def unit_vector(w: np.ndarray, u: np.ndarray, sigma: float) -> tuple[np.ndarray, float]:
    """(a unit vector near u at which ||W^T u|| is sigma, the relative deviation that is left).

    The vector is on the arc from u to one with a larger norm of the product, by power iteration, or with a smaller one,
    a coordinate vector.

    Args:
      w: [O, I].
      u: [O], not zero.
      sigma: positive.

    >>> w = np.diag([3.0, 1.0])
    >>> u, off = unit_vector(w, np.array([0.0, 1.0]), 2.0)
    >>> round(float(np.linalg.norm(w.T @ u)), 6), round(off, 6)
    (2.0, 0.0)
    """
    w, a = w.astype(np.float64), _unit(u.astype(np.float64))
    p = w.T @ a
    if np.linalg.norm(p) < sigma:
        # a alone may be orthogonal to the leading vector
        b = _unit(a + 0.1 * _coordinate(a, int(np.argmax(np.linalg.norm(w, axis=1)))))
        for _ in range(100):
            if np.linalg.norm(w.T @ b) >= sigma:
                break
            b = _unit(w @ (w.T @ b))
    else:
        b = _coordinate(a, int(np.argmin(np.linalg.norm(w, axis=1))))
    q = w.T @ b
    # ||(1 - t) p + t q||^2 = sigma^2 ||(1 - t) a + t b||^2, a quadratic equation in t
    pp, pq, qq = (x - sigma**2 * y for x, y in ((p @ p, 1.0), (p @ q, a @ b), (q @ q, 1.0)))
    roots = np.roots([pp - 2 * pq + qq, 2 * (pq - pp), pp])
    inside = [r.real for r in roots if abs(r.imag) < 1e-9 and -1e-9 <= r.real <= 1 + 1e-9]
    candidates = [_unit((1 - t) * a + t * b) for t in inside] + [a, b]
    off = [abs(float(np.linalg.norm(w.T @ c)) / sigma - 1.0) for c in candidates]
    best = int(np.argmin(off))
    return candidates[best].astype(np.float32), off[best]


def _coordinate(a: np.ndarray, at: int) -> np.ndarray:
    """The unit vector of a coordinate, on the side of `a`."""
    found = np.zeros_like(a)
    found[at] = 1.0 if a[at] >= 0 else -1.0
    return found


def _unit(x: np.ndarray) -> np.ndarray:
    return x / max(float(np.linalg.norm(x)), 1e-300)
