"""Changing the size of images: filters, wavelets, pyramids, and their exact fusion with convolutions.

Images are [B, H, W, C], and every function returns the type that it was given.
"""

from jaxgan.resample.fir import upfirdn2d
from jaxgan.resample.fused import (
    avg_pool,
    conv,
    conv_avg_pool,
    conv_transpose,
    upsample_conv,
    upsample_nearest,
)

__all__ = [
    "avg_pool",
    "conv",
    "conv_avg_pool",
    "conv_transpose",
    "upfirdn2d",
    "upsample_conv",
    "upsample_nearest",
]
