"""Filters for `jaxgan.resample`, as NumPy arrays, computed before tracing."""

from __future__ import annotations

import math
import numbers

import numpy as np


def binomial(taps: int) -> np.ndarray:
    """Row `taps - 1` of Pascal's triangle over its sum: [taps], float32.

    Four taps, [1, 3, 3, 1] / 8, are StyleGAN2's filter. Two are the mean of pairs, three StyleGAN's filter, five the
    filter of Gaussian pyramids.

    Source: Zhang, Making Convolutional Networks Shift-Invariant Again (2019), Section 4, where they
      are compared as filters of networks.

    >>> (8 * binomial(4)).tolist()
    [1.0, 3.0, 3.0, 1.0]
    """
    _check_taps(taps)
    row = [math.comb(taps - 1, t) for t in range(taps)]
    return (np.array(row) / 2 ** (taps - 1)).astype(np.float32)


def kaiser_lowpass(
    taps: int, cutoff: float, width: float, rate: float = 1.0, radial: bool = False
) -> np.ndarray:
    """A low-pass filter: the ideal filter times a Kaiser window of `taps` taps.

        h(x) = (2 fc / s) sinc(2 fc x / s) w(x),    x = -(n-1)/2, ..., (n-1)/2
        w(x) = I0(beta sqrt(1 - (2x / (n-1))^2)) / I0(beta)
        beta = 0.1102 (A - 8.7)                              for A > 50,
               0.5842 (A - 21)^0.4 + 0.07886 (A - 21)        for 21 <= A <= 50,    0 below
        A = 2.285 pi (n - 1) (width / (s / 2)) + 7.95

    with n taps, cutoff fc, rate s, sinc(u) = sin(pi u) / (pi u), I0 the modified Bessel function,
    and A the attenuation of the stop band in dB; the filter is divided by its sum. `radial` gives the
    rotationally symmetric filter: the sinc of each axis is replaced by the jinc
    (fc / s) J1(2 pi fc r / s) / r of the distance r from the centre, and the window is w(x) w(y).

    Args:
      taps: n.
      cutoff: fc, the frequency in the middle of the transition, in (0, rate / 2).
      width: of the transition from pass to stop, in the same unit, above 0. StyleGAN3 gives twice its half-width fh.
      rate: s, the sampling rate of the taps; 1 for frequencies in cycles per pixel.
      radial: return a kernel for both axes, which is not separable.

    Returns:
      [taps], or [taps, taps] if `radial`; float32, of sum 1.

    Source: Karras et al., Alias-Free Generative Adversarial Networks (2021), Section 3 and
      Appendix C; Kaiser's formulas are in Oppenheim and Schafer, Discrete-Time Signal Processing.

    >>> print(kaiser_lowpass(6, cutoff=0.25, width=0.3).round(3))
    [-0.037  0.111  0.426  0.426  0.111 -0.037]
    """
    _check_taps(taps)
    if not 0 < cutoff < rate / 2:
        raise ValueError(
            f"cutoff is {cutoff}; give a frequency between 0 and half the rate, {rate / 2}."
        )
    if not width > 0:
        raise ValueError(
            f"width is {width}; the transition of a finite filter has a width above 0."
        )
    attenuation = 2.285 * math.pi * (taps - 1) * width / (rate / 2) + 7.95
    window = np.kaiser(taps, _kaiser_beta(attenuation))
    x = np.arange(taps) - (taps - 1) / 2
    if radial:
        r = np.hypot(x[:, None], x[None, :])
        kernel = _jinc(r, cutoff / rate) * np.outer(window, window)
    else:
        kernel = np.sinc(2 * cutoff / rate * x) * window
    return (kernel / kernel.sum()).astype(np.float32)


def _kaiser_beta(attenuation: float) -> float:
    if attenuation > 50:
        return 0.1102 * (attenuation - 8.7)
    if attenuation >= 21:
        return 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    return 0.0


def _jinc(r: np.ndarray, cutoff: float) -> np.ndarray:
    """cutoff J1(2 pi cutoff r) / r, the impulse response of a disc of frequencies; pi cutoff^2 at r = 0.

    J1(z) / z is the mean of sin^2(t) cos(z cos t) over all angles t. 256 angles give all digits for the z
    here.
    """
    angles = np.arange(256) * (2 * np.pi / 256)
    z = 2 * np.pi * cutoff * r[..., None]
    return 2 * np.pi * cutoff**2 * np.mean(np.sin(angles) ** 2 * np.cos(z * np.cos(angles)), -1)


def _check_taps(taps: int) -> None:
    if not isinstance(taps, numbers.Integral) or taps < 1:
        raise ValueError(f"taps is {taps}; give a whole number from 1.")
