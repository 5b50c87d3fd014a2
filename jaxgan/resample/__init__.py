"""Resampling of images: filters, motions, wavelets, pyramids, and their exact fusion with convolutions.

Images are [B, H, W, C] and floating point. Results have the dtype of the images.
"""

from jaxgan.resample.fir import blur, downsample_fir, upfirdn2d, upsample_fir
from jaxgan.resample.fir_conv import conv_downsample_fir, upsample_conv_fir
from jaxgan.resample.fused import (
    avg_pool,
    conv,
    conv_avg_pool,
    conv_halving,
    conv_transpose,
    upsample_conv,
    upsample_nearest,
)
from jaxgan.resample.grouped import grouped_conv
from jaxgan.resample.kernels import binomial, kaiser_lowpass
from jaxgan.resample.motion import gaussian_blur, shift, turn
from jaxgan.resample.pyramids import (
    average_pyramid,
    gaussian_pyramid,
    laplacian_pyramid,
    laplacian_reconstruct,
)
from jaxgan.resample.resize import resize_antialiased
from jaxgan.resample.wavelet import haar, haar_inverse

__all__ = [
    "average_pyramid",
    "avg_pool",
    "binomial",
    "blur",
    "conv",
    "conv_avg_pool",
    "conv_downsample_fir",
    "conv_halving",
    "conv_transpose",
    "downsample_fir",
    "gaussian_blur",
    "gaussian_pyramid",
    "grouped_conv",
    "haar",
    "haar_inverse",
    "kaiser_lowpass",
    "laplacian_pyramid",
    "laplacian_reconstruct",
    "resize_antialiased",
    "shift",
    "turn",
    "upfirdn2d",
    "upsample_conv",
    "upsample_conv_fir",
    "upsample_fir",
    "upsample_nearest",
]
