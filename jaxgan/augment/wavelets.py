"""The filters of the two wavelets of ADA."""

import numpy as np

# Daubechies' least asymmetric filter with six vanishing moments, "sym6", for decomposition: orthonormal to its even
# shifts, with sum sqrt(2). Source: Daubechies, Ten Lectures on Wavelets (1992), Table 6.3.
SYM6 = np.array(
    [
        0.015404109327027373,
        0.0034907120842174702,
        -0.11799011114819057,
        -0.048311742585633,
        0.4910559419267466,
        0.787641141030194,
        0.3379294217276218,
        -0.07263752278646252,
        -0.021060292512300564,
        0.04472490177066578,
        0.0017677118642428036,
        -0.007800708325034148,
    ]
)

# "sym2", with two vanishing moments, which is also "db2".
SYM2 = np.array([1 - 3**0.5, 3 - 3**0.5, 3 + 3**0.5, 1 + 3**0.5]) / 2**2.5

# H(z) H(1/z) / 2, the zero-phase low-pass filter of sym2. It is a half-band filter: its sum with the high-pass filter
# H(-z) H(-1/z) / 2 is 1.
SYM2_LOW_PASS = np.array([-1, 0, 9, 16, 9, 0, -1]) / 32
