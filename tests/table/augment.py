"""`jaxgan.augment`: transformations with given parameters, random ones with the same draws, and ADA's controller."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import augment
from jaxgan.augment import adaptive, differentiable
from jaxgan.augment.wavelets import SYM6
from table import Case

HEIGHT, WIDTH = 5, 6


def key():
    return jax.random.key(5)


def images(rng, batch, height=HEIGHT, width=WIDTH, channels=3):
    return np.float32(rng.uniform(-1, 1, (batch, height, width, channels)))


def only_images(rng, batch):
    return (images(rng, batch),)


def squares(rng, batch):
    return (images(rng, batch, 6, 6),)


def with_numbers(*draws):
    """Images and one number per image for each of the draws."""
    return lambda rng, batch: (images(rng, batch), *(np.float32(d(rng, batch)) for d in draws))


def whole(low, high):
    return lambda rng, batch: rng.integers(low, high, batch).astype(np.int32)


def uniform(low, high):
    return lambda rng, batch: rng.uniform(low, high, batch)


# NumPy in float64, one image at a time where that is plainer.


def flip(x, where):
    return np.stack([a[:, ::-1] if w else a for a, w in zip(x, where, strict=True)])


def rotate90(x, turns):
    return np.stack([np.rot90(a, int(k)) for a, k in zip(x, turns, strict=True)])


def mirrored(n, size):
    """Walks back and forth."""
    path = [*range(size), *range(size - 2, 0, -1)]
    return path[n % len(path)]


def translate(x, down, right, mode):
    y = np.zeros_like(x)
    _, height, width, _ = x.shape
    for b in range(len(x)):
        for i in range(height):
            for j in range(width):
                k, n = i - int(down[b]), j - int(right[b])
                if mode == "reflect":
                    y[b, i, j] = x[b, mirrored(k, height), mirrored(n, width)]
                elif 0 <= k < height and 0 <= n < width:
                    y[b, i, j] = x[b, k, n]
    return y


def cutout(x, y, across, height, width):
    result = x.copy()
    rows, columns = np.arange(x.shape[1]) + 0.5, np.arange(x.shape[2]) + 0.5
    for b in range(len(x)):
        inside_y = (rows >= y[b] - height / 2) & (rows < y[b] + height / 2)
        inside_x = (columns >= across[b] - width / 2) & (columns < across[b] + width / 2)
        result[b][np.ix_(inside_y, inside_x)] = 0
    return result


def adjust_colors(x, brightness, saturation, contrast):
    each = np.index_exp[:, None, None, None]
    x = x + brightness[each]
    grey = x.mean(axis=3, keepdims=True)
    x = (x - grey) * saturation[each] + grey
    mean = x.mean(axis=(1, 2, 3), keepdims=True)
    return (x - mean) * contrast[each] + mean


def transform_colors(x, matrix):
    if x.shape[3] == 1:
        return transform_colors(np.repeat(x, 3, axis=3), matrix).mean(axis=3, keepdims=True)
    ones = np.ones((*x.shape[:3], 1))
    return np.einsum("bij,bhwj->bhwi", matrix, np.concatenate([x, ones], axis=3))[..., :3]


def color_matrix(brightness, contrast, luma_flip, hue, saturation):
    """The product of the five, each as the paper has it."""
    v = np.array([1.0, 1.0, 1.0, 0.0]) / np.sqrt(3)
    luma = np.outer(v, v)
    cross = np.zeros((4, 4))
    cross[:3, :3] = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    result = []
    for b, c, f, h, s in zip(brightness, contrast, luma_flip, hue, saturation, strict=True):
        shift = np.eye(4)
        shift[:3, 3] = b
        flipped = np.eye(4) - 2 * f * luma
        turned = np.eye(4) + np.sin(h) * cross + (1 - np.cos(h)) * cross @ cross  # Rodrigues
        saturated = luma + (np.eye(4) - luma) * s
        saturated[3, 3] = 1
        result.append(saturated @ turned @ flipped @ np.diag([c, c, c, 1]) @ shift)
    return np.stack(result)


# The wavelet sym2 in closed form, for its bank of four bands.
SYM2 = np.array([1 - 3**0.5, 3 - 3**0.5, 3 + 3**0.5, 1 + 3**0.5]) / (4 * 2**0.5)


def filter_bank():
    """[4, 43], the bands' zero-phase filters, from the lowest, by the polynomials' products."""
    low = np.convolve(SYM2, SYM2[::-1]) / 2
    signs = (-1.0) ** np.arange(4)
    high = np.convolve(SYM2 * signs, (SYM2 * signs)[::-1]) / 2

    def spread(f, by):
        wide = np.zeros((len(f) - 1) * by + 1)
        wide[::by] = f
        return wide

    low_2 = np.convolve(low, spread(low, 2))
    bank = [
        np.convolve(low_2, spread(low, 4)),
        np.convolve(low_2, spread(high, 4)),
        np.convolve(low, spread(high, 2)),
        high,
    ]
    return np.stack([np.pad(f, (43 - len(f)) // 2) for f in bank])


def amplify_bands(x, gains):
    result = []
    for image, g in zip(x, gains, strict=True):
        taps = g @ filter_bank()
        y = image
        for axis in (0, 1):
            size = y.shape[axis]
            y = sum(
                tap * np.take(y, [mirrored(n + t - 21, size) for n in range(size)], axis)
                for t, tap in enumerate(taps)
            )
        result.append(y)
    return np.stack(result)


def affine(x, matrix):
    """Upsampling as far as any position reaches, without use of the mirrored image's period."""
    center = 5.09765625

    def upsampled(size, positions):
        """u[m] of the given m: [m, size]."""
        rows = np.zeros((len(positions), size))
        for row, m in zip(rows, positions, strict=True):
            for k, tap in enumerate(SYM6):
                if (m - k) % 2 == 0:
                    row[mirrored((m - k) // 2, size)] += 2**0.5 * tap
        return rows

    _, height, width, _ = x.shape
    result = []
    for image, forward in zip(x, matrix, strict=True):
        a = np.array(
            [[*forward[0, :2], forward[0, 2]], [*forward[1, :2], forward[1, 2]], [0, 0, 1]]
        )
        back = np.linalg.inv(a)
        m_y, m_x = np.arange(2 * height + 10), np.arange(2 * width + 10)
        y = ((m_y - center) / 2 - (height - 1) / 2)[:, None] + 0 * m_x
        q = ((m_x - center) / 2 - (width - 1) / 2)[None] + 0 * y
        source_x = back[0, 0] * q + back[0, 1] * y + back[0, 2] + (width - 1) / 2
        source_y = back[1, 0] * q + back[1, 1] * y + back[1, 2] + (height - 1) / 2
        at = [2 * source_y + center, 2 * source_x + center]
        # Where rounding decides between two pixels either will do: interpolation is continuous.
        low = [int(np.floor(c.min())) for c in at]
        spans = [
            np.arange(first, int(np.floor(c.max())) + 2) for first, c in zip(low, at, strict=True)
        ]
        u = np.einsum(
            "ai,ijc,bj->abc", upsampled(height, spans[0]), image, upsampled(width, spans[1])
        )
        (i, down), (j, right) = (
            (np.floor(c).astype(int) - first, (c - np.floor(c))[..., None])
            for c, first in zip(at, low, strict=True)
        )
        upper = u[i, j] * (1 - right) + u[i, j + 1] * right
        lower = u[i + 1, j] * (1 - right) + u[i + 1, j + 1] * right
        z = upper * (1 - down) + lower * down
        rows = sum(tap * z[t : t + 2 * height - 1 : 2] for t, tap in enumerate(SYM6)) / 2**0.5
        columns = [rows[:, t : t + 2 * width - 1 : 2] * tap for t, tap in enumerate(SYM6)]
        result.append(sum(columns) / 2**0.5)
    return np.stack(result)


def matrices(rng, batch):
    """Turned, stretched and shifted, and none near singular."""
    angle = rng.uniform(-np.pi, np.pi, batch)
    c, s = np.cos(angle), np.sin(angle)
    wide, high = 2 ** rng.uniform(-0.5, 0.5, (2, batch))
    shift = rng.uniform(-3, 3, (2, batch))
    zero, one = np.zeros(batch), np.ones(batch)
    rows = [[wide * c, -high * s, shift[0]], [wide * s, high * c, shift[1]], [zero, zero, one]]
    return np.float32(np.moveaxis(np.array(rows), 2, 0))


# The random ones: the reference takes the same draws.


def random_flip(x):
    return flip(x, np.asarray(jax.random.bernoulli(key(), 0.5, x.shape[:1])))


def random_shift(x, down, right, mode):
    first, second = jax.random.split(key())
    draw = [
        np.asarray(jax.random.randint(k, x.shape[:1], -n, n + 1))
        for k, n in ((first, down), (second, right))
    ]
    return translate(x, *draw, mode)


def diff_augment(x):
    """In the order color, cutout, translation; 6x6 images shift by at most 1 and lose 3x3."""
    colors, shift, cut = (jax.random.fold_in(key(), i) for i in range(3))
    x = adjust_colors(x, *map(np.float64, differentiable._draw_colors(colors, len(x))))
    x = cutout(x, *map(np.float64, differentiable._draw_cutout(cut, x.shape)))
    down, right = (
        np.asarray(jax.random.randint(k, x.shape[:1], -1, 2)) for k in jax.random.split(shift)
    )
    return translate(x, down, right, "zeros")


def ada(x, p):
    """The pipeline of Figure 15, all groups."""
    draws = adaptive._Draws(
        key(), len(x), jnp.float32(p), augment.AdaOptions(), augment.AdaOptions._fields
    )
    batch, height, width, _ = x.shape
    size = np.array([width, height])

    def applied(name):
        return np.asarray(draws.applied(name))

    def normal(name):
        return np.float64(draws.normal(name))

    x = flip(x, applied("flip") & np.asarray(draws.either("flip")))
    turns = np.floor(np.asarray(draws.uniform("rotate90", 0.0, 4.0))).astype(int)
    x = rotate90(x, applied("rotate90") * turns)

    rotated = np.asarray(draws.applied("rotate", lambda p: 1 - jnp.sqrt(1 - p)))
    angles = np.float64(draws.uniform("rotate", -np.pi, np.pi)) * rotated
    isotropic = 2 ** (0.2 * normal("scale") * applied("scale"))
    stretch = 2 ** (0.2 * normal("stretch") * applied("stretch"))
    whole = np.round(np.float64(draws.uniform("translate", -1 / 8, 1 / 8)) * size)
    whole *= applied("translate")[:, None]
    shift = normal("shift") / 8 * size * applied("shift")[:, None]
    matrix = []
    for b in range(batch):

        def turn(angle):
            c, s = np.cos(angle), np.sin(angle)
            return np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])  # y points down

        def move(t):
            return np.array([[1, 0, t[0]], [0, 1, t[1]], [0, 0, 1]])

        wider = np.diag([stretch[b], 1 / stretch[b], 1])
        larger = np.diag([isotropic[b], isotropic[b], 1])
        first, second = turn(angles[b, 0]), turn(angles[b, 1])
        matrix.append(move(shift[b]) @ second @ wider @ first @ larger @ move(whole[b]))
    x = affine(x, np.stack(matrix))

    angle = np.float64(draws.uniform("hue", -np.pi, np.pi))
    x = transform_colors(
        x,
        color_matrix(
            0.2 * normal("brightness") * applied("brightness"),
            2 ** (0.5 * normal("contrast") * applied("contrast")),
            applied("luma_flip") * np.float64(draws.either("luma_flip")),
            angle * applied("hue"),
            2 ** (normal("saturation") * applied("saturation")),
        ),
    )

    strengths = 2 ** (normal("bands") * applied("bands"))
    gains = np.ones((batch, 4))
    for i in range(4):
        t = np.ones((batch, 4))
        t[:, i] = strengths[:, i]
        gains *= t / np.sqrt((np.array([10, 1, 1, 1]) / 13 * t**2).sum(axis=1, keepdims=True))
    x = amplify_bands(x, gains)

    scale = np.abs(normal("noise")) * 0.1 * applied("noise")
    x = x + scale[:, None, None, None] * np.float64(jax.random.normal(draws.noise_key, x.shape))

    center = np.float64(draws.uniform("cutout")) * [height, width]
    cut = cutout(x, center[:, 0], center[:, 1], height / 2, width / 2)
    return np.where(applied("cutout")[:, None, None, None], cut, x)


