"""Augmentation: errors by their text, draws, wavelets, geometry against closed forms, a critic's loss, the controller.

Formulas in NumPy, gradients and devices are in the table.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.test_util import check_grads
from numpy.testing import assert_allclose, assert_array_equal

from jaxgan import augment, losses
from jaxgan.augment import AdaOptions, adaptive, differentiable, geometry, wavelets

ALL = "bgcfnc"
RANDOM = {
    "random_flip": augment.random_flip,
    "random_crop": augment.random_crop,
    "random_translate": augment.random_translate,
    "diff_augment": augment.diff_augment,
    "ada": lambda x, key: augment.ada(x, key, 0.8, ALL),
}


@pytest.fixture
def images(key):
    return jax.random.uniform(key, (6, 8, 8, 3), minval=-1.0)


PROGRAMS = {name: jax.jit(function) for name, function in RANDOM.items()}  # one for each shape

ada = jax.jit(augment.ada, static_argnames=("groups", "options"))
diff_augment = jax.jit(augment.diff_augment, static_argnames="policy")
affine = jax.jit(augment.affine)


def random_functions(f):
    return pytest.mark.parametrize("function", PROGRAMS.values(), ids=PROGRAMS)(f)


# Errors by their text.


@pytest.mark.parametrize("name", sorted(RANDOM))
def test_wrong_images_are_refused(name, key):
    function = RANDOM[name]
    with pytest.raises(ValueError, match=rf"{name} takes images \[B, H, W, C\].*\(8, 8, 3\)"):
        function(jnp.ones((8, 8, 3)), key)
    with pytest.raises(ValueError, match=rf"{name} takes images .* none of them 0; .*\(0, 8, 8"):
        function(jnp.ones((0, 8, 8, 3)), key)
    with pytest.raises(ValueError, match="dtype uint8; convert to floating point"):
        function(jnp.ones((2, 8, 8, 3), jnp.uint8), key)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x, k: augment.diff_augment(x, k, "color,cutuot"),
            "named 'cutuot'; did you mean 'cu",
        ),
        (lambda x, k: augment.diff_augment(x, k, "blur"), "choose one of color, translation, cut"),
        (lambda x, k: augment.ada(x, k, 0.5, "bgd"), "no group of augmentations named 'bgd'; did"),
        (lambda x, k: augment.ada(x, k, 0.5, "zzz"), "choose one of blit, geometry, color"),
        (lambda x, k: augment.ada(x, k, 1.5), "p is 1.5, but a probability lies between 0 and 1"),
        (lambda x, k: augment.ada(x, k, jnp.ones(6)), r"p has shape \(6,\); give one probability"),
        (
            lambda x, k: augment.ada(x, k, 0.5, options=AdaOptions(hue=-1)),
            "AdaOptions.hue is -1; a multiplier of p is 0 or more",
        ),
        (lambda x, k: augment.random_flip(x, k, -0.1), "p is -0.1, but a probability"),
        (lambda x, k: augment.random_crop(x, k, -1), "padding is -1; give a whole number"),
        (lambda x, k: augment.random_crop(x, k, mode="wrap"), "fill the edge named 'wrap'; choose"),
        (lambda x, k: augment.random_translate(x, k, 2.0), "ratio is 2.0; give the part of the im"),
        (lambda x, k: augment.translate(x, 0.5, 0), "down has dtype float32; give whole numbers"),
        (
            lambda x, k: augment.translate(x, 0, jnp.ones(4, int)),
            r"right has shape \(4,\); give \(6",
        ),
        (lambda x, k: augment.rotate90(x[:, :5], 1), "square images, but these are 5x8; crop"),
        (lambda x, k: augment.ada(x[:, :5], k, 0.5), r"leave quarter turns out \(of ADA by AdaOpt"),
        (lambda x, k: augment.cutout(x, 1.0, 1.0, -1, 2), "cutout's height is -1; give 0 or more"),
        (
            lambda x, k: augment.affine(x, jnp.eye(2)),
            r"matrix has shape \(2, 2\); give \(6, 3, 3\)",
        ),
        (
            lambda x, k: augment.amplify_bands(x, jnp.ones(3)),
            r"gains has shape \(3,\); give \(6, 4",
        ),
        (
            lambda x, k: augment.color_matrix(jnp.ones(2), jnp.ones(3), *[jnp.ones(2)] * 3),
            r"contrast has shape \(3,\) and brightness \(2,\); give all five as \[B\]",
        ),
        (lambda x, k: augment.ada_start(1.1), "p is 1.1, but a probability"),
    ],
)
def test_wrong_arguments_are_refused(call, message, images, key):
    with pytest.raises(ValueError, match=message):
        call(images, key)


@pytest.mark.parametrize(
    "call",
    [
        lambda x, k: augment.diff_augment(x, k, "color"),
        lambda x, k: augment.adjust_colors(x, 0.0, 1.0, 1.0),
        lambda x, k: augment.transform_colors(x, jnp.eye(4)),
        lambda x, k: augment.ada(x, k, 0.5, "color"),
    ],
)
def test_colours_of_two_channels_are_refused(call, key):
    with pytest.raises(ValueError, match=r"grey \(1 channel\) or RGB images \(3\); got 2 channels"):
        call(jnp.ones((2, 8, 8, 2)), key)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every is 0; p is adjusted every 1 or more steps"),
        ({"images": 0}, "images is 0; a step has 1 or more real images"),
        ({"rise_kimg": 0}, "rise_kimg is 0; give the thousands of images, above 0"),
        ({"validation_logits": jnp.ones(2)}, "given without fake_logits; r_v needs both"),
        ({"real_logits": jnp.ones(())}, r"real_logits has shape \(\), which holds no batch"),
        ({"real_logits": jnp.ones((0, 1))}, r"real_logits has shape \(0, 1\), which holds no"),
    ],
)
def test_a_wrong_update_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        augment.ada_update(augment.ada_start(), **{"real_logits": jnp.ones(2), **options})


# What every random augmentation promises.


@random_functions
def test_the_same_key_gives_the_same_and_another_another(function, images, key):
    first = np.asarray(function(images, key))
    assert_array_equal(first, function(images, jax.random.clone(key)))
    assert np.abs(first - function(images, jax.random.key(1))).max() > 0.01


@random_functions
def test_an_images_result_does_not_depend_on_the_rest_of_the_batch(function, images, key):
    whole = np.asarray(function(images, key))
    assert_allclose(function(images[:2], key), whole[:2], rtol=1e-5, atol=1e-5)
    others = np.array(images)
    others[2:] = np.nan
    assert_allclose(np.asarray(function(others, key))[:2], whole[:2], rtol=1e-5, atol=1e-5)


@random_functions
def test_images_of_one_batch_get_different_draws(function, key):
    """One picture many times."""
    one = jax.random.uniform(key, (1, 8, 8, 3))
    results = np.asarray(function(jnp.repeat(one, 32, axis=0), key))
    assert len(np.unique(results.reshape(32, -1), axis=0)) >= 2


@random_functions
@pytest.mark.parametrize(
    "shape",
    [
        *((2, 1, 1, 1), (1, 7, 7, 3)),
        *(pytest.param(shape, marks=pytest.mark.slow) for shape in ((2, 2, 2, 3), (2, 24, 24, 1))),
    ],
)
def test_any_size_and_grey_images(function, shape, key):
    x = jax.random.uniform(key, shape, minval=-1.0)
    y = function(x, key)
    assert y.shape == shape
    assert np.isfinite(y).all()


@random_functions
def test_float64_is_computed_in_float64(function, images, key):
    """Draws are the same, so only rounding differs."""
    expected = function(images, key)
    with jax.enable_x64(True):
        found = function(jnp.asarray(np.float64(images)), key)
        assert found.dtype == jnp.float64
    assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_gradient_by_the_images_is_the_transposed_map(images, key):
    """All but a constant is linear: <T x, y> = <x, T' y>, which a leak through a discrete choice would break."""

    y = jax.random.normal(jax.random.key(2), images.shape)

    @jax.jit
    @jax.value_and_grad
    def product(x):
        return jnp.sum(augment.ada(x, key, 0.9, ALL) * y)

    of_zero, _ = product(jnp.zeros_like(images))
    of_images, transposed = product(images)
    assert_allclose(of_images - of_zero, jnp.sum(images * transposed), rtol=1e-4)
    # And it does not depend on where it is taken.
    assert_allclose(transposed, product(3 * images + 1)[1], rtol=1e-4, atol=1e-5)


