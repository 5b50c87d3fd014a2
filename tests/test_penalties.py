"""Penalties: critics whose gradient is known, finite differences to second order, PyTorch."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.test_util import check_grads

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

    def test_a_critic_that_ignores_its_input_is_no_error(self, key):
        x = samples(0, (4, 5))
        assert gradient_penalty(lambda z: jnp.zeros(4), x, x, key) == 1.0

    @pytest.mark.parametrize("one_sided", [False, True])
    def test_gradients_to_second_order(self, one_sided, key):
        x, y = samples(0, (4, 5)), samples(1, (4, 5))

        def penalty(params, x, y):
            return gradient_penalty(partial(mlp, params), x, y, key, one_sided=one_sided)

        assert penalty(mlp_params(), x, y) > 0.1
        check_grads(penalty, (mlp_params(), x, y), order=2, modes=["rev"], rtol=0.02, atol=0.02)

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

    def test_sharded_over_eight_devices_is_the_same_number(self, key):
        params, x, y = mlp_params(), samples(0, (16, 5)), samples(1, (16, 5))
        penalty = jax.jit(lambda x, y, k: gradient_penalty(partial(mlp, params), x, y, k))
        mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
        rows = NamedSharding(mesh, PartitionSpec("data"))
        everywhere = NamedSharding(mesh, PartitionSpec())
        sharded = penalty(*jax.device_put((x, y), rows), jax.device_put(key, everywhere))
        np.testing.assert_allclose(sharded, penalty(x, y, key), rtol=1e-6)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"fake": jnp.zeros((5, 3))}, r"real has shape \(4, 3\) and fake \(5, 3\); each inter"),
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

    def test_parity_with_pytorch_to_second_order(self, key):
        """Penalty and its gradient in the weights, through a convolution, by torch's autograd."""
        torch = pytest.importorskip("torch")
        r = np.random.default_rng(0)
        kernel = np.float32(r.standard_normal((3, 3, 3, 8)) / 5)  # HWIO
        dense = np.float32(r.standard_normal((4 * 4 * 8,)) / 10)
        x, y = samples(0), samples(1)

        def critic(params, z):
            h = jax.lax.conv_general_dilated(
                z, params["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            return jnp.tanh(h).reshape(z.shape[0], -1) @ params["dense"]

        value, grads = jax.value_and_grad(
            lambda p: gradient_penalty(lambda z: critic(p, z), x, y, key)
        )({"kernel": jnp.asarray(kernel), "dense": jnp.asarray(dense)})

        # The same alpha; everything else is torch's own.
        alpha = np.array(jax.random.uniform(key, (6, 1, 1, 1)))
        t_kernel = torch.tensor(kernel.transpose(3, 2, 0, 1), requires_grad=True)
        t_dense = torch.tensor(dense, requires_grad=True)
        t_x, t_y = torch.tensor(np.array(x)), torch.tensor(np.array(y))
        z = (t_x + torch.tensor(alpha) * (t_y - t_x)).requires_grad_()
        h = torch.tanh(torch.nn.functional.conv2d(z.permute(0, 3, 1, 2), t_kernel, padding=1))
        out = h.permute(0, 2, 3, 1).reshape(6, -1) @ t_dense
        (slope,) = torch.autograd.grad(out.sum(), z, create_graph=True)
        theirs = ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
        theirs.backward()

        np.testing.assert_allclose(value, theirs.item(), rtol=1e-5)
        for ours, t in (
            (grads["kernel"], t_kernel.grad.permute(2, 3, 1, 0).numpy()),
            (grads["dense"], t_dense.grad.numpy()),
        ):
            assert np.abs(ours - t).max() <= 1e-5 * np.abs(t).max()


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
