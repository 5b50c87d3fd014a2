"""Structural similarity of pictures, at one scale (SSIM) and several (MS-SSIM), and the diversity of classes by it.

Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004, Eq. 13;
Wang, Simoncelli & Bovik, "Multi-scale structural similarity for image quality assessment", 2003, Eq. 7. Each
channel is compared by itself and the mean taken. Windows lie wholly inside the picture.
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
    """The mean structural similarity of two batches of pictures, picture by picture.

        (2 mu_x mu_y + C1) (2 s_xy + C2) / ((mu_x² + mu_y² + C1) (s_x² + s_y² + C2)),  C = (K range)²

    with moments under an 11 x 11 Gaussian window of deviation 1.5. It is scikit-image's
    `structural_similarity` with gaussian_weights=True, sigma=1.5, use_sample_covariance=False.

    Args:
      one, other: [B, H, W, C], both sides at least 11; uint8, or float with a stated range.
      data_range: greatest less least possible value; 255 for uint8.
      shrink_window: as for `ms_ssim`, where a side is smaller.

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
    """The multi-scale structural similarity of two batches of pictures, picture by picture.

        l_M^w_M prod_j (c_j s_j)^w_j

    in the authors' implementation: the means over each scale of contrast and structure, and of the whole
    SSIM at the coarsest, to the power of its weight; between scales 2 x 2 means. A negative mean, which has no
    such power, counts as 0.

    Args:
      one, other: [B, H, W, C]; uint8, or float with a stated range. For five scales both sides must be at
        least 161.
      data_range: greatest less least possible value; 255 for uint8.
      weights: of the scales, finest first; for fewer scales leave off the last ones. Divided by their sum.
      shrink_window: where a scale is smaller than the window, shrink the window to it, its deviation in
        proportion, as TensorFlow's implementation of its models repository does, and with it the code
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
    """The mean MS-SSIM of two random pictures of a class: lower is more varied.

    Odena, Olah & Shlens, "Conditional image synthesis with auxiliary classifier GANs", 2017, Section 4.2: 100 pairs
    within each class; a class of which fakes are more alike than reals has collapsed. Noise lowers it too.

    Args:
      images: [N, H, W, C].
      labels: int [N]; None for one class.
      data_range, weights, shrink_window: as for `ms_ssim`.
      **how: `pairs`, `batch_size` and `seed` of `mean_over_pairs`.

    Returns:
      `PairMean(mean, per_group)`.
    """
    similarity = _similarity(data_range, tuple(weights), shrink_window)
    return mean_over_pairs(images, similarity, labels, **how)


@functools.cache
def _similarity(data_range: float | None, weights: tuple[float, ...], shrink_window: bool):
    """One function for each choice, or what compiles it would not know it again."""
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
        result *= jnp.maximum(factor, 0) ** (weight / math.fsum(weights))
    return result


@jax.jit
def _ssim(one, other, scale):
    """(mean SSIM, mean contrast-structure) of pictures; values are divided by `scale`, their range."""
    # Moments about each pair's mean: float32 would lose variances beside the square of a brightness.
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

    As products with matrices of a few diagonals: on a CPU several times as fast as convolutions or shifted sums.
    """
    window = min(_WINDOW, *x.shape[1:3])
    rows, columns = (_diagonals(size, window) for size in x.shape[1:3])
    return jnp.einsum("ih,bhwc,jw->bijc", rows, x, columns, precision="highest")


def _diagonals(size: int, window: int) -> np.ndarray:
    """The matrix [size - window + 1, size] that takes the Gaussian means along a side."""
    places = np.arange(window) - (window - 1) / 2
    weights = np.exp(-0.5 * np.square(places / (_SIGMA * window / _WINDOW)))
    weights /= weights.sum()
    return sum(
        weight * np.eye(size - window + 1, size, start) for start, weight in enumerate(weights)
    ).astype(np.float32)


def _halve(x):
    """2 x 2 means; an odd last row or column stands in for its missing neighbour."""
    b, h, w, c = x.shape
    x = jnp.pad(x, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), mode="edge")
    return x.reshape(b, (h + 1) // 2, 2, (w + 1) // 2, 2, c).mean((2, 4))


def _ready(one, other, data_range: float | None):
    if one.shape != other.shape or len(one.shape) != 4:
        raise ValueError(
            f"pictures must be two batches [B, H, W, C] of one shape, not {list(one.shape)} and {list(other.shape)}"
        )
    if one.dtype != other.dtype:
        raise ValueError(f"the two batches must have one type, not {one.dtype} and {other.dtype}")
    if data_range is None:
        if one.dtype != jnp.uint8:
            raise ValueError(
                f"data_range is needed for {one.dtype} pictures; it is 2 for pictures in [-1, 1]"
            )
        data_range = 255
    if not data_range > 0:
        raise ValueError(f"data_range = {data_range} must be positive")
    return *(jnp.asarray(x).astype(jnp.float32) for x in (one, other)), jnp.float32(data_range)


def _fits(shape: tuple[int, ...], scales: int, shrink: bool) -> None:
    """Whether the coarsest of the scales still holds a window."""
    side, least = min(shape[1:3]), 2 if shrink else _WINDOW
    sides = [math.ceil(side / 2**level) for level in range(scales)]
    if sides[-1] < least:
        fitting = sum(of_scale >= least for of_scale in sides)
        raise ValueError(
            f"pictures {shape[1]} x {shape[2]} hold windows of {least} at {fitting} of {scales} scales; give "
            f"larger pictures, or fewer weights (WEIGHTS[:n]), or shrink_window=True for scales below {_WINDOW}"
        )