# DiffAugment.


def test_diff_augment_is_that_of_pytorch_operations(images, key):
    """The formulas by PyTorch in its layout [B, C, H, W], with the same draws; relative difference at most 1e-5."""
    torch = pytest.importorskip("torch")
    found = diff_augment(images, key)
    keys = [jax.random.fold_in(key, i) for i in range(3)]
    draws = differentiable._draw_colors(keys[0], 6)
    b, s, c = (torch.tensor(np.array(d)).reshape(-1, 1, 1, 1) for d in draws)
    x = torch.tensor(np.array(images)).permute(0, 3, 1, 2)
    x = x + b
    x = (x - x.mean(1, keepdim=True)) * s + x.mean(1, keepdim=True)
    x = (x - x.mean((1, 2, 3), keepdim=True)) * c + x.mean((1, 2, 3), keepdim=True)
    shifts = [jax.random.randint(k, (6,), -1, 2) for k in jax.random.split(keys[1])]
    y, across, height, width = differentiable._draw_cutout(keys[2], images.shape)
    for n in range(6):
        padded = torch.nn.functional.pad(x[n], (1, 1, 1, 1))
        i, j = (1 - int(shift[n]) for shift in shifts)
        x[n] = padded[:, i : i + 8, j : j + 8]
        top, left = int(y[n]) - height // 2, int(across[n]) - width // 2
        x[n, :, max(top, 0) : top + height, max(left, 0) : left + width] = 0
    assert_allclose(found, x.permute(0, 2, 3, 1).numpy(), rtol=1e-5, atol=1e-6)


