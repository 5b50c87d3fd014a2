"""`jaxgan.resample`: references loop over taps, pixels and blocks of zero-padded planes."""

import jax.numpy as jnp
import numpy as np
from scipy import special

from jaxgan import resample
from table import Case

ROUNDED = {"keeps_dtype": True, "bfloat16_rtol": 5e-2}
# Sums of a size of 2 are rounded to 8 bits more than once; what is near 0 is held to a tenth of this, absolutely.
CONVOLVED = {"keeps_dtype": True, "bfloat16_rtol": 0.2}
FOUR = np.array([1.0, 3.0, 3.0, 1.0]) / 8
SHEAR = np.array([[1.0, 2.0, 0.0], [0.0, 4.0, -1.0]])


def images(height=4, width=6, channels=2):
    def draw(rng, b):
        return (np.float32(rng.normal(size=(b, height, width, channels))),)

    return draw


def images_and_kernel(*size, channels=2, features=3):
    def draw(rng, b):
        kernel = np.float32(rng.normal(size=(*size, channels, features)))
        return *images(channels=channels)(rng, b), kernel / 3, np.float32(rng.normal(size=features))

    return draw


def plane(x, margin=8):
    return np.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))


def cut(x, height, width, margin=8):
    return x[:, margin : margin + height, margin : margin + width]


def spaced(x, factor=2):
    b, h, w, c = x.shape
    y = np.zeros((b, factor * h, factor * w, c))
    y[:, ::factor, ::factor] = x
    return y


def shifted(x, rows, columns):
    """x[i + rows, j + columns] at [i, j]; planes, whose margins are zero, may be rolled."""
    return np.roll(x, (-rows, -columns), (1, 2))


