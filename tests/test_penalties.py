"""What single penalties promise, and PyTorch's numbers; the battery for all is in `test_table.py`."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxgan import losses, penalties, spectral
from jaxgan.penalties import clip_weights, gradient_penalty, safe_norm


def samples(seed, shape=(6, 4, 4, 3)):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def linear(w):
    return lambda x: jnp.sum(x * w, axis=tuple(range(1, x.ndim)))


def mlp(params, x):
    """Smooth, with samples that do not mix: [B, D] -> [B]."""
    w1, b1, w2 = params
    return jnp.tanh(x @ w1 + b1[None]) @ w2


def mlp_params(seed=0, d=5, h=7):
    r = np.random.default_rng(seed)
    shapes = (d, h), (h,), (h,)
    return tuple(jnp.asarray(r.standard_normal(s), jnp.float32) for s in shapes)


class TestGradientPenalty:
    @pytest.mark.parametrize("shape", [(6, 4, 4, 3), (6, 5), (1, 5), (6,)])
    def test_a_linear_critic_of_unit_norm_costs_nothing(self, shape, key):
        w = samples(2, (1, *shape[1:]))
        unit = w / jnp.sqrt(jnp.sum(w**2))
        x, y = samples(0, shape), samples(1, shape)
        assert gradient_penalty(linear(unit), x, y, key) < 1e-10
        np.testing.assert_allclose(gradient_penalty(linear(3 * unit), x, y, key), 4.0, rtol=1e-5)

    def test_targets_and_sides(self, key):
        x, y = samples(0, (4, 5)), samples(1, (4, 5))
        slope = linear(jnp.full((1, 5), 0.5 / np.sqrt(5)))  # norm 1/2
        cases = [(1.0, False, 0.25), (1.0, True, 0.0), (0.0, False, 0.25), (0.0, True, 0.25)]
        for target, one_sided, expected in [*cases, (0.2, True, 0.09)]:
            value = gradient_penalty(slope, x, y, key, target=target, one_sided=one_sided)
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-12)

    def test_matches_the_papers_formula(self, key):
        # For C(y) = ||y||^2 / 2 the gradient is the interpolate itself, which shows alpha.
        x, y = samples(0), samples(1)
        seen = []

        def critic(z):
            return 0.5 * jnp.sum(z**2, axis=(1, 2, 3))

        def watching(z):
            jax.debug.callback(lambda v: seen.append(np.asarray(v)), z)
            return critic(z)

        value = gradient_penalty(watching, x, y, key)
        jax.effects_barrier()
        interpolate = np.float64(seen[0])
        norms = np.sqrt((interpolate**2).sum(axis=(1, 2, 3)))
        np.testing.assert_allclose(value, np.mean((norms - 1) ** 2), rtol=1e-5)
        # One alpha per sample, the same for every pixel and channel, inside [0, 1].
        alpha = (interpolate - x) / (np.float64(y) - x)
        one = np.median(alpha, axis=(1, 2, 3))
        np.testing.assert_allclose(interpolate, x + one[:, None, None, None] * (y - x), atol=1e-5)
        assert len(set(one.round(6))) == len(one)
        assert ((one >= 0) & (one <= 1)).all()

    def test_alpha_is_uniform(self, key):
        # x = 0, x' = 1, C(y) = y^2 / 2: the gradient's norm is alpha; E (alpha - 1)^2 = 1/3,
        # which a normal alpha would make 2, and E max(0, alpha - 1/2)^2 = 1/24.
        zeros, ones = jnp.zeros((20000, 1)), jnp.ones((20000, 1))

        def critic(z):
            return 0.5 * z**2

        np.testing.assert_allclose(gradient_penalty(critic, zeros, ones, key), 1 / 3, rtol=0.02)
        value = gradient_penalty(critic, zeros, ones, key, target=0.5, one_sided=True)
        np.testing.assert_allclose(value, 1 / 24, rtol=0.03)

    def test_the_norm_is_over_all_axes_but_the_first(self, key):
        # Slope 1 at each of 48 pixels: norm sqrt(48), not 1 (per pixel) or sqrt(3) (channels).
        value = gradient_penalty(linear(1.0), samples(0), samples(1), key)
        np.testing.assert_allclose(value, (np.sqrt(48) - 1) ** 2, rtol=1e-5)

    @pytest.mark.parametrize("one_sided", [False, True])
    def test_a_flat_critic_gives_the_exact_value_and_a_zero_gradient(self, one_sided, key):
        x, y = samples(0, (4, 5)), samples(1, (4, 5))

        def dead(w, z):  # a ReLU that is off everywhere
            return jax.nn.relu(z @ w - 1e3)

        value, grad = jax.value_and_grad(
            lambda w: gradient_penalty(lambda z: dead(w, z), x, y, key, one_sided=one_sided)
        )(jnp.ones(5))
        assert value == (0.0 if one_sided else 1.0)
        np.testing.assert_array_equal(grad, np.zeros(5))

    def test_scales_share_alpha_and_are_penalised_together_or_each(self, key):
        """C = (|y_0|^2 + |y_1|^2) / 2, whose gradient is the interpolate of each scale."""
        x, y = [samples(0), samples(1, (6, 8, 8, 3))], [samples(2), samples(3, (6, 8, 8, 3))]

        def critic(scales):
            return sum(0.5 * jnp.sum(z**2, axis=(1, 2, 3)) for z in scales)

        alpha = np.float64(jax.random.uniform(key, (6, 1, 1, 1)))
        squares = [
            np.sum((np.float64(a) + alpha * (np.float64(b) - np.float64(a))) ** 2, axis=(1, 2, 3))
            for a, b in zip(x, y, strict=True)
        ]
        together = np.mean((np.sqrt(squares[0] + squares[1]) - 1) ** 2)
        each = np.mean([np.mean((np.sqrt(s) - 1) ** 2) for s in squares])
        np.testing.assert_allclose(gradient_penalty(critic, x, y, key), together, rtol=1e-5)
        value = gradient_penalty(critic, x, y, key, each_scale=True)
        np.testing.assert_allclose(value, each, rtol=1e-5)
        above = gradient_penalty(critic, x, y, key, 30.0, one_sided=True, each_scale=True)
        expected = np.mean([np.mean(np.maximum(np.sqrt(s) - 30, 0) ** 2) for s in squares])
        np.testing.assert_allclose(above, expected, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize(
        ("real", "fake", "text"),
        [
            ([(4, 2)], (4, 2), "real is a list of 1 scales of 4 samples and fake one array"),
            ([(4, 2)], [(4, 2), (4, 3)], "real is a list of 1 scales .* a list of 2 scales of 4"),
            ([(4, 2)], [(3, 2)], "a list of 1 scales of 3 samples; give both as lists"),
        ],
    )
    def test_scales_that_do_not_fit_raise(self, real, fake, text, key):
        def made(shapes):
            return [jnp.ones(s) for s in shapes] if isinstance(shapes, list) else jnp.ones(shapes)

        with pytest.raises(ValueError, match=text):
            gradient_penalty(lambda z: z[0][:, 0], made(real), made(fake), key)

    def test_a_critic_that_ignores_its_input_is_no_error(self, key):
        x = samples(0, (4, 5))
        assert gradient_penalty(lambda z: jnp.zeros(4), x, x, key) == 1.0

    def test_outputs_of_shape_b_1_and_jit_agree(self, key):
        params, x, y = mlp_params(), samples(0, (4, 5)), samples(1, (4, 5))
        flat = gradient_penalty(partial(mlp, params), x, y, key)
        column = gradient_penalty(lambda z: mlp(params, z)[:, None], x, y, key)
        jitted = jax.jit(lambda x, y, k: gradient_penalty(partial(mlp, params), x, y, k))
        np.testing.assert_allclose(column, flat, rtol=1e-6)
        np.testing.assert_allclose(jitted(x, y, key), flat, rtol=1e-5)

    def test_bfloat16_in_float32_out(self, key):
        x, y = (samples(seed, (64, 48)).astype(jnp.bfloat16) for seed in (0, 1))
        seen = []

        def critic(z):
            seen.append(z.dtype)
            return jnp.sum(z * jnp.bfloat16(0.5), axis=1)

        value = gradient_penalty(critic, x, y, key)
        assert value.dtype == jnp.float32
        # 48 slopes of 1/2: a bfloat16 sum of squares or root would be off by 1e-3.
        np.testing.assert_allclose(value, (np.sqrt(48 / 4) - 1) ** 2, rtol=1e-6)
        assert set(seen) == {jnp.dtype(jnp.bfloat16)}

    def test_real_and_fake_of_different_dtypes_meet_in_float32(self, key):
        x, y = samples(0, (4, 5)), samples(1, (4, 5))
        value = gradient_penalty(linear(1.0), x, y.astype(jnp.bfloat16), key)
        np.testing.assert_allclose(value, (np.sqrt(5) - 1) ** 2, rtol=1e-5)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"fake": jnp.zeros((5, 3))}, r"real has shape \(4, 3\) and fake \(5, 3\); the pen"),
            ({"real": jnp.zeros((0, 3)), "fake": jnp.zeros((0, 3))}, r"which holds no samples"),
            ({"real": jnp.zeros((4, 3), jnp.uint8)}, r"real has dtype uint8, which has no gradien"),
            ({"fake": jnp.zeros((4, 3), jnp.int32)}, r"fake has dtype int32, which has no gradien"),
            ({"target": -1.0}, r"target is -1.0, but a norm is never negative"),
            ({"critic": jnp.mean}, r"returned an array of shape \(\) for a batch of 4; a gradient"),
            ({"critic": lambda x: x}, r"shape \(4, 3\) for a batch of 4; .* needs one number per"),
            ({"critic": lambda x: [x]}, r"the critic returned a list for a batch of 4"),
        ],
    )
    def test_errors(self, arguments, message, key):
        default = {"critic": linear(1.0), "real": jnp.zeros((4, 3)), "fake": jnp.zeros((4, 3))}
        with pytest.raises(ValueError, match=message):
            gradient_penalty(**{**default, **arguments}, key=key)


CONV = np.float32(np.random.default_rng(0).standard_normal((3, 3, 3, 8)) / 5)  # HWIO
DENSE = np.float32(np.random.default_rng(1).standard_normal(4 * 4 * 8) / 10)


def conv_critic(params, z):
    h = jax.lax.conv_general_dilated(
        z, params["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return jnp.tanh(h).reshape(z.shape[0], -1) @ params["dense"]


def torch_critic(torch, params, z):
    h = torch.nn.functional.conv2d(z.permute(0, 3, 1, 2), params["kernel"], padding=1)
    return torch.tanh(h).permute(0, 2, 3, 1).reshape(z.shape[0], -1) @ params["dense"]


def t_norms(torch, critic, z):
    z = z.requires_grad_()
    (slope,) = torch.autograd.grad(critic(z).sum(), z, create_graph=True)
    return slope.flatten(1).norm(dim=1)


def t_between(torch, x, y, key):
    alpha = torch.tensor(np.array(jax.random.uniform(key, (x.shape[0], 1, 1, 1))))  # the same
    return x + alpha * (y - x)


def t_noise_penalty(torch, critic, x, key):
    noise = torch.tensor(np.array(jax.random.normal(key, x.shape)))
    return (critic(x) - critic(x + 0.3 * noise)).square().mean()


def t_positive_noise(torch, x, key):
    noise_key, alpha_key = jax.random.split(key)
    alpha = torch.tensor(np.array(jax.random.uniform(alpha_key, (x.shape[0], 1, 1, 1))))
    noise = torch.tensor(np.array(jax.random.uniform(noise_key, x.shape)))
    return x + alpha * 0.5 * x.std(correction=0) * noise


# name -> (ours, PyTorch's), both of (critic, real, fake, key).
TWINS = {
    "gradient_penalty": (
        gradient_penalty,
        lambda t, c, x, y, k: ((t_norms(t, c, t_between(t, x, y, k)) - 1) ** 2).mean(),
    ),
    "one-sided": (
        partial(gradient_penalty, target=0.2, one_sided=True),
        lambda t, c, x, y, k: (t_norms(t, c, t_between(t, x, y, k)) - 0.2).relu().square().mean(),
    ),
    "max_gradient_penalty": (
        penalties.max_gradient_penalty,
        lambda t, c, x, y, k: t_norms(t, c, t_between(t, x, y, k)).square().max(),
    ),
    "dragan": (
        lambda c, x, y, k: penalties.dragan(c, x, k, variant="positive"),
        lambda t, c, x, y, k: ((t_norms(t, c, t_positive_noise(t, x, k)) - 1) ** 2).mean(),
    ),
    "r1": (
        lambda c, x, y, k: penalties.r1(c, x),
        lambda t, c, x, y, k: 0.5 * t_norms(t, c, x).square().mean(),
    ),
    "r2": (
        lambda c, x, y, k: penalties.r2(c, y),
        lambda t, c, x, y, k: 0.5 * t_norms(t, c, y).square().mean(),
    ),
    "r1_r2": (
        lambda c, x, y, k: sum(penalties.r1_r2(c, x, y)),
        lambda t, c, x, y, k: (
            0.5 * (t_norms(t, c, x).square().mean() + t_norms(t, c, y).square().mean())
        ),
    ),
    "approximate_r1": (
        lambda c, x, y, k: penalties.approximate_r1(c, x, k, sigma=0.3),
        lambda t, c, x, y, k: t_noise_penalty(t, c, x, k),
    ),
    "approximate_r2": (
        lambda c, x, y, k: penalties.approximate_r2(c, y, k, sigma=0.3),
        lambda t, c, x, y, k: t_noise_penalty(t, c, y, k),
    ),
}


@pytest.mark.parametrize("name", TWINS)
def test_values_and_gradients_by_the_weights_are_pytorchs(name, key):
    torch = pytest.importorskip("torch")
    ours, theirs = TWINS[name]
    x, y = samples(0), samples(1)
    value, grads = jax.value_and_grad(lambda p: ours(partial(conv_critic, p), x, y, key))(
        {"kernel": jnp.asarray(CONV), "dense": jnp.asarray(DENSE)}
    )
    params = {
        "kernel": torch.tensor(CONV.transpose(3, 2, 0, 1), requires_grad=True),
        "dense": torch.tensor(DENSE, requires_grad=True),
    }
    real, fake = torch.tensor(np.array(x)), torch.tensor(np.array(y))
    expected = theirs(torch, partial(torch_critic, torch, params), real, fake, key)
    expected.backward()
    np.testing.assert_allclose(value, expected.item(), rtol=1e-5)
    for grad, t in (
        (grads["kernel"], params["kernel"].grad.permute(2, 3, 1, 0).numpy()),
        (grads["dense"], params["dense"].grad.numpy()),
    ):
        assert np.abs(grad - t).max() <= 1e-5 * np.abs(t).max()


@pytest.mark.parametrize("name", TWINS)
def test_checkpointing_changes_no_number(name, key):
    ours, _ = TWINS[name]
    x, y = samples(0), samples(1)
    params = {"kernel": jnp.asarray(CONV), "dense": jnp.asarray(DENSE)}
    remat = {
        "gradient_penalty": partial(gradient_penalty, checkpoint=True),
        "one-sided": partial(gradient_penalty, target=0.2, one_sided=True, checkpoint=True),
        "max_gradient_penalty": partial(penalties.max_gradient_penalty, checkpoint=True),
        "dragan": lambda c, x, y, k: penalties.dragan(c, x, k, variant="positive", checkpoint=True),
        "r1": lambda c, x, y, k: penalties.r1(c, x, checkpoint=True),
        "r2": lambda c, x, y, k: penalties.r2(c, y, checkpoint=True),
        "r1_r2": lambda c, x, y, k: sum(penalties.r1_r2(c, x, y, checkpoint=True)),
        "approximate_r1": lambda c, x, y, k: penalties.approximate_r1(
            c, x, k, sigma=0.3, checkpoint=True
        ),
        "approximate_r2": lambda c, x, y, k: penalties.approximate_r2(
            c, y, k, sigma=0.3, checkpoint=True
        ),
    }[name]
    plain, recomputed = (
        jax.value_and_grad(lambda p, f=f: f(partial(conv_critic, p), x, y, key))(params)
        for f in (ours, remat)
    )
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), plain, recomputed)
    traced = str(jax.make_jaxpr(lambda p: remat(partial(conv_critic, p), x, y, key))(params))
    assert "remat" in traced


class TestR1R2:
    def test_they_are_r1_and_r2(self):
        params, x, y = mlp_params(), samples(0, (4, 5)), samples(1, (4, 5))
        both = penalties.r1_r2(partial(mlp, params), x, y)
        each = penalties.r1(partial(mlp, params), x), penalties.r2(partial(mlp, params), y)
        np.testing.assert_allclose(both, each, rtol=1e-6)

    def test_the_critic_sees_both_batches_once_and_together(self):
        seen = []

        def critic(z):
            seen.append(z.shape)
            return z[:, 0]

        penalties.r1_r2(critic, jnp.ones((4, 5)), jnp.zeros((4, 5)))
        assert seen == [(8, 5)]

    def test_of_an_augmented_critic_the_gradient_is_by_the_samples_as_they_were(self):
        value = penalties.r1(lambda x: 3.0 * (2.0 * x[:, 0] + 1.0), jnp.ones((4, 2)))
        np.testing.assert_allclose(value, 18.0)


def value_and_slope(penalty):
    """The value of a penalty of the convolutional critic, and the gradient by its parameters as one vector."""
    params = {"kernel": jnp.asarray(CONV), "dense": jnp.asarray(DENSE)}
    value, slope = jax.value_and_grad(lambda p: penalty(partial(conv_critic, p)))(params)
    return value, np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(slope)])


def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


class TestApproximateR1:
    """Six pictures, each with 1000 draws of the noise, so that values are known to about 1%."""

    @pytest.mark.parametrize("sigma", [0.1, 0.01, 0.001])
    def test_divided_by_twice_the_variance_it_is_r1(self, sigma, key):
        x = samples(0)
        many = jnp.repeat(x, 1000, axis=0)
        exact, slope = value_and_slope(lambda c: penalties.r1(c, x))
        value, found = value_and_slope(
            lambda c: penalties.approximate_r1(c, many, key, sigma) / (2 * sigma**2)
        )
        np.testing.assert_allclose(value, exact, rtol=0.04)
        np.testing.assert_allclose(np.linalg.norm(found), np.linalg.norm(slope), rtol=0.04)
        assert cosine(found, slope) > 0.99

    def test_a_large_step_is_another_penalty(self, key):
        x = samples(0)
        exact = penalties.r1(partial(conv_critic, {"kernel": CONV, "dense": DENSE}), x)
        many = jnp.repeat(x, 1000, axis=0)
        value, _ = value_and_slope(lambda c: penalties.approximate_r1(c, many, key, 1.0) / 2)
        assert value < 0.8 * exact  # a tangent hyperbolic saturates

    def test_its_standard_deviation_is_that_of_a_chi_square(self):
        keys = jax.random.split(jax.random.key(0), 4000)
        draws = jax.vmap(lambda k: penalties.approximate_r1(linear(2.0), jnp.zeros((8, 5)), k))(
            keys
        )
        np.testing.assert_allclose(np.std(draws) / np.mean(draws), np.sqrt(2 / 8), rtol=0.05)

    def test_the_parts_of_a_list_have_their_own_noise(self, key):
        """With the same noise in both parts, the difference of the parts would not change."""
        x = [jnp.zeros((20_000, 1)), jnp.zeros((20_000, 1))]
        value = penalties.approximate_r2(lambda x: x[0] - x[1], x, key, sigma=0.1)
        np.testing.assert_allclose(value, 2 * 0.1**2, rtol=0.05)

    def test_a_critic_without_second_derivatives_will_do(self, key):
        """A kernel whose backward pass cannot be differentiated, here one that leaves JAX."""

        @jax.custom_vjp
        def square(x):
            return x**2

        def backward(x, g):
            shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
            return (jax.pure_callback(lambda x, g: 2 * np.asarray(x) * np.asarray(g), shape, x, g),)

        square.defvjp(lambda x: (square(x), x), backward)

        def slope_of(penalty, function):
            return jax.grad(lambda w: penalty(lambda x: jnp.sum(w * function(x), axis=1)))(w)

        x, w = samples(0, (4, 3)), jnp.ones((1, 3))
        approximate = partial(penalties.approximate_r1, real=x, key=key)
        np.testing.assert_allclose(
            slope_of(approximate, square), slope_of(approximate, jnp.square), rtol=1e-4
        )
        with pytest.raises(ValueError, match="Pure callbacks do not support JVP"):
            slope_of(partial(penalties.r1, real=x), square)

    def test_it_costs_two_passes(self, key):
        """Of a smooth critic that is no more than R1 costs, except for drawing the noise."""
        x = samples(0)

        def operations(penalty):
            params = {"kernel": jnp.asarray(CONV), "dense": jnp.asarray(DENSE)}
            both = jax.jit(jax.value_and_grad(lambda p: penalty(partial(conv_critic, p))))
            return both.lower(params).compile().cost_analysis()["flops"]

        one_pass = operations(lambda c: jnp.mean(c(x) ** 2))
        approximate = operations(lambda c: penalties.approximate_r1(c, x, key))
        assert 1.9 * one_pass < approximate < 2.7 * one_pass  # the noise is drawn too
        draw = jax.jit(lambda k: jax.random.normal(k, x.shape, jnp.float32)).lower(key).compile()
        noise = draw.cost_analysis()["flops"]
        assert 0 < noise < one_pass
        assert approximate - noise < operations(lambda c: penalties.r1(c, x))

    def test_the_step_may_be_traced_or_a_number_of_numpy(self, key):
        x = samples(0, (4, 3))
        plain = penalties.approximate_r1(linear(2.0), x, key, sigma=0.25)
        given = penalties.approximate_r1(linear(2.0), x, key, sigma=np.float64(0.25))
        traced = jax.jit(partial(penalties.approximate_r1, linear(2.0)))(x, key, 0.25)
        assert plain.dtype == given.dtype == traced.dtype == jnp.float32
        np.testing.assert_allclose([given, traced], plain, rtol=1e-5)

    def test_the_critic_sees_samples_of_the_dtype_that_it_is_given(self, key):
        seen = []

        def critic(x):
            seen.append(x.dtype)
            return jnp.sum(x, axis=1)

        value = penalties.approximate_r1(critic, jnp.zeros((4, 3), jnp.bfloat16), key)
        assert value.dtype == jnp.float32
        assert seen == [jnp.bfloat16] * 2


class TestDragan:
    def test_noise_of_each_variant(self, key):
        # C(y) = y^2 / 2 has the gradient y: with target 0 the penalty is E (x + noise)^2, by x.
        x = jnp.concatenate([jnp.zeros((10_000, 1)), jnp.full((10_000, 1), 2.0)])  # std 1

        def second_moment(variant):
            return penalties.dragan(
                lambda y: 0.5 * y**2, x, key, scale=0.3, target=0.0, variant=variant
            )

        square, mean = 2.0, 1.0
        np.testing.assert_allclose(second_moment("gaussian"), square + 0.3**2, rtol=0.02)
        np.testing.assert_allclose(second_moment("uniform"), square + 0.3**2 / 3, rtol=0.02)
        shift = 0.3 / 4  # E alpha U
        expected = square + 2 * mean * shift + 0.3**2 / 9
        np.testing.assert_allclose(second_moment("positive"), expected, rtol=0.02)


class TestPathLength:
    def test_a_linear_generator_has_the_norm_of_its_matrix(self):
        # G(w) = A w for every pixel: J^T y = A^T (sum of y over pixels); E ||.||^2 = ||A||_F^2.
        a = samples(0, (3, 5))

        def generator(w):
            return jnp.broadcast_to((w @ a.T)[:, None, None], (w.shape[0], 4, 4, 3))

        w = jnp.zeros((4096, 5))
        penalty, _ = penalties.path_length(generator, w, jnp.float32(0), jax.random.key(1), decay=1)
        np.testing.assert_allclose(penalty, jnp.sum(a**2), rtol=0.05)

    def test_layers_count_as_their_mean_square(self):
        def generator(w):  # [B, L, D]: only the first of two layers does anything
            return jnp.broadcast_to(w[:, 0, None, None, :1], (w.shape[0], 2, 2, 1))

        def single(w):
            return generator(w[:, None])

        one, _ = penalties.path_length(
            single, jnp.zeros((3, 4)), jnp.float32(0), jax.random.key(0), decay=1.0
        )
        two, _ = penalties.path_length(
            generator, jnp.zeros((3, 2, 4)), jnp.float32(0), jax.random.key(0), decay=1.0
        )
        np.testing.assert_allclose(two, one / 2, rtol=1e-6)

    def test_the_mean_approaches_the_length_and_the_penalty_its_variance(self):
        a = samples(0, (3, 5))

        @jax.jit
        def call(mean, key):
            return penalties.path_length(
                lambda w: jnp.broadcast_to((w @ a.T)[:, None, None], (256, 4, 4, 3)),
                jnp.zeros((256, 5)),
                mean,
                key,
                decay=0.9,
            )

        mean = jnp.float32(0)
        for step in range(100):
            penalty, mean = call(mean, jax.random.key(step))
        y = np.random.default_rng(0).standard_normal((100_000, 3))
        lengths = np.linalg.norm(y @ np.float64(a), axis=1)
        np.testing.assert_allclose(mean, lengths.mean(), rtol=0.03)
        np.testing.assert_allclose(penalty, lengths.var(), rtol=0.2)

    def test_value_and_gradient_are_pytorchs_with_a_constant_target(self, key):
        torch = pytest.importorskip("torch")
        a, w = np.array(samples(0, (5, 12))), np.array(samples(1, (3, 5)))

        def penalty(a):
            return penalties.path_length(
                lambda w: jnp.tanh(w @ a).reshape(3, 2, 2, 3), w, jnp.float32(0.7), key
            )

        (value, mean), grad = jax.value_and_grad(penalty, has_aux=True)(jnp.asarray(a))
        t_a, t_w = torch.tensor(a, requires_grad=True), torch.tensor(w, requires_grad=True)
        y = torch.tensor(np.array(jax.random.normal(key, (3, 2, 2, 3)))).reshape(3, 12) / 2
        (slope,) = torch.autograd.grad((torch.tanh(t_w @ t_a) * y).sum(), t_w, create_graph=True)
        lengths = slope.norm(dim=1)
        target = (0.7 + 0.01 * (lengths.mean() - 0.7)).detach()
        expected = ((lengths - target) ** 2).mean()
        expected.backward()
        np.testing.assert_allclose([value, mean], [expected.item(), target.item()], rtol=1e-5)
        assert np.abs(grad - t_a.grad.numpy()).max() <= 1e-5 * np.abs(t_a.grad.numpy()).max()


class TestLeCam:
    def test_the_averages_follow_the_means_without_a_bias_to_zero(self):
        state = penalties.LeCam.init()
        for real, fake in ((1.0, 0.0), (2.0, -1.0), (3.0, -5.0)):
            _, state = penalties.lecam(jnp.full(4, real), jnp.full(2, fake), state, decay=0.5)
        weights = np.array([0.25, 0.5, 1.0]) / 1.75
        np.testing.assert_allclose(state.real / state.weight, weights @ [1, 2, 3], rtol=1e-6)
        np.testing.assert_allclose(state.fake / state.weight, weights @ [0, -1, -5], rtol=1e-6)

    def test_the_averages_are_constant_to_the_gradient(self):
        state = penalties.LeCam(*map(jnp.float32, (0.5, -0.5, 1.0)))
        real, fake = jnp.array([1.0, 3.0]), jnp.array([-2.0])

        def value(real, fake):
            return penalties.lecam(real, fake, state, decay=0.5)

        grads, new = jax.grad(value, (0, 1), has_aux=True)(real, fake)
        np.testing.assert_allclose(grads[0], real - new.fake / new.weight, rtol=1e-6)
        np.testing.assert_allclose(grads[1], 2 * (fake - new.real / new.weight), rtol=1e-6)

    def test_one_sided_lets_those_on_the_right_side_of_the_average_be(self):
        # With no memory the averages are the batch means, 3 and -1.
        real, fake = jnp.array([-2.0, 8.0]), jnp.array([5.0, -7.0])
        value, _ = penalties.lecam(real, fake, penalties.LeCam.init(), decay=0.0, one_sided=True)
        np.testing.assert_allclose(value, (0 + 81) / 2 + (0 + 100) / 2)


class TestTopK:
    def test_it_masks_a_generators_loss(self):
        logits = jnp.array([0.5, -1.0, 2.0, -4.0])
        value, grad = jax.value_and_grad(
            lambda x: losses.hinge.generator(x, where=penalties.top_k(x, 2))
        )(logits)
        np.testing.assert_allclose(value, -1.25)
        np.testing.assert_allclose(grad, [-0.5, 0, -0.5, 0])

    def test_k_may_shrink_without_compiling_again(self):
        traces = []

        @jax.jit
        def kept(logits, k):
            traces.append(1)
            return penalties.top_k(logits, k)

        logits = samples(0, (8, 1))
        assert [int(kept(logits, k).sum()) for k in (8, 5, 1)] == [8, 5, 1]
        assert len(traces) == 1


class TestOrthogonal:
    def test_orthogonal_filters_cost_nothing_and_unit_ones_nothing_with_the_diagonal(self):
        q = jnp.linalg.qr(samples(0, (9, 4)))[0]
        assert penalties.orthogonal({"kernel": 3 * q}) < 1e-8
        assert penalties.orthogonal({"kernel": q}, diagonal=True) < 1e-10
        np.testing.assert_allclose(
            penalties.orthogonal({"kernel": 3 * q}, diagonal=True), 4 * 64, rtol=1e-5
        )


class TestSpectralRegularisation:
    def test_the_gradient_is_sigma_times_the_singular_vectors(self):
        w = samples(0, (6, 4))
        u = spectral.init_u(jax.random.key(0), w)
        left, values, right = np.linalg.svd(np.float64(w))
        value, grad = jax.value_and_grad(lambda w: penalties.spectral_regularisation([w], [u]))(w)
        np.testing.assert_allclose(value, values[0] ** 2 / 2, rtol=1e-5)
        expected = values[0] * np.outer(left[:, 0], right[0])
        np.testing.assert_allclose(grad, expected, atol=1e-4)


def flat(x):
    return x[:, 0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda key: penalties.dragan(flat, jnp.ones((2, 3)), key, variant="gausian"),
            r"there is no DRAGAN variant 'gausian'; did you mean 'gaussian'\?",
        ),
        (
            lambda key: penalties.dragan(flat, jnp.ones((2, 3)), key, scale=-1.0),
            r"scale is -1.0, but noise has a size of 0 or more",
        ),
        (
            lambda key: penalties.dragan(flat, jnp.ones((2, 3)), key, target=-1.0),
            r"target is -1.0, but a norm is never negative; give 0 or more",
        ),
        (
            lambda key: penalties.approximate_r1(flat, jnp.ones((2, 3)), key, sigma=0),
            r"sigma is 0; give a number above 0",
        ),
        (
            lambda key: penalties.approximate_r1(flat, jnp.ones((2, 3), jnp.uint8), key),
            r"real has dtype uint8, which has no gradient",
        ),
        (
            lambda key: penalties.approximate_r2(flat, jnp.ones((0, 3)), key),
            r"fake has shape \(0, 3\), which holds no samples",
        ),
        (
            lambda key: penalties.approximate_r2(lambda x: x, jnp.ones((2, 3)), key),
            r"the critic returned an array of shape \(2, 3\) for a batch of 2; a gradient penalty needs one",
        ),
        (
            lambda key: penalties.r1(flat, jnp.ones((0, 3))),
            r"real has shape \(0, 3\), which holds no samples; give \[B, ...\]",
        ),
        (
            lambda key: penalties.r2(flat, jnp.ones((2, 3), jnp.int32)),
            r"fake has dtype int32, which has no gradient; convert it to floating point",
        ),
        (
            lambda key: penalties.r1_r2(flat, jnp.ones((2, 3)), jnp.ones((3, 3))),
            r"real has shape \(2, 3\) and fake \(3, 3\); .* make the shapes equal",
        ),
        (
            lambda key: penalties.r1_r2(lambda x: x[:2, 0], jnp.ones((2, 3)), jnp.ones((2, 3))),
            r"the critic returned an array of shape \(2,\) for a batch of 4",
        ),
        (
            lambda key: penalties.path_length(lambda w: w, jnp.ones(3), jnp.float32(0), key),
            r"w has shape \(3,\); give \[B, D\], or \[B, L, D\] for L layers",
        ),
        (
            lambda key: penalties.path_length(
                lambda w: w, jnp.ones((2, 3), jnp.int32), jnp.float32(0), key
            ),
            r"w has dtype int32, which has no gradient",
        ),
        (
            lambda key: penalties.path_length(lambda w: w, jnp.ones((2, 3)), jnp.float32(0), key),
            r"the generator returned shape \(2, 3\) for w of shape \(2, 3\); .* \[2, H, W, C\]",
        ),
        (
            lambda key: penalties.path_length(lambda w: w, jnp.ones((2, 3)), jnp.zeros(2), key),
            r"mean has shape \(2,\); give the scalar that the last call returned",
        ),
        (
            lambda key: penalties.path_length(
                lambda w: w, jnp.ones((2, 3)), jnp.float32(0), key, decay=-0.1
            ),
            r"decay is -0.1; give 0 \(no memory\) to 1 \(a fixed mean\)",
        ),
        (
            lambda key: penalties.consistency(jnp.ones(2), jnp.ones((2, 1))),
            r"logits has shape \(2,\) and augmented_logits \(2, 1\); .* make the shapes equal",
        ),
        (
            lambda key: penalties.balanced_consistency(*[jnp.ones(2)] * 3, jnp.ones(3)),
            r"fake_logits has shape \(2,\) and augmented_fake_logits \(3,\)",
        ),
        (
            lambda key: penalties.latent_consistency.generator(jnp.ones((2, 3)), jnp.ones((3, 3))),
            r"fake has shape \(2, 3\) and perturbed \(3, 3\)",
        ),
        (
            lambda key: penalties.lecam(jnp.ones(0), jnp.ones(2), penalties.LeCam.init()),
            r"real_logits has shape \(0,\), which holds no batch",
        ),
        (
            lambda key: penalties.lecam(jnp.ones(2), jnp.ones(2), penalties.LeCam.init(), decay=1),
            r"decay is 1; give 0 \(no memory\) or more, and less than 1",
        ),
        (
            lambda key: penalties.top_k(jnp.ones((2, 4, 4, 1)), 1),
            r"fake_logits has shape \(2, 4, 4, 1\); top_k needs one number per sample",
        ),
        (
            lambda key: penalties.top_k(jnp.ones(4), 5),
            r"k is 5 for a batch of 4; keep 1 to 4 samples",
        ),
        (
            lambda key: penalties.orthogonal({"bias": jnp.ones(3)}),
            r"params has no kernel \(array of two or more axes\)",
        ),
        (
            lambda key: penalties.spectral_regularisation({}, {}),
            r"matrices holds no array; give at least one flattened kernel",
        ),
        (
            lambda key: penalties.spectral_regularisation([jnp.ones((2, 3))], []),
            r"give one u per matrix",
        ),
        (
            lambda key: penalties.spectral_regularisation([jnp.ones((2, 3))], [jnp.ones(2)]),
            r"a matrix has shape \(2, 3\) and its vector \(2,\); give \[in, out\]",
        ),
    ],
)
def test_errors_say_what_was_wrong_and_how_to_mend_it(call, message, key):
    with pytest.raises(ValueError, match=message):
        call(key)


class TestSafeNorm:
    def test_values_are_exact(self):
        x = samples(0)
        expected = np.sqrt((np.float64(x) ** 2).sum(axis=(1, 2, 3)))
        np.testing.assert_allclose(safe_norm(x), expected, rtol=1e-6)
        # An epsilon of 1e-8 under the root would make this 1e-4.
        np.testing.assert_allclose(safe_norm(jnp.full((1, 1), 1e-6)), [1e-6], rtol=1e-6)

    def test_zero_has_value_and_gradient_zero_beside_a_live_sample(self):
        x = jnp.array([[0.0, 0.0], [3.0, 4.0]])
        np.testing.assert_array_equal(safe_norm(x), [0.0, 5.0])
        grad = jax.grad(lambda x: jnp.sum(safe_norm(x)))(x)
        np.testing.assert_allclose(grad, [[0.0, 0.0], [0.6, 0.8]], rtol=1e-6)
        hessian = jax.hessian(lambda x: jnp.sum(safe_norm(x)))(x)
        assert np.isfinite(hessian).all()

    def test_gradients_against_finite_differences(self):
        check_grads(safe_norm, (samples(0, (3, 4)),), order=2, rtol=1e-2)

    def test_bfloat16_in_float32_out(self):
        norm = safe_norm(jnp.ones((2, 1000), jnp.bfloat16))
        assert norm.dtype == jnp.float32
        np.testing.assert_allclose(norm, np.sqrt([1000.0, 1000.0]), rtol=1e-6)


class TestClipWeights:
    def test_every_leaf_is_clipped(self):
        tree = {"kernel": jnp.array([-3.0, -0.005, 0.5]), "deep": [jnp.array([[0.02, 0.0]])]}
        clipped = clip_weights(tree, 0.01)
        np.testing.assert_array_equal(clipped["kernel"], np.float32([-0.01, -0.005, 0.01]))
        np.testing.assert_array_equal(clipped["deep"][0], np.float32([[0.01, 0.0]]))

    def test_dtypes_are_kept_and_limits_may_be_traced(self):
        clipped = jax.jit(clip_weights)({"w": jnp.bfloat16([2.0, -2.0])}, jnp.float32(0.5))
        assert clipped["w"].dtype == jnp.bfloat16
        np.testing.assert_array_equal(clipped["w"], jnp.bfloat16([0.5, -0.5]))

    def test_gradient_is_one_inside_and_zero_outside(self):
        grad = jax.grad(lambda w: jnp.sum(clip_weights(w, 1.0)))(jnp.array([-2.0, 0.5, 3.0]))
        np.testing.assert_array_equal(grad, [0.0, 1.0, 0.0])

    @pytest.mark.parametrize("limit", [0, -0.01])
    def test_limits_that_clip_to_nothing_are_refused(self, limit):
        with pytest.raises(ValueError, match=rf"limit is {limit}; weights are clipped to a limit"):
            clip_weights({"w": jnp.ones(2)}, limit)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_one_bad_batch_does_not_spoil_the_averages_of_lecam(bad, side):
    good = [jnp.array([2.0, 4.0]), jnp.array([-1.0, -1.0])]
    wrong = list(good)
    wrong[side] = wrong[side].at[0].set(bad)
    _, first = penalties.lecam(*good, penalties.LeCam.init())
    penalty, second = jax.jit(penalties.lecam)(*wrong, first)
    assert not np.isfinite(penalty)
    for old, new in zip(first, second, strict=True):
        assert old == new
    assert np.isfinite(penalties.lecam(*good, second)[0])


def test_one_bad_batch_does_not_spoil_the_mean_of_path_lengths(key):
    @jax.jit
    def path_length(factor, mean):
        def generator(w):
            return jnp.broadcast_to(factor * w[:, :1, None, None], (2, 4, 4, 1))

        return penalties.path_length(generator, jnp.ones((2, 8)), mean, key)

    _, first = path_length(1.0, jnp.float32(0))
    penalty, second = path_length(jnp.nan, first)
    assert np.isnan(penalty)
    assert first == second