def test_colours_are_drawn_from_the_papers_ranges(key):
    draws = differentiable._draw_colors(key, 20_000)
    for found, (low, high) in zip(draws, ((-0.5, 0.5), (0, 2), (0.5, 1.5)), strict=True):
        width = high - low
        assert low <= found.min() < low + 1e-3 * width
        assert high - 1e-3 * width < found.max() <= high
        assert_allclose(found.mean(), (low + high) / 2, atol=0.01 * width)


def test_shifts_are_uniform_up_to_an_eighth(key):
    """Where the one bright pixel of each 16x24 image went to: -2 to 2 and -3 to 3."""
    x = jnp.zeros((14_000, 16, 24, 1)).at[:, 8, 12].set(1.0)
    at = np.argwhere(np.asarray(diff_augment(x, key, "translation"))[..., 0])[:, 1:]
    assert len(at) == 14_000
    for axis, most in ((0, 2), (1, 3)):
        count = np.bincount(at[:, axis] - (8, 12)[axis] + most)
        assert_allclose(count / 14_000, 1 / (2 * most + 1), atol=0.02)


@pytest.mark.parametrize(("size", "length", "centers"), [(8, 4, 9), (10, 5, 10)])
def test_cutouts_are_half_as_large_and_may_reach_beyond_the_edge(size, length, centers, key):
    x = jnp.ones((6000, size, size, 1))
    holes = np.asarray(diff_augment(x, key, "cutout"))[..., 0] == 0
    rows = holes.any(axis=2).sum(axis=1)
    assert rows.max() == length
    assert rows.min() == (length + 1) // 2
    # Rows inside: all of the `length`, but for centres near either edge.
    expected = np.mean(
        [min(o - length // 2 + length, size) - max(o - length // 2, 0) for o in range(centers)]
    )
    assert_allclose(rows.mean(), expected, rtol=0.02)


def test_an_empty_policy_changes_nothing_and_a_part_draws_the_same_anywhere(images, key):
    assert_array_equal(diff_augment(images, key, ""), images)
    shifted = diff_augment(images, key, "translation")
    both = diff_augment(images, key, "translation, cutout")
    assert_array_equal(both, jnp.where(both == 0, 0.0, shifted))


# Wavelets and the filter bank.


def factors(order):
    """All real filters of `order` vanishing moments orthonormal to their even shifts: Daubechies' factorisation of
    |H|^2 = 2 cos^2N(w/2) P(sin^2(w/2)), with P(y) = sum_k C(N-1+k, k) y^k."""
    pairs = []
    for y in np.roots([math.comb(order - 1 + k, k) for k in range(order)][::-1]):
        if y.imag >= 0:
            both = np.roots([1, 4 * y - 2, 1])
            pairs.append([(z, z.conjugate()) if abs(y.imag) > 1e-9 else (z,) for z in both])
    for choice in itertools.product(*pairs):
        h = np.poly([*itertools.chain(*choice), *[-1] * order]).real
        yield h * 2**0.5 / h.sum()


def bend(h):
    """How far the filter's phase is from linear."""
    w = np.linspace(0, 0.9 * np.pi, 200)
    phase = np.unwrap(np.angle(np.exp(-1j * np.outer(w, np.arange(len(h)))) @ h))
    return np.abs(phase - w @ phase / (w @ w) * w).max()


@pytest.mark.parametrize(("name", "order"), [("SYM2", 2), ("SYM6", 6)])
def test_wavelets_by_their_definition(name, order):
    """Orthonormal, of vanishing moments, and of all such filters the nearest to symmetric."""
    h = getattr(wavelets, name)
    assert len(h) == 2 * order
    for shift in range(order):
        assert_allclose(h[2 * shift :] @ h[: len(h) - 2 * shift], float(shift == 0), atol=1e-11)
    for moment in range(order):
        t = (np.arange(len(h)) - order) / order
        assert_allclose((-1.0) ** np.arange(len(h)) @ (h * t**moment), 0, atol=1e-10)
    assert_allclose(h.sum(), 2**0.5, rtol=1e-12)
    best = min(factors(order), key=bend)
    assert min(np.abs(best - h).max(), np.abs(best[::-1] - h).max()) < 1e-11


@pytest.mark.parametrize("name", ["sym2", "sym6"])
def test_wavelets_are_those_of_pywavelets(name):
    pywt = pytest.importorskip("pywt")
    assert_allclose(getattr(wavelets, name.upper()), pywt.Wavelet(name).dec_lo, atol=1e-12)


def test_the_low_pass_filter_is_the_wavelets():
    h = wavelets.SYM2
    assert_allclose(wavelets.SYM2_LOW_PASS, np.convolve(h, h[::-1]) / 2, atol=1e-15)


def test_each_band_keeps_its_octave():
    """A wave in the middle of each octave, along the height: most of it is in its band; the four add up to it."""
    amplified = jax.jit(augment.amplify_bands)
    rows = np.arange(128, dtype=np.float32)
    for band, frequency in enumerate(np.pi * np.array([1 / 16, 3 / 16, 3 / 8, 3 / 4])):
        x = np.tile(np.cos(np.float32(frequency) * rows).reshape(1, 128, 1, 1), (1, 1, 4, 1))
        # The width is constant, so of it the lowest band is all; g_1 is kept and divided by.
        parts, eye = [], np.eye(4, dtype=np.float32)
        for i in range(4):
            gains = eye[i] + eye[0]
            lowest = np.asarray(amplified(x, eye[0]))
            parts.append((amplified(x, gains) - lowest) / gains[0] if i else lowest)
        assert_allclose(sum(parts), x, atol=1e-5)
        power = np.array([np.mean(np.square(part[:, 30:98])) for part in parts])
        assert power.argmax() == band
        assert power[band] > 0.6 * power.sum()


def test_amplified_bands_keep_the_expected_power(key):
    strengths = jnp.exp2(jax.random.normal(key, (100, 4)))
    alone = jnp.arange(4)[None] == (jnp.arange(100) % 4)[:, None]
    gains = adaptive.band_gains(jnp.where(alone, strengths, 1.0), alone)
    assert_allclose(np.square(gains) @ np.array([10, 1, 1, 1]) / 13, 1.0, rtol=1e-5)
    # One that is not applied changes nothing.
    none = jnp.zeros((100, 4), bool)
    assert_array_equal(adaptive.band_gains(jnp.ones((100, 4)), none), np.ones((100, 4)))


# Geometry.


def wave(height, width, matrix):
    """A smooth function of the plane, at A^-1 (q - t): [1, H, W, 1]."""
    y, x = np.meshgrid(
        np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2, indexing="ij"
    )
    x, y, _ = np.einsum("ij,jhw->ihw", np.linalg.inv(matrix), np.stack([x, y, np.ones_like(x)]))
    return np.float32(np.cos(0.35 * x + 0.2 * y + 0.4) + 0.5 * np.sin(0.3 * y))[None, :, :, None]


@pytest.mark.parametrize(
    ("matrix", "inside"),
    [
        (geometry.rotation(jnp.array([0.6])), 10),
        (geometry.scaling(jnp.array([2.0]), jnp.array([2.0])), 2),
        (geometry.scaling(jnp.array([1.5]), jnp.array([1 / 1.5])), 10),
        (geometry.scaling(jnp.array([-1.0]), jnp.array([1.0])), 2),
        (geometry.translation(jnp.array([2.3]), jnp.array([-1.6])), 6),
    ],
    ids=["rotation", "twice as large", "stretch", "mirror", "fraction of a pixel"],
)
def test_a_smooth_picture_is_moved_as_its_formula(matrix, inside):
    """Away from the edges, which the formula does not mirror; to 1 % of its amplitude."""
    x = wave(32, 36, np.eye(3))
    cut = np.index_exp[:, inside:-inside, inside:-inside]
    found = affine(x, matrix)[cut]
    assert_allclose(found, wave(32, 36, np.float64(matrix[0]))[cut], atol=0.015)
    assert np.abs(found - x[cut]).max() > 0.1


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_rotating_by_right_angles_is_a_quarter_turn(turns):
    x = wave(32, 32, np.eye(3))
    turned = affine(x, geometry.rotation(jnp.array([turns * np.pi / 2])))
    exact = augment.rotate90(x, turns)
    # The mirrored picture has a kink at the edge, where it is less smooth.
    assert_allclose(turned, exact, atol=0.07)
    assert_allclose(turned[:, 5:-5, 5:-5], exact[:, 5:-5, 5:-5], atol=0.01)
    assert_array_equal(augment.rotate90(x, turns)[0], np.rot90(x[0], turns))


@pytest.mark.parametrize("shape", [(8, 8), (7, 10), (1, 5), (2, 2)])
def test_the_identity_and_whole_shifts_keep_the_pixels(shape, key):
    """However far: beyond the edge the mirrored image goes on without end."""
    x = jax.random.normal(key, (4, *shape, 3))
    assert_allclose(affine(x, jnp.eye(3)), x, atol=2e-6)
    right, down = jnp.array([[1, 0, -9, 30], [0, -2, 17, -41]])
    moved = affine(x, geometry.translation(*(jnp.float32(t) for t in (right, down))))
    assert_allclose(moved, augment.translate(x, down, right, "reflect"), atol=5e-6)


def test_pictures_far_larger_or_smaller_stay_pictures(key):
    """Scaled down 40 times, mirrored images by the dozen come in; their mean stays, and nothing overflows."""
    x = jax.random.uniform(key, (1, 16, 16, 1), minval=-1.0)
    for factor in (1 / 40, 40.0):
        y = affine(x, geometry.scaling(jnp.array([factor]), jnp.array([factor])))
        assert np.abs(y).max() < 2.5
    constant = affine(jnp.full((1, 16, 16, 1), 0.5), geometry.rotation(jnp.array([0.3])))
    assert_allclose(constant, 0.5, atol=1e-5)


# Colours.


def test_a_luma_flip_turns_grey_around_and_keeps_chroma():
    zero, one = jnp.zeros(1), jnp.ones(1)
    matrix = augment.color_matrix(zero, one, one, zero, one)
    colors = jnp.array([[0.5, 0.5, 0.5], [0.6, 0.0, -0.6]]).reshape(1, 1, 2, 3)
    found = augment.transform_colors(colors, matrix)[0, 0]
    assert_allclose(found, [[-0.5, -0.5, -0.5], [0.6, 0.0, -0.6]], atol=1e-6)


def test_grey_images_are_coloured_as_equal_channels(key):
    grey = jax.random.uniform(key, (4, 3, 3, 1), minval=-1.0)
    equal = jnp.repeat(grey, 3, axis=3)
    found = ada(grey, key, 1.0, "color")
    assert_allclose(jnp.repeat(found, 3, axis=3), ada(equal, key, 1.0, "color"), atol=1e-6)


# ADA.


@pytest.mark.parametrize("groups", sorted(augment.GROUPS))
@pytest.mark.parametrize("dtype", [jnp.float32, pytest.param(jnp.bfloat16, marks=pytest.mark.slow)])
def test_at_probability_zero_nothing_changes_and_at_one_everything(groups, dtype, images, key):
    images = images.astype(dtype)
    assert_array_equal(ada(images, key, 0.0, groups), images)
    changed = ada(images, key, 1.0, groups)
    assert changed.dtype == dtype
    # A cutout may leave an image's edge pixels; a blit may draw no turn and no shift, but hardly for all six.
    assert np.any(np.float32(changed) != np.float32(images))


@pytest.mark.parametrize("p", [0.3, 0.8])
def test_each_transformation_is_applied_with_its_probability(p, key):
    draws = adaptive._Draws(key, 40_000, jnp.float32(p), AdaOptions(hue=0.5), AdaOptions._fields)
    for name in AdaOptions._fields:
        expected = p / 2 if name == "hue" else p
        assert_allclose(draws.applied(name).mean(), expected, atol=0.01)
    both = draws.applied("rotate", lambda p: 1 - jnp.sqrt(1 - p))
    assert_allclose(both.mean(axis=0), 1 - math.sqrt(1 - p), atol=0.01)
    assert_allclose(both.any(axis=1).mean(), p, atol=0.01)
    # Of one another independent: among images flipped as many are scaled.
    assert_allclose(draws.applied("scale")[draws.applied("flip")].mean(), p, atol=0.015)


def only(*names):
    return AdaOptions(**{name: float(name in names) for name in AdaOptions._fields})


def found_matrix(batch, key, options):
    """Affine maps at p = 1 with the given options."""
    used = tuple(name for name in options._fields if getattr(options, name))
    draws = adaptive._Draws(key, batch, jnp.float32(1.0), options, used)
    eye = jnp.broadcast_to(jnp.eye(3)[None], (batch, 3, 3))
    return np.asarray(adaptive._geometry(draws, eye, jnp.array([[16.0, 8.0]]))[1])


def test_geometry_has_the_papers_strengths(key):
    n = 40_000
    scale = found_matrix(n, key, only("scale"))
    assert_array_equal(scale[:, 0, 0], scale[:, 1, 1])
    logs = np.log(scale[:, 0, 0])
    assert_allclose([logs.mean(), logs.std()], [0, 0.2 * math.log(2)], atol=0.003)

    stretch = found_matrix(n, key, only("stretch"))
    assert_allclose(stretch[:, 0, 0] * stretch[:, 1, 1], 1.0, rtol=1e-6)
    assert_allclose(np.log(stretch[:, 0, 0]).std(), 0.2 * math.log(2), atol=0.003)

    shift = found_matrix(n, key, only("shift"))[:, :2, 2]
    assert_allclose(shift.std(axis=0), [2.0, 1.0], rtol=0.03)  # an eighth of 16 and 8

    turn = found_matrix(n, key, only("rotate"))
    angle = np.arctan2(turn[:, 0, 1], turn[:, 0, 0])
    assert_allclose(np.linalg.det(turn), 1.0, rtol=1e-5)
    assert_allclose(angle.std(), 2 * math.pi / math.sqrt(12), rtol=0.02)  # uniform over the circle


def test_colours_have_the_papers_strengths(key):
    """From what becomes of one dark red pixel, (1, 0, 0), and of grey."""
    n = 20_000
    red = jnp.broadcast_to(jnp.array([1.0, 0.0, 0.0]).reshape(1, 1, 1, 3), (n, 1, 1, 3))

    def found(name):
        return np.asarray(ada(red, key, 1.0, "color", only(name)))[:, 0, 0]

    brightness = found("brightness") - [1.0, 0.0, 0.0]
    assert_allclose(brightness.std(axis=0), 0.2, rtol=0.03)
    assert_allclose(np.ptp(brightness, axis=1), 0, atol=1e-6)
    contrast = np.log(found("contrast")[:, 0])
    assert_allclose([contrast.mean(), contrast.std()], [0, 0.5 * math.log(2)], atol=0.01)
    assert_allclose((found("luma_flip").sum(axis=1) < 0).mean(), 0.5, atol=0.02)
    chroma = found("hue") - 1 / 3
    assert_allclose(chroma.sum(axis=1), 0, atol=1e-5)
    assert_allclose(np.linalg.norm(chroma, axis=1), math.sqrt(2 / 3), rtol=1e-4)
    assert_allclose(chroma.mean(axis=0), 0, atol=0.02)
    saturation = np.log(np.linalg.norm(found("saturation") - 1 / 3, axis=1) / math.sqrt(2 / 3))
    assert_allclose([saturation.mean(), saturation.std()], [0, math.log(2)], atol=0.02)


def test_pixel_blits_have_the_papers_strengths(key):
    """Where the corner of an image of 16x16 goes to, and the middle."""
    n = 20_000
    corner = jnp.zeros((n, 16, 16, 1)).at[:, 0, 0].set(1.0)
    turned = np.asarray(ada(corner, key, 1.0, "b", only("rotate90")))[..., 0]
    for i, j in itertools.product((0, 15), repeat=2):
        assert_allclose(turned[:, i, j].mean(), 0.25, atol=0.02)
    flipped = np.asarray(ada(corner, key, 1.0, "b", only("flip")))[..., 0]
    assert_allclose(flipped[:, 0, 15].mean(), 0.5, atol=0.02)
    assert_allclose(flipped[:, 0, 0].mean(), 0.5, atol=0.02)
    middle = jnp.zeros((n, 16, 16, 1)).at[:, 8, 8].set(1.0)
    moved = np.asarray(ada(middle, key, 1.0, "b", only("translate")))[..., 0]
    # round(16 U[-1/8, 1/8]) is -2 and 2 with probability 1/8, -1 to 1 with 1/4.
    share = [1 / 8, 1 / 4, 1 / 4, 1 / 4, 1 / 8]
    assert_allclose(moved.sum(axis=(0, 2))[6:11] / n, share, atol=0.02)
    assert_allclose(moved.sum(axis=(0, 1))[6:11] / n, share, atol=0.02)


def test_corruptions_have_the_papers_strengths(key):
    x = jnp.ones((4000, 8, 8, 3))
    noise = np.asarray(ada(x, key, 1.0, "noise")) - 1
    scale = noise.reshape(4000, -1).std(axis=1)
    # Of |N(0, 0.1^2)|: mean 0.1 sqrt(2/pi), mean square 0.01.
    assert_allclose(scale.mean(), 0.1 * math.sqrt(2 / math.pi), rtol=0.03)
    assert_allclose(np.square(scale).mean(), 0.01, rtol=0.06)
    hole = np.asarray(ada(x, key, 1.0, "cutout"))[..., 0] == 0
    # A centre uniform in the image: 1 - 2 * 1/4 * 1/4 of the half lies inside on average, along each axis.
    assert_allclose(hole.mean(), (0.5 * 7 / 8) ** 2, rtol=0.03)
    assert hole.any(axis=2).sum(axis=1).max() == 4


def test_an_option_of_zero_leaves_the_other_draws_as_they_are(images, key):
    """So a probability can be studied alone; and without quarter turns images need not be square."""
    bands = ada(images, key, 1.0, "filter")
    alone = ada(images, key, 1.0, ALL, only("bands"))
    assert_array_equal(bands, alone)
    wide = ada(images[:, :5], key, 1.0, "bgc", AdaOptions(rotate90=0))
    assert wide.shape == (6, 5, 8, 3)
    assert_array_equal(ada(images, key, 1.0, ALL, only()), images)


def test_the_probability_is_traced(images, key):
    """One program for all probabilities, as p is state that moves."""
    traces = []

    @jax.jit
    def augmented(x, p):
        traces.append(p)
        return augment.ada(x, key, p)

    for p in (0.0, 0.3, 1.0):
        expected = jax.jit(lambda x, p=p: augment.ada(x, key, p))(images) if p else images
        assert_allclose(augmented(images, jnp.float32(p)), expected, rtol=1e-4, atol=1e-4)
    assert len(traces) == 1


# A critic's loss through augmentation, as a game has it.


def critic(params, x):
    h = jax.nn.softplus(jnp.einsum("bhwc,hwcd->bd", x, params["in"]))
    return h @ params["out"]


def critic_loss(params, real, fake, key, p):
    """Hinge on augmented images, and R1 by the real images before augmentation, through it."""
    for_real, for_fake = jax.random.split(key)

    def logits(x, key):
        return critic(params, augment.ada(x, key, p))

    slope = jax.grad(lambda x: jnp.sum(logits(x, for_real)))(real)
    r1 = jnp.mean(jnp.sum(jnp.square(slope), axis=(1, 2, 3)))
    return losses.hinge.critic(logits(real, for_real), logits(fake, for_fake)) + 0.5 * r1


def test_planes_of_a_tpu_are_resampled_as_pixels_are(key):
    keys = jax.random.split(key, 4)
    u = jax.random.normal(keys[0], (2, 9, 11, 3))
    i = jax.random.randint(keys[1], (2, 5, 6), 0, 8)
    j = jax.random.randint(keys[2], (2, 5, 6), 0, 10)
    down, right = jax.random.uniform(keys[3], (2, 2, 5, 6))

    def of(form, u, down, right):
        def squares(u, down, right):
            return jnp.sum(jnp.square(form(u, i, j, down, right)))

        return form(u, i, j, down, right), jax.grad(squares, (0, 1, 2))(u, down, right)

    of = jax.jit(of, static_argnums=0)
    forms = geometry._between_planes, geometry._between_pixels
    ours, theirs = (of(form, u, down, right) for form in forms)
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-5, atol=1e-5), ours, theirs)