def convolved(x, kernel):
    """The correlation of a plane that networks call a convolution, centred."""
    h, w = kernel.shape[:2]
    taps = [(m, n) for m in range(h) for n in range(w)]
    return sum(shifted(x, m - h // 2, n - w // 2) @ kernel[m, n] for m, n in taps)


def filtered(x, kernel, top, left):
    """The true convolution of a plane, that began `top` and `left` pixels before the image."""
    turned = np.asarray(kernel)[::-1, ::-1]
    taps = [(m, n) for m in range(turned.shape[0]) for n in range(turned.shape[1])]
    return sum(turned[m, n] * shifted(x, m - top, n - left) for m, n in taps)


def conv(x, kernel, bias=0.0):
    return cut(convolved(plane(x), kernel), *x.shape[1:3]) + bias


def grouped_conv(x, kernel, bias):
    """Two groups of channels, convolved one after the other."""
    c, o = kernel.shape[2], kernel.shape[3] // 2
    parts = [conv(x[..., i * c : (i + 1) * c], kernel[..., i * o : (i + 1) * o]) for i in range(2)]
    return np.concatenate(parts, axis=3) + bias


def draw_groups(rng, b):
    kernel = np.float32(rng.normal(size=(3, 3, 3, 4)))
    return *images(channels=6)(rng, b), kernel / 3, np.float32(rng.normal(size=4))


def blocks(x):
    return [x[:, i::2, j::2] for i in range(2) for j in range(2)]


def avg_pool(x):
    return sum(blocks(x)) / 4


def blockwise(x, side):
    b, h, w, c = x.shape
    return x.reshape(b, h // side, side, w // side, side, c).mean(axis=(2, 4))


def repeated(x):
    return x.repeat(2, axis=1).repeat(2, axis=2)


def conv_halving(x, kernel, bias):
    """4x4, stride 2: output i sees pixels 2i - 1 to 2i + 2."""
    y = plane(x)
    taps = [(m, n) for m in range(4) for n in range(4)]
    found = sum(shifted(y, m - 1, n - 1) @ kernel[m, n] for m, n in taps)
    return cut(found, *x.shape[1:3])[:, ::2, ::2] + bias


def conv_transpose(x, kernel, bias):
    """4x4, stride 2: pixel i reaches 2i - 1 to 2i + 2, by the turned kernel, as Flax has it."""
    y = plane(spaced(x))
    taps = [(m, n) for m in range(4) for n in range(4)]
    found = sum(shifted(y, m - 2, n - 2) @ kernel[m, n] for m, n in taps)
    return cut(found, 2 * x.shape[1], 2 * x.shape[2]) + bias


def upfirdn(x, kernel):
    """Up by (3, 1), padded by 2 above and 1 left, one column cropped right, down by (2, 1)."""
    b, h, w, c = x.shape
    y = np.zeros((b, 3 * h, w, c))
    y[:, ::3] = x
    y = y[:, :, : w - 1]
    y = filtered(plane(y), kernel, 2, 1)
    # 3h + 2 - 1 rows and w - 1 + 1 - 2 columns have the kernel inside.
    return cut(y, 3 * h + 1, w - 2)[:, ::2]


def four_up(x):
    return filtered(plane(spaced(x)), 4 * np.outer(FOUR, FOUR), 2, 2)


def four_down(y, x):
    y = filtered(y, np.outer(FOUR, FOUR), 1, 1)
    return cut(y, *x.shape[1:3])[:, ::2, ::2]


def upsample_conv_fir(x, kernel, bias):
    return cut(convolved(four_up(x), kernel), 2 * x.shape[1], 2 * x.shape[2]) + bias


def conv_downsample_fir(x, kernel, bias):
    return four_down(convolved(plane(x), kernel), x) + bias


def resized(x):
    """4 x 6 to 3 x 8, by weights of each output."""
    rows, columns = cubic_weights(4, 3), cubic_weights(6, 8)
    return np.einsum("hi,wj,bijc->bhwc", rows, columns, x)


def cubic_weights(n, m):
    scale = max(1, n / m)
    weights = np.zeros((m, n))
    for i in range(m):
        for j in range(n):
            t = abs(((i + 0.5) * n / m - 0.5 - j) / scale)
            if t < 1:
                weights[i, j] = 1.5 * t**3 - 2.5 * t**2 + 1
            elif t < 2:
                weights[i, j] = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return weights / weights.sum(1, keepdims=True)


def haar(x):
    a, b, c, d = blocks(x)
    return np.concatenate([a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d], axis=3) / 2


def haar_inverse(y):
    ll, lh, hl, hh = np.split(y, 4, axis=3)
    b, h, w, c = ll.shape
    x = np.zeros((b, 2 * h, 2 * w, c))
    x[:, ::2, ::2], x[:, ::2, 1::2] = (ll + lh + hl + hh) / 2, (ll + lh - hl - hh) / 2
    x[:, 1::2, ::2], x[:, 1::2, 1::2] = (ll - lh + hl - hh) / 2, (ll - lh - hl + hh) / 2
    return x


def mirrored(i, n):
    """Pixel i of an image of n mirrored at its first and last pixel."""
    i = abs(i)
    return 2 * (n - 1) - i if i > n - 1 else i


def five_taps(n):
    """[1, 4, 6, 4, 1] / 16 around each pixel of a mirrored line of n."""
    weights = np.zeros((n, n))
    for i in range(n):
        for t, tap in enumerate((1, 4, 6, 4, 1)):
            weights[i, mirrored(i + t - 2, n)] += tap / 16
    return weights


def gaussian(x):
    levels = [x]
    for _ in range(2):
        h, w = levels[-1].shape[1:3]
        kept = (five_taps(h)[::2], five_taps(w)[::2])
        levels.append(np.einsum("hi,wj,bijc->bhwc", *kept, levels[-1]))
    return tuple(levels)


def expanded(x):
    y = spaced(x)
    return 4 * np.einsum("hi,wj,bijc->bhwc", five_taps(y.shape[1]), five_taps(y.shape[2]), y)


def laplacian(x):
    a, b, c = gaussian(x)
    return a - expanded(b), b - expanded(c), c


def draw_levels(rng, b):
    return tuple(images(n, n)(rng, b)[0] for n in (8, 4, 2))


def kaiser(x):
    """Six taps, cut off at 1/4 over 0.3: A = 2.285 pi 5 0.6 + 7.95 = 29.485 dB."""
    beta = 0.5842 * (29.485263 - 21) ** 0.4 + 0.07886 * (29.485263 - 21)
    at = np.arange(6) - 2.5
    taps = np.sinc(at / 2) * np.i0(beta * np.sqrt(1 - (at / 2.5) ** 2))
    return x * taps / taps.sum()


def kaiser_here(x):
    return x * resample.kaiser_lowpass(6, 0.25, 0.3)[None].astype(x.dtype)


def blurred(x, width=1.5):
    """Taps 2^-(i / width)^2 up to 3 widths."""
    taps = np.array([2.0 ** -((i / width) ** 2) for i in range(-4, 5)])
    kernel = np.outer(taps, taps) / taps.sum() ** 2
    return cut(filtered(plane(x), kernel, 4, 4), *x.shape[1:3])


def lanczos(n, by):
    """Weights [n, n] of a shift along one axis."""
    away = np.arange(n)[:, None] - by - np.arange(n)[None]
    return np.sinc(away) * np.sinc(away / 3) * (np.abs(away) < 3)


def moved(x, by):
    pairs = zip(x, by, strict=True)
    h, w = x.shape[1:3]
    return np.stack(
        [np.einsum("ij,jkc,lk->ilc", lanczos(h, b[1]), p, lanczos(w, b[0])) for p, b in pairs]
    )


def draw_turn(rng, b):
    return *images(20, 22)(rng, b), np.float32(rng.uniform(0, 7, size=b))


def turned(x, angle):
    """The jinc of 0.4 cycles per pixel times a Kaiser window of the distance, its taps summing to 1 inside."""
    h, w = x.shape[1:3]
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in (h, w))
    q = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    found = []
    for picture, a in zip(x, angle, strict=True):
        p = q @ np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        d = np.linalg.norm(p[:, None] - q[None], axis=2)
        z = 0.8 * np.pi * np.maximum(d, 1e-9)
        kernel = 0.8 * np.pi * 0.4 * special.j1(z) / z
        kernel *= np.i0(6 * np.sqrt(np.maximum(0, 1 - (d / 8) ** 2))) / np.i0(6) * (d < 8)
        inside = (np.abs(p) <= np.array([w, h]) / 2 - 8.5).all(axis=1)
        kernel /= np.where(inside, kernel.sum(axis=1), 1)[:, None]
        found.append((kernel @ picture.reshape(h * w, -1)).reshape(picture.shape))
    return np.stack(found)


QUAD = [[[[1.0], [2.0]], [[3.0], [4.0]]]]  # one picture of 2 x 2 pixels
ONE = [[[[8.0]]]]  # one of one pixel
CORNER = [[[[4.0], [0.0], [0.0], [0.0]], *[[[0.0]] * 4] * 3]]  # one of 4 x 4 pixels
CENTRE = np.zeros((3, 3, 1, 1))
CENTRE[1, 1] = 2.0
CASES = [
    Case(
        "resample.avg_pool",
        draw=images(),
        reference=avg_pool,
        hand=(((QUAD,), [[[[2.5]]]]),),
        order=2,
        **ROUNDED,
    ),
    Case(
        "resample.upsample_nearest",
        draw=images(),
        reference=repeated,
        hand=(((ONE,), [[[[8.0], [8.0]], [[8.0], [8.0]]]]),),
        order=2,
        **ROUNDED,
    ),
    Case(
        "resample.conv",
        draw=images_and_kernel(3, 3),
        reference=conv,
        hand=(((QUAD, CENTRE, [1.0]), [[[[3.0], [5.0]], [[7.0], [9.0]]]]),),
        wrt=(0, 1, 2),
        order=2,
        shared=(1, 2),
        **CONVOLVED,
    ),
    Case(
        "resample.conv",
        variant="1x1",
        draw=images_and_kernel(1, 1),
        reference=conv,
        hand=(((ONE, [[[[0.5]]]], [1.0]), [[[[5.0]]]]),),
        wrt=(0, 1, 2),
        order=2,
        shared=(1, 2),
        **CONVOLVED,
    ),
    Case(
        "resample.grouped_conv",
        draw=draw_groups,
        reference=grouped_conv,
        # One pixel of two channels, each a group: 3 * 2 + 1 and 5 * 4 + 1.
        hand=((([[[[3.0, 5.0]]]], [[[[2.0, 4.0]]]], [1.0, 1.0]), [[[[7.0, 21.0]]]]),),
        wrt=(0, 1, 2),
        order=2,
        shared=(1, 2),
        slow=True,
        **CONVOLVED,
    ),
    Case(
        "resample.conv_avg_pool",
        draw=images_and_kernel(3, 3),
        reference=lambda x, kernel, bias: avg_pool(conv(x, kernel, bias)),
        hand=(((QUAD, CENTRE, [1.0]), [[[[6.0]]]]),),
        wrt=(0, 1, 2),
        order=2,
        shared=(1, 2),
        **CONVOLVED,
    ),
    Case(
        "resample.upsample_conv",
        draw=images_and_kernel(3, 3),
        reference=lambda x, kernel, bias: conv(repeated(x), kernel, bias),
        # All ones: each of the four pixels has four others inside, itself included.
        hand=(((ONE, np.ones((3, 3, 1, 1)), [1.0]), [[[[33.0], [33.0]], [[33.0], [33.0]]]]),),
        wrt=(0, 1, 2),
        order=2,
        shared=(1, 2),
        **CONVOLVED,
    ),
    Case(
        "resample.conv_halving",
        draw=images_and_kernel(4, 4),
        reference=conv_halving,
        # The kernel's inner four taps meet the four pixels: 5 + 2 * 6 + 3 * 9 + 4 * 10 of QUAD's 1, 2, 3, 4.
        hand=(((QUAD, np.arange(16.0).reshape(4, 4, 1, 1), [1.0]), [[[[85.0]]]]),),
        wrt=(0, 1, 2),
        order=2,
        shared=(1, 2),
        **CONVOLVED,
    ),
    Case(
        "resample.conv_transpose",
        draw=images_and_kernel(4, 4),
        reference=conv_transpose,
        hand=(
            (
                (ONE, np.arange(16.0).reshape(4, 4, 1, 1), [1.0]),
                [[[[81.0], [73.0]], [[49.0], [41.0]]]],
            ),
        ),
        wrt=(0, 1, 2),
        order=2,
        shared=(1, 2),
        **CONVOLVED,
    ),
    Case(
        "resample.upfirdn2d",
        draw=lambda rng, b: (*images()(rng, b), np.float32(SHEAR + rng.normal(size=(2, 3)))),
        call=lambda x, k: resample.upfirdn2d(x, k, (3, 1), (2, 1), (2, 0, 1, -1)),
        reference=upfirdn,
        # Rows 0 0 x 0 0 of columns 0 1 2. Outputs 0 and 2 are kept; the kernel's last row, turned, is -1 4 0.
        hand=((([[[[1.0], [2.0], [9.0]]]], SHEAR), [[[[0.0]], [[4.0]]]]),),
        wrt=(0, 1),
        order=2,
        shared=(1,),
        **ROUNDED,
    ),
    Case(
        "resample.upfirdn2d",
        variant="along both axes",
        draw=lambda rng, b: (*images()(rng, b), np.float32(rng.normal(size=4))),
        call=lambda x, k: resample.upfirdn2d(x, k, padding=(2, 1, 2, 1)),
        reference=lambda x, k: cut(filtered(plane(x), np.outer(k, k), 2, 2), *x.shape[1:3]),
        hand=(((QUAD, [0.0, 0.0, 2.0, 0.0]), [[[[0.0], [0.0]], [[0.0], [4.0]]]]),),
        wrt=(0, 1),
        order=2,
        shared=(1,),
        **ROUNDED,
    ),
    Case(
        "resample.upsample_fir",
        draw=images(),
        call=lambda x: resample.upsample_fir(x, FOUR),
        reference=lambda x: cut(four_up(x), 2 * x.shape[1], 2 * x.shape[2]),
        hand=(((ONE,), [[[[4.5], [4.5]], [[4.5], [4.5]]]]),),
        order=2,
        **ROUNDED,
    ),
    Case(
        "resample.downsample_fir",
        draw=images(),
        call=lambda x: resample.downsample_fir(x, FOUR),
        reference=lambda x: four_down(plane(x), x),
        hand=(((QUAD,), [[[[90 / 64]]]]),),
        order=2,
        **ROUNDED,
    ),
    Case(
        "resample.blur",
        draw=images(),
        call=lambda x: resample.blur(x, FOUR),
        reference=lambda x: cut(filtered(plane(x), np.outer(FOUR, FOUR), 2, 2), *x.shape[1:3]),
        hand=(((ONE,), [[[[9 / 8]]]]),),
        order=2,
        **ROUNDED,
    ),
    Case(
        "resample.gaussian_blur",
        draw=images(),
        call=lambda x: resample.gaussian_blur(x, jnp.float32(1.5), 6),
        reference=blurred,
        # Taps 1, 2^-4/9, 2^-16/9, 2^-4, 2^-64/9.
        hand=(((ONE,), [[[[8 / (1 + 2 * (0.7348672 + 0.2916326 + 0.0625 + 0.0072333)) ** 2]]]]),),
        order=2,
        **ROUNDED,
    ),
    Case(
        "resample.shift",
        draw=lambda rng, b: (*images()(rng, b), np.float32(rng.uniform(-2, 2, size=(b, 2)))),
        call=lambda x, by: resample.shift(x, by)[0],
        reference=moved,
        hand=(((QUAD, [[1.0, 0.0]]), [[[[0.0], [1.0]], [[0.0], [3.0]]]]),),
        order=2,
        scaled=(0,),
        **ROUNDED,
    ),
    Case(
        "resample.turn",
        draw=draw_turn,
        call=lambda x, angle: resample.turn(x, angle)[0],
        reference=turned,
        rtol=1e-4,
        atol=1e-3,  # of a tap at a distance of almost 8, which rounding includes or leaves out
        scaled=(0,),
        slow=True,
        skip={"hand": "each pixel is a sum of 256 taps; its docstring turns one point"},
        **ROUNDED,
    ),
    Case(
        "resample.upsample_conv_fir",
        draw=images_and_kernel(3, 3),
        call=lambda x, kernel, bias: resample.upsample_conv_fir(x, kernel, FOUR, bias),
        reference=upsample_conv_fir,
        hand=(((ONE, CENTRE, [1.0]), [[[[10.0], [10.0]], [[10.0], [10.0]]]]),),
        wrt=(0, 1, 2),
        order=2,
        shared=(1, 2),
        **CONVOLVED,
    ),
    Case(
        "resample.conv_downsample_fir",
        draw=images_and_kernel(3, 3),
        call=lambda x, kernel, bias: resample.conv_downsample_fir(x, kernel, FOUR, bias),
        reference=conv_downsample_fir,
        hand=(((QUAD, CENTRE, [1.0]), [[[[1 + 180 / 64]]]]),),
        wrt=(0, 1, 2),
        order=2,
        shared=(1, 2),
        **CONVOLVED,
    ),
    Case(
        "resample.binomial",
        draw=lambda rng, b: (np.float32(rng.normal(size=(b, 1))),),
        call=lambda x: x * resample.binomial(5)[None].astype(x.dtype),
        reference=lambda x: x * [1 / 16, 1 / 4, 3 / 8, 1 / 4, 1 / 16],
        hand=((([[16.0]],), [[1, 4, 6, 4, 1]]),),
        **ROUNDED,
    ),
    Case(
        "resample.kaiser_lowpass",
        draw=lambda rng, b: (np.float32(rng.normal(size=(b, 1))),),
        call=kaiser_here,
        reference=kaiser,
        rtol=3e-5,
        skip={"hand": "six windowed taps; the case without a window has one"},
        **ROUNDED,
    ),
    Case(
        "resample.kaiser_lowpass",
        variant="no window below 21 dB",
        draw=lambda rng, b: (np.float32(rng.normal(size=(b, 1))),),
        call=lambda x: x * resample.kaiser_lowpass(3, 0.25, 0.1)[None].astype(x.dtype),
        reference=lambda x: x * [2 / (np.pi + 4), np.pi / (np.pi + 4), 2 / (np.pi + 4)],
        # sinc(-1/2), sinc(0), sinc(1/2) are 2 / pi, 1, 2 / pi.
        hand=((([[1.0]],), [[0.2800496, 0.4399008, 0.2800496]]),),
        **ROUNDED,
    ),
    Case(
        "resample.resize_antialiased",
        draw=images(),
        call=lambda x: resample.resize_antialiased(x, (3, 8)),
        reference=resized,
        hand=(((ONE,), [[[[8.0]] * 8] * 3]),),
        order=2,
        **ROUNDED,
    ),
    Case(
        "resample.haar",
        draw=images(),
        reference=haar,
        hand=(((QUAD,), [[[[5.0, -2.0, -1.0, 0.0]]]]),),
        order=2,
        **ROUNDED,
    ),
    Case(
        "resample.haar_inverse",
        draw=images(2, 3, 8),
        reference=haar_inverse,
        hand=((([[[[5.0, -2.0, -1.0, 0.0]]]],), QUAD),),
        order=2,
        **ROUNDED,
    ),
    Case(
        "resample.average_pyramid",
        draw=images(8, 12),
        call=lambda x: resample.average_pyramid(x, 3),
        reference=lambda x: (x, avg_pool(x), blockwise(x, 4)),
        hand=(((CORNER,), (CORNER, [[[[1.0], [0.0]], [[0.0], [0.0]]]], [[[[0.25]]]])),),
        order=2,
        **ROUNDED,
    ),
    Case(
        "resample.gaussian_pyramid",
        draw=images(8, 12),
        call=lambda x: resample.gaussian_pyramid(x, 3),
        reference=gaussian,
        hand=((([[[[8.0]] * 4] * 4],), ([[[[8.0]] * 4] * 4], [[[[8.0]] * 2] * 2], ONE)),),
        order=2,
        **ROUNDED,
    ),
    Case(
        "resample.laplacian_pyramid",
        draw=images(8, 12),
        call=lambda x: resample.laplacian_pyramid(x, 3),
        reference=laplacian,
        hand=((([[[[8.0]] * 4] * 4],), ([[[[0.0]] * 4] * 4], [[[[0.0]] * 2] * 2], ONE)),),
        order=2,
        **ROUNDED,
    ),
    Case(
        "resample.laplacian_reconstruct",
        draw=draw_levels,
        call=lambda *levels: resample.laplacian_reconstruct(levels),
        reference=lambda a, b, c: a + expanded(b + expanded(c)),
        hand=((([[[[1.0]] * 4] * 4], [[[[0.0]] * 2] * 2], ONE), [[[[9.0]] * 4] * 4]),),
        wrt=(0, 1, 2),
        order=2,
        **ROUNDED,
    ),
]