def images_and_p(rng, batch):
    return (*squares(rng, batch), np.float32(0.7))


def state_and_logits(rng, batch):
    """A state that is adjusted with this update, and logits."""
    state = np.float32([0.4, 0.0, 10.0, 5.0, -4.0, 20.0, 3.0])
    return tuple(state), np.float32(1 + rng.standard_normal(batch))


def state_and_three(rng, batch):
    state, real = state_and_logits(rng, batch)
    others = np.float32(rng.standard_normal((2, batch)) - 0.5)
    return state, real, *others


def update(measure):
    def call(state, *logits):
        # Only the logits have a type to choose.
        state = augment.AdaState(*(jnp.asarray(s).astype(jnp.float32) for s in state))
        return tuple(augment.ada_update(state, *logits, rise_kimg=1.0))

    def reference(state, real, validation=None, fake=None):
        p, _, *sums, count, _ = state
        images = count + len(real)
        if measure == "r_t":
            overfitting, target = (sums[0] + np.sign(real).sum()) / images, 0.6
        else:
            means = [
                s + len(real) * x.mean()
                for s, x in zip(sums, (real, validation, fake), strict=True)
            ]
            overfitting, target = (means[0] - means[1]) / (means[0] - means[2]), 0.5
        up = 1 if overfitting > target else -1
        return p + up * images / 1000, overfitting, 0, 0, 0, 0, 0

    return call, reference