@pytest.mark.slow
def test_r1_through_augmentation_inside_jit_is_the_same_on_eight_devices(key):
    keys = jax.random.split(key, 5)
    params = {
        "in": 0.1 * jax.random.normal(keys[0], (8, 8, 3, 16)),
        "out": jax.random.normal(keys[1], (16,)),
    }
    real, fake = (jax.random.uniform(k, (16, 8, 8, 3), minval=-1.0) for k in keys[2:4])
    step = jax.jit(jax.value_and_grad(critic_loss))
    value, slope = step(params, real, fake, keys[4], jnp.float32(0.6))
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    sharded = [jax.device_put(x, sharding) for x in (real, fake)]
    on_eight, slope_on_eight = step(params, *sharded, keys[4], jnp.float32(0.6))
    assert_allclose(on_eight, value, rtol=1e-5)
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-3, atol=1e-4), slope_on_eight, slope)
    # The penalty is the one of the un-augmented image: at p = 0 that of the bare critic.

    @jax.jit
    def bare_loss(params, real, fake):
        bare = jax.grad(lambda x: jnp.sum(critic(params, x)))(real)
        r1 = 0.5 * jnp.mean(jnp.sum(jnp.square(bare), axis=(1, 2, 3)))
        return losses.hinge.critic(critic(params, real), critic(params, fake)) + r1

    found, _ = step(params, real, fake, keys[4], jnp.float32(0.0))
    assert_allclose(found, bare_loss(params, real, fake), rtol=1e-5)


