"""Structural similarity of pictures at one scale (SSIM) and at several (MS-SSIM), and a diversity score based on it.

Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004, Eq. 13;
Wang, Simoncelli & Bovik, "Multi-scale structural similarity for image quality assessment", 2003, Eq. 7. Each
channel is compared separately, and the result is the mean over channels. Windows lie wholly inside the picture.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.metrics.pairs import PairMean, mean_over_pairs

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, finest first; Wang et al. 2003
_K1, _K2 = 0.01, 0.03
_WINDOW, _SIGMA = 11, 1.5


def ssim(one, other, data_range: float | None = None, *, shrink_window: bool = False) -> jax.Array:
    """Computes the mean structural similarity of corresponding pictures of two batches.

        (2 mu_x mu_y + C1) (2 s_xy + C2) / ((mu_x² + mu_y² + C1) (s_x² + s_y² + C2)),  C = (K range)²

    with moments under an 11 x 11 Gaussian window of standard deviation 1.5. It equals scikit-image's
    `structural_similarity` with gaussian_weights=True, sigma=1.5, use_sample_covariance=False.

    Args:
      one, other: [B, H, W, C], both sides at least 11; uint8, or float with an explicit `data_range`.
      data_range: the greatest minus the least possible value; 255 for uint8.
      shrink_window: as in `ms_ssim`, for pictures with a side below 11.

    Returns:
      float32 [B], 1 for equal pictures.

    >>> x = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    >>> print(ssim(x, x), ssim(x, 255 - x) < 0)
    [1.] [ True]
    """
    one, other, scale = _ready(one, other, data_range)
    _fits(one.shape, 1, shrink_window)
    return _ssim(one, other, scale)[0]


def ms_ssim(
    one,
    other,
    data_range: float | None = None,
    weights: tuple[float, ...] = WEIGHTS,
    *,
    shrink_window: bool = False,
) -> jax.Array:
    """Computes the multi-scale structural similarity of corresponding pictures of two batches.

        l_M^w_M prod_j (c_j s_j)^w_j

    as in the authors' implementation: a product over scales, each factor raised to the power of its weight. The factor
    is the mean of contrast times structure, or the mean of the whole SSIM at the coarsest scale. Each scale is
    the 2 x 2 means of the one before. A negative mean, which has no real power, is replaced by 0, with gradient 0.

    Args:
      one, other: [B, H, W, C]; uint8, or float with an explicit `data_range`. Five scales need sides of at
        least 161.
      data_range: the greatest minus the least possible value; 255 for uint8.
      weights: the weights of the scales, finest first, which are divided by their sum; for fewer scales leave out
        the last ones.
      shrink_window: whether to shrink the window to a scale that is smaller, and its standard deviation in
        proportion. So do the implementation in TensorFlow's models repository and the code
        of Karras et al., "Progressive growing of GANs", 2018, which compared 128 x 128 pictures.

    Returns:
      float32 [B], 1 for equal pictures.

    >>> x = np.arange(4096).reshape(1, 64, 64, 1).astype(np.uint8)
    >>> print(ms_ssim(x, x, weights=WEIGHTS[:3]))
    [1.]
    """
    one, other, scale = _ready(one, other, data_range)
    if not weights or min(weights) <= 0:
        raise ValueError(f"weights = {weights} must be positive, one for each scale")
    _fits(one.shape, len(weights), shrink_window)
    return _ms_ssim(one, other, scale, tuple(weights))


def ms_ssim_diversity(
    images,
    labels=None,
    *,
    data_range: float | None = None,
    weights: tuple[float, ...] = WEIGHTS,
    shrink_window: bool = False,
    **how,
) -> PairMean:
    """Computes the mean MS-SSIM of two random pictures of a class: lower is more diverse.

    Odena, Olah & Shlens, "Conditional image synthesis with auxiliary classifier GANs", 2017, Section 4.2: 100 pairs
    within each class. A class has collapsed if its fakes are more similar than its reals. Noise lowers the score too.

    Args:
      images: [N, H, W, C].
      labels: int [N]; None for one class.
      data_range, weights, shrink_window: as in `ms_ssim`.
      **how: `pairs`, `batch_size` and `seed` of `mean_over_pairs`.

    Returns:
      `PairMean(mean, per_group)`.
    """
    similarity = _similarity(data_range, tuple(weights), shrink_window)
    return mean_over_pairs(images, similarity, labels, **how)


@functools.cache
def _similarity(data_range: float | None, weights: tuple[float, ...], shrink_window: bool):
    """Returns the same function object for the same arguments, so that `jax.jit` compiles it once."""
    return functools.partial(
        ms_ssim, data_range=data_range, weights=weights, shrink_window=shrink_window
    )


@functools.partial(jax.jit, static_argnames="weights")
def _ms_ssim(one, other, scale, weights):
    result = jnp.ones(one.shape[0], jnp.float32)
    for level, weight in enumerate(weights):
        if level:
            one, other = _halve(one), _halve(other)
        whole, contrast_structure = _ssim(one, other, scale)
        factor = whole if level == len(weights) - 1 else contrast_structure
        negative = factor <= 0  # the inner `where` removes the infinite slope of the power at 0
        power = jnp.where(negative, 1.0, factor) ** (weight / math.fsum(weights))
        result *= jnp.where(negative, 0.0, power)
    return result


@jax.jit
def _ssim(one, other, scale):
    """(mean SSIM, mean contrast-structure) of pictures; values are divided by `scale`, their range."""
    # Moments about the mean of each pair: in float32 a large mean square would cancel the variances.
    one, other = one / scale, other / scale
    middle = (one.mean((1, 2, 3), keepdims=True) + other.mean((1, 2, 3), keepdims=True)) / 2
    x, y = one - middle, other - middle
    mean_x, mean_y = _windowed(x), _windowed(y)
    variances = _windowed(x * x + y * y) - (mean_x**2 + mean_y**2)
    covariance = _windowed(x * y) - mean_x * mean_y
    mean_x, mean_y = mean_x + middle, mean_y + middle
    c1, c2 = _K1**2, _K2**2
    contrast_structure = (2 * covariance + c2) / (variances + c2)
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return (luminance * contrast_structure).mean((1, 2, 3)), contrast_structure.mean((1, 2, 3))


def _windowed(x):
    """Gaussian-weighted means in windows inside the picture: [B, H, W, C] -> [B, H - 10, W - 10, C].

    Products with banded matrices, which are several times as fast on a CPU as convolutions or shifted sums.
    """
    window = min(_WINDOW, *x.shape[1:3])
    rows, columns = (_diagonals(size, window) for size in x.shape[1:3])
    return jnp.einsum("ih,bhwc,jw->bijc", rows, x, columns, precision="highest")


def _diagonals(size: int, window: int) -> np.ndarray:
    """The matrix [size - window + 1, size] that computes the Gaussian means along a side."""
    places = np.arange(window) - (window - 1) / 2
    weights = np.exp(-0.5 * np.square(places / (_SIGMA * window / _WINDOW)))
    weights /= weights.sum()
    return sum(
        weight * np.eye(size - window + 1, size, start) for start, weight in enumerate(weights)
    ).astype(np.float32)


def _halve(x):
    """2 x 2 means; an odd last row or column is duplicated."""
    b, h, w, c = x.shape
    x = jnp.pad(x, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), mode="edge")
    return x.reshape(b, (h + 1) // 2, 2, (w + 1) // 2, 2, c).mean((2, 4))


def _ready(one, other, data_range: float | None):
    if one.shape != other.shape or len(one.shape) != 4:
        raise ValueError(
            f"pictures must be two batches [B, H, W, C] of one shape, not {list(one.shape)} and {list(other.shape)}"
        )
    if one.dtype != other.dtype:
        raise ValueError(f"the two batches must have one dtype, not {one.dtype} and {other.dtype}")
    if data_range is None:
        if one.dtype != jnp.uint8:
            raise ValueError(
                f"data_range is required for {one.dtype} pictures; it is 2 for pictures in [-1, 1]"
            )
        data_range = 255
    if not data_range > 0:
        raise ValueError(f"data_range = {data_range} must be positive")
    return *(jnp.asarray(x).astype(jnp.float32) for x in (one, other)), jnp.float32(data_range)


def _fits(shape: tuple[int, ...], scales: int, shrink: bool) -> None:
    """Checks that the coarsest scale is at least as large as a window."""
    side, least = min(shape[1:3]), 2 if shrink else _WINDOW
    sides = [math.ceil(side / 2**level) for level in range(scales)]
    if sides[-1] < least:
        fitting = sum(of_scale >= least for of_scale in sides)
        shrunk = "" if shrink else f", or shrink_window=True for scales below {_WINDOW}"
        raise ValueError(
            f"pictures {shape[1]} x {shape[2]} hold windows of {least} at {fitting} of {scales} scales; give larger"
            f" pictures, from {smallest_side(scales, least)} pixels, or fewer weights (WEIGHTS[:n]){shrunk}"
        )


def smallest_side(scales: int = len(WEIGHTS), window: int = 2) -> int:
    """The side from which pictures hold a window at each of several scales.

    >>> smallest_side(5, 11)
    161
    """
    return (window - 1) * 2 ** (scales - 1) + 1