def column(*values):
    """One image of one column."""
    return [[[[v]] for v in values]]


def row(*values):
    return [[[[v] for v in values]]]


LINEAR = {"keeps_dtype": True, "order": 2, "bfloat16_rtol": 1e-2}
CONTROLLER = {
    "shared": (0,),
    "wrt": (),
    "skip": {"gradients": "the controller is no function to be differentiated: it stops gradients"},
}

CASES = [
    Case(
        "augment.flip",
        with_numbers(),
        lambda x: flip(x, [True] * len(x)),
        hand=(((row(1.0, 2.0, 3.0),), row(3.0, 2.0, 1.0)),),
        call=lambda x: augment.flip(x, True),
        variant="all",
        **LINEAR,
    ),
    Case(
        "augment.flip",
        lambda rng, b: (images(rng, b), rng.integers(0, 2, b).astype(bool)),
        flip,
        hand=(((row(1.0, 2.0) + row(1.0, 2.0), [True, False]), row(2.0, 1.0) + row(1.0, 2.0)),),
        **LINEAR,
    ),
    Case(
        "augment.rotate90",
        lambda rng, b: (*squares(rng, b), whole(-3, 6)(rng, b)),
        rotate90,
        hand=(
            (
                ([[[[1.0], [2.0]], [[3.0], [4.0]]]], [1]),
                [[[[2.0], [4.0]], [[1.0], [3.0]]]],
            ),
        ),
        **LINEAR,
    ),
    *(
        Case(
            "augment.translate",
            lambda rng, b: (images(rng, b), whole(-9, 10)(rng, b), whole(-9, 10)(rng, b)),
            lambda x, down, right, mode=mode: translate(x, down, right, mode),
            hand=(((column(1.0, 2.0, 3.0), [1], [0]), column(new, 1.0, 2.0)),),
            call=lambda x, down, right, mode=mode: augment.translate(x, down, right, mode),
            variant=mode,
            **LINEAR,
        )
        for mode, new in (("zeros", 0.0), ("reflect", 2.0))
    ),
    Case(
        "augment.cutout",
        with_numbers(uniform(-1, 6), uniform(-1, 7)),
        lambda x, y, across: cutout(x, y, across, 2.5, 3),
        # Centres at 1/2, 3/2, 5/2, 7/2, and a rectangle from 1/4 to 11/4.
        hand=(((column(1.0, 2.0, 3.0, 4.0), [1.5], [0.5]), column(0.0, 0.0, 0.0, 4.0)),),
        call=lambda x, y, across: augment.cutout(x, y, across, 2.5, 3),
        **LINEAR,
    ),
    Case(
        "augment.adjust_colors",
        with_numbers(uniform(-0.5, 0.5), uniform(0, 2), uniform(0.5, 1.5)),
        adjust_colors,
        # + 1: (2, 3, 4); saturation 2: (1, 3, 5); contrast 1/2 about 3.
        hand=((([[[[1.0, 2.0, 3.0]]]], [1.0], [2.0], [0.5]), [[[[2.0, 3.0, 4.0]]]]),),
        wrt=(0, 1, 2, 3),
        scales=(0.0, 1e3),
        **LINEAR,
    ),
    Case(
        "augment.transform_colors",
        lambda rng, b: (images(rng, b), np.float32(rng.standard_normal((b, 4, 4)))),
        transform_colors,
        # Green of red, blue of green, red of 2 blue + 1.
        hand=(
            (
                (
                    [[[[1.0, 2.0, 3.0]]]],
                    [[[0.0, 0, 2, 1], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]],
                ),
                [[[[7.0, 1.0, 2.0]]]],
            ),
        ),
        wrt=(0, 1),
        **LINEAR,
    ),
    Case(
        "augment.transform_colors",
        lambda rng, b: (images(rng, b, channels=1), np.float32(rng.standard_normal((b, 4, 4)))),
        transform_colors,
        hand=(
            (
                ([[[[2.0]]]], [[[1.0, 0, 0, 3], [0, 1, 0, 0], [0, 0, 4, 0], [0, 0, 0, 1]]]),
                [[[[5.0]]]],  # the mean of 2 + 3, 2 and 8
            ),
        ),
        variant="grey",
        wrt=(0, 1),
        **LINEAR,
    ),
    Case(
        "augment.color_matrix",
        lambda rng, b: tuple(
            np.float32(rng.uniform(low, high, b))
            for low, high in ((-1, 1), (0.5, 2), (0, 1), (-3, 3), (0, 2))
        ),
        color_matrix,
        hand=(
            (
                # A third of the hue's circle: red becomes green, green blue, blue red; twice the contrast of x + 1.
                ([1.0], [2.0], [0.0], [2 * np.pi / 3], [1.0]),
                [[[0, 0, 2, 2], [2, 0, 0, 2], [0, 2, 0, 2], [0, 0, 0, 1]]],
            ),
        ),
        wrt=(0, 1, 2, 3, 4),
        order=2,
        scales=(0.0, 1e2),
    ),
    Case(
        "augment.amplify_bands",
        lambda rng, b: (images(rng, b), np.float32(rng.uniform(0, 3, (b, 4)))),
        amplify_bands,
        # Constant: the lowest band alone, by 3 along either axis. The fastest wave along the height, and constant along
        # the width: by 2 and then by 3.
        hand=(
            ((column(1.0, 1.0, 1.0, 1.0), [[3.0, 0, 0, 0]]), column(9.0, 9.0, 9.0, 9.0)),
            ((column(1.0, -1.0, 1.0), [[3.0, 0, 0, 2.0]]), column(6.0, -6.0, 6.0)),
        ),
        wrt=(0, 1),
        atol=5e-6,
        **LINEAR,
    ),
    Case(
        "augment.affine",
        lambda rng, b: (images(rng, b), matrices(rng, b)),
        affine,
        hand=(
            (
                (column(1.0, 2.0, 3.0), [[[1.0, 0, 0], [0, 1, 1], [0, 0, 1]]]),
                column(2.0, 1.0, 2.0),  # one down, 2 by reflection
            ),
        ),
        scaled=(0,),
        rtol=1e-4,
        atol=3e-5,
        **LINEAR,
    ),
    Case(
        "augment.random_flip",
        only_images,
        random_flip,
        call=lambda x: augment.random_flip(x, key()),
        skip={"hand": "hand values are those of flip; the draw is a generator's"},
        **LINEAR,
    ),
    Case(
        "augment.random_crop",
        only_images,
        lambda x: random_shift(x, 2, 2, "zeros"),
        call=lambda x: augment.random_crop(x, key(), padding=2),
        skip={"hand": "hand values are those of translate; the draw is a generator's"},
        **LINEAR,
    ),
    Case(
        "augment.random_translate",
        only_images,
        # 5 * 0.3 + 0.5 and 6 * 0.3 + 0.5, rounded down.
        lambda x: random_shift(x, 2, 2, "reflect"),
        call=lambda x: augment.random_translate(x, key(), ratio=0.3, mode="reflect"),
        skip={"hand": "hand values are those of translate; the draw is a generator's"},
        **LINEAR,
    ),
    Case(
        "augment.diff_augment",
        squares,
        diff_augment,
        call=lambda x: augment.diff_augment(x, key(), "color,cutout,translation"),
        skip={"hand": "hand values are those of its parts; the draws are a generator's"},
        **LINEAR,
    ),
    Case(
        "augment.ada",
        images_and_p,
        ada,
        call=lambda x, p: augment.ada(x, key(), p, "bgcfnc"),
        scaled=(0,),
        shared=(1,),
        # Positions in float32, amplified by contrast and bands.
        rtol=2e-4,
        atol=2e-4,
        slow=True,
        skip={"hand": "hand values are those of its parts; the draws are a generator's"},
        # To second order through a critic in test_augment.py.
        **{**LINEAR, "order": 1},
    ),
    Case(
        "augment.ada_start",
        lambda rng, b: (np.float32(0.25),),
        lambda p: (p, 0, 0, 0, 0, 0, 0),
        hand=(((0.5,), (0.5, 0, 0, 0, 0, 0, 0)),),
        call=lambda p: tuple(augment.ada_start(p)),
        shared=(0,),
    ),
    Case(
        "augment.ada_update",
        state_and_logits,
        update("r_t")[1],
        # Of 20 + 4 images 10 + 2 more were real than not: 0.5 < 0.6, so down by 24/1000.
        hand=(
            (
                ((0.4, 0, 10, 0, 0, 20, 3), [1.0, 2.0, 3.0, -4.0]),
                (0.376, 0.5, 0, 0, 0, 0, 0),
            ),
            # Not due: sums only.
            (
                ((0.4, 0.1, 10, 0, 0, 20, 1), [1.0, 2.0, 3.0, -4.0]),
                (0.4, 0.1, 12, 0, 0, 24, 2),
            ),
        ),
        call=update("r_t")[0],
        variant="r_t",
        **CONTROLLER,
    ),
    Case(
        "augment.ada_update",
        state_and_three,
        update("r_v")[1],
        # Means of 2, -2 and -2 twice: validation images look generated, 1 > 0.5.
        hand=(
            (
                ((0.4, 0, 2, -2, -2, 1, 3), [3.0, 1.0], [-2.0, -2.0], [-1.0, -3.0]),
                (0.403, 1.0, 0, 0, 0, 0, 0),
            ),
        ),
        call=update("r_v")[0],
        variant="r_v",
        **CONTROLLER,
    ),
]