@pytest.mark.slow
def test_second_order_gradients_of_a_critic_through_augmentation(key):
    """Third powers, so that the second derivative is not zero."""
    x = jax.random.uniform(key, (2, 6, 6, 3), minval=-1.0)
    for transform in (lambda x: augment.ada(x, key, 0.9), lambda x: augment.diff_augment(x, key)):
        loss = jax.jit(lambda x, f=transform: jnp.mean(f(x) ** 3))
        check_grads(loss, (x,), 2, modes=["rev"], rtol=0.03, atol=0.01)


# The controller.


def run(logits, steps, batch, state=None, **options):
    state = augment.ada_start() if state is None else state
    update = jax.jit(lambda s, x: augment.ada_update(s, x, **options))
    for _ in range(steps):
        state = update(state, jnp.full((batch,), logits))
    return state


@pytest.mark.parametrize("batch", [50, 200])
def test_p_rises_from_zero_to_one_in_500_kimg_whatever_the_batch(batch):
    """A part of it, in images: 4 kimg for 0.8 %."""
    state = run(3.0, 4000 // batch, batch)
    assert_allclose(state.p, 0.008, rtol=1e-4)
    assert state.overfitting == 1.0
    assert_allclose(run(3.0, 4000 // batch, batch, rise_kimg=100.0).p, 0.04, rtol=1e-4)


def test_p_falls_while_the_critic_does_not_overfit_and_stays_in_the_unit_interval():
    assert run(-1.0, 8, 100).p == 0.0
    assert run(1.0, 8, 100, augment.ada_start(0.9999), rise_kimg=1.0).p == 1.0
    assert_allclose(run(-1.0, 4, 100, augment.ada_start(0.5), rise_kimg=1.0).p, 0.1, rtol=1e-5)


def test_p_moves_every_fourth_step_only():
    state = augment.ada_start()
    update = jax.jit(lambda state: augment.ada_update(state, jnp.ones(10), rise_kimg=1.0))
    found = []
    for _ in range(9):
        state = update(state)
        found.append(round(float(state.p), 6))
    assert found == [0, 0, 0, 0.04, 0.04, 0.04, 0.04, 0.08, 0.08]
    assert run(1.0, 3, 10, every=1, rise_kimg=1.0).p == pytest.approx(0.03)


def test_at_its_target_p_rests():
    """0.5 of the logits more are positive than negative."""
    logits = jnp.array([1.0, 2.0, 3.0, -1.0])
    rests = augment.ada_update(augment.ada_start(0.3), logits, target=0.5, every=1)
    assert_allclose(rests.p, 0.3)
    assert rests.overfitting == 0.5
    assert augment.ada_update(augment.ada_start(0.3), logits, target=0.4, every=1).p > 0.3
    assert augment.ada_update(augment.ada_start(0.3), logits, every=1).p < 0.3  # 0.6


def test_a_patch_critic_counts_images_and_not_patches():
    patches = jnp.array([[3.0, -1.0], [1.0, 1.0]])[:, :, None, None]  # both images real on average
    state = augment.ada_update(augment.ada_start(), patches, every=1, rise_kimg=1.0)
    assert state.overfitting == 1.0
    assert_allclose(state.p, 0.002)
    assert_array_equal(
        state, augment.ada_update(augment.ada_start(), jnp.ones((2, 1)), every=1, rise_kimg=1.0)
    )


def test_micro_batches_give_the_mean_of_their_states_with_the_images_of_the_step():
    logits = jnp.array([1.0, 2.0, -3.0, 4.0, 5.0, 6.0])
    start = augment.ada_start(0.3)._replace(real=jnp.float32(2), images=jnp.float32(4))
    for every in (1, 2):
        options = {"every": every, "rise_kimg": 1.0, "target": 0.2}
        whole = augment.ada_update(start, logits, **options)
        parts = [augment.ada_update(start, x, images=6, **options) for x in jnp.split(logits, 2)]
        mean = jax.tree.map(lambda a, b: (a + b) / 2, *parts)
        jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-6), mean, whole)


def test_the_measure_by_validation_images():
    """1 if validation images are taken for generated ones, 0 if for training images, whatever the logits' scale."""

    def found(validation, scale=1.0, fake=-1.0):
        state = augment.ada_update(
            augment.ada_start(0.5),
            scale * jnp.ones(8),
            scale * jnp.full(4, validation),
            scale * jnp.full(6, fake),
            every=1,
        )
        return float(state.overfitting), float(state.p)

    assert found(-1.0)[0] == found(-1.0, 10.0)[0] == 1.0
    assert found(-1.0)[1] > 0.5
    assert found(1.0)[0] == 0.0
    assert found(1.0)[1] < 0.5
    assert found(0.5)[0] == 0.25
    # A critic that tells nothing apart does not overfit.
    assert found(1.0, fake=1.0)[0] == 0.0


def test_no_gradient_passes_the_controller():
    def p_after(logits):
        state = augment.ada_update(augment.ada_start(0.2), logits, jnp.zeros(3), -logits, every=1)
        return state.p + state.overfitting

    assert_array_equal(jax.jit(jax.grad(p_after))(np.ones(4, np.float32)), np.zeros(4))


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
@pytest.mark.parametrize("where", ["real", "validation", "fake"])
def test_a_step_with_nan_does_not_count(bad, where):
    good = {"real": jnp.full(10, 2.0), "validation": jnp.full(10, 0.5), "fake": jnp.zeros(10)}

    def logits(given):
        return (given["real"], given["validation"], given["fake"])

    update = jax.jit(functools.partial(augment.ada_update, rise_kimg=1.0))
    state = augment.ada_start(0.5)
    for step in range(4):
        given = {**good, where: good[where].at[3].set(bad)} if step == 1 else good
        state = update(state, *logits(given))
    assert float(state.overfitting) == pytest.approx(0.75)
    assert float(state.p) == pytest.approx(0.53)  # up by three steps of 10 images
    for _ in range(4):  # no step that counts: p stays
        state = update(state, *logits({**good, where: jnp.full(10, bad)}))
    assert float(state.p) == pytest.approx(0.53)
    for _ in range(4):
        state = update(state, *logits(good))
    assert float(state.p) == pytest.approx(0.57)


def test_one_nan_logit_does_not_make_p_nan_for_good():
    state = augment.ada_start()
    for _ in range(4):
        state = augment.ada_update(state, jnp.array([1.0, jnp.nan]), rise_kimg=1.0)
    assert state.p == 0
    for _ in range(4):
        state = augment.ada_update(state, jnp.ones(100), rise_kimg=1.0)
    assert float(state.p) == pytest.approx(0.4)


@pytest.mark.parametrize("function", [augment.ada, augment.random_flip])
def test_a_probability_of_nan_gives_nan(function, images, key):
    """A comparison with NaN is false, so no picture was augmented."""
    program = jax.jit(function)
    assert np.isnan(program(images, key, np.float32(np.nan))).all()
    with pytest.raises(ValueError, match="p is nan, but a probability lies between 0 and 1"):
        function(images, key, float("nan"))
    assert np.isfinite(program(images, key, np.float32(0.5))).all()


@pytest.mark.slow
def test_whole_numbers_of_numpy_are_taken():
    state = augment.ada_update(augment.ada_start(), jnp.ones(10), every=np.int64(1), rise_kimg=1.0)
    assert float(state.p) == pytest.approx(0.01)
    with pytest.raises(ValueError, match=r"every is 1.5; p is adjusted every 1 or more steps"):
        augment.ada_update(augment.ada_start(), jnp.ones(10), every=1.5)
