"""Spectral norms, true norms of convolutions and constants: SVD, finite differences, SciPy and PyTorch."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.test_util import check_grads

from jaxgan import spectral

# kind, kernel shape, input axes, and NumPy's own way to the matrix [inputs, outputs].
LAYOUTS = [
    ("dense", (12, 7), 1, lambda k: k),
    ("dense_general", (4, 5, 6), 1, lambda k: k.reshape(4, 30)),
    ("dense_general", (4, 5, 6), 2, lambda k: k.reshape(20, 6)),
    ("dense_general", (2, 3, 4, 5), 2, lambda k: k.reshape(6, 20)),
    ("conv", (3, 4, 5), 1, lambda k: k.reshape(12, 5)),
    ("conv", (3, 3, 4, 8), 1, lambda k: k.reshape(36, 8)),
    ("conv", (2, 3, 2, 4, 8), 1, lambda k: k.reshape(48, 8)),
    ("conv_transpose", (4, 4, 6, 3), 1, lambda k: k.reshape(96, 3)),
    (
        "conv_transpose_transposed",
        (4, 4, 3, 6),
        1,
        lambda k: np.stack([k[:, :, o, :].reshape(-1) for o in range(3)], axis=1),
    ),
    ("embed", (10, 6), 1, lambda k: k.T),
]


# As programs: one for each shape, where operations by themselves would be compiled one by one.
sigma = jax.jit(spectral.sigma)
power_iteration = jax.jit(spectral.power_iteration, static_argnames="n_steps")
krylov_iteration = jax.jit(spectral.krylov_iteration, static_argnames="n_steps")
gram_iteration = jax.jit(spectral.gram_iteration, static_argnames="n_steps")
init_u = jax.jit(spectral.init_u, static_argnames="n_steps")
init_basis = jax.jit(spectral.init_basis, static_argnames=("k", "n_steps"))
orthogonal_iteration = jax.jit(spectral.orthogonal_iteration, static_argnames="n_steps")
singular_values = jax.jit(spectral.singular_values)
spectral_norm = jax.jit(spectral.spectral_norm, static_argnames=("kind", "n_in"))
normalised_kernel = jax.jit(spectral.normalised_kernel, static_argnames=("kind", "n_in"))
OF_A_CONVOLUTION = ("shape", "strides", "padding", "dilation", "groups", "n_steps")
conv_norm = jax.jit(spectral.conv_norm, static_argnames=OF_A_CONVOLUTION)
conv_transpose_norm = jax.jit(
    spectral.conv_transpose_norm, static_argnames=[n for n in OF_A_CONVOLUTION if n != "groups"]
)


def normal(seed, shape):
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), np.float32)


def svd_norm(matrix):
    return np.linalg.svd(np.float64(matrix), compute_uv=False)[0]


def test_every_kind_is_covered():
    assert {layout[0] for layout in LAYOUTS} == set(spectral.KINDS)


@pytest.mark.parametrize(("kind", "shape", "n_in", "matrix"), LAYOUTS)
class TestEveryKind:
    def test_flattened_as_numpy_does(self, kind, shape, n_in, matrix):
        kernel = normal(0, shape)
        flat = spectral.flatten_kernel(kernel, kind, n_in)
        assert flat.dtype == jnp.float32
        np.testing.assert_array_equal(flat, matrix(kernel))

    def test_converges_to_the_svd_and_normalises_to_one(self, kind, shape, n_in, matrix, key):
        kernel = normal(1, shape)
        w = spectral.flatten_kernel(kernel, kind, n_in)
        u = init_u(key, w, n_steps=300)
        np.testing.assert_allclose(sigma(w, u), svd_norm(matrix(kernel)), rtol=1e-3)
        normalised = normalised_kernel(jnp.asarray(kernel), u, kind, n_in)
        normalised = np.asarray(normalised)
        assert normalised.shape == kernel.shape
        np.testing.assert_allclose(svd_norm(matrix(normalised)), 1.0, rtol=1e-3)
        # It is W / sigma: every singular value is divided, none replaced.
        np.testing.assert_allclose(normalised * svd_norm(matrix(kernel)), kernel, rtol=2e-3)

    def test_gradient_against_the_papers_equation(self, kind, shape, n_in, matrix, key):
        # Eq. 12 with a linear loss <g, W / sigma>: (g - <g, W_SN> v u^T) / sigma.
        kernel, g = normal(1, shape), normal(2, shape)
        w = spectral.flatten_kernel(kernel, kind, n_in)
        u = init_u(key, w, n_steps=300)
        grad = jax.jit(
            jax.grad(lambda k: jnp.sum(g * spectral.normalised_kernel(k, u, kind, n_in)))
        )(kernel)
        left, values, right = np.linalg.svd(np.float64(matrix(kernel)), full_matrices=False)
        mean = np.sum(g * np.float64(kernel)) / values[0]
        expected = (matrix(np.float64(g)) - mean * np.outer(left[:, 0], right[0])) / values[0]
        flat = matrix(np.asarray(grad))
        np.testing.assert_allclose(flat, expected, atol=2e-3 * np.abs(expected).max())


class TestPowerIteration:
    def test_one_step_by_hand(self):
        w = np.float32([[3.0, 0.0], [4.0, 5.0]])
        u = np.float32([1.0, 0.0])
        # W u = (3, 4), v = (0.6, 0.8); W^T v = (5, 4), u = (5, 4) / sqrt(41).
        new = power_iteration(w, u)
        np.testing.assert_allclose(new, np.float64([5, 4]) / np.sqrt(41), rtol=1e-6)
        np.testing.assert_allclose(sigma(w, u), 5.0, rtol=1e-6)  # ||W u||

    def test_steps_compose_and_zero_steps_do_nothing(self):
        w, u = normal(0, (9, 6)), normal(1, (6,))
        u = u / np.linalg.norm(u)
        once = power_iteration(w, u)
        np.testing.assert_allclose(
            power_iteration(w, u, 3),
            power_iteration(w, power_iteration(w, once)),
            rtol=1e-5,
        )
        np.testing.assert_array_equal(power_iteration(w, u, 0), u)

    def test_sigma_grows_towards_the_svd_from_below(self, key):
        w = normal(0, (64, 48))
        u, top, last = init_u(key, w, n_steps=0), svd_norm(w), 0.0
        for _ in range(60):
            value = float(sigma(w, u))
            assert last <= value * (1 + 1e-6)
            assert value <= top * (1 + 1e-6)
            last, u = value, power_iteration(w, u)
        np.testing.assert_allclose(last, top, rtol=1e-2)

    def test_u_is_a_unit_vector_and_carries_no_gradient(self, key):
        w = normal(0, (9, 6))
        u = init_u(key, w)
        np.testing.assert_allclose(np.linalg.norm(u), 1.0, rtol=1e-6)
        jacobian = jax.jit(jax.jacobian(lambda w: spectral.power_iteration(w, u, 2)))(w)
        np.testing.assert_array_equal(jacobian, np.zeros((6, 9, 6)))

    def test_the_warm_up_is_long_enough(self, key):
        """Within 1 % on random kernels of the shapes GANs use, where 15 steps are not."""
        after = {15: [], spectral.INIT_STEPS: []}

        @jax.jit
        def sigmas(w):  # of three kernels after each number of steps
            return [
                jax.vmap(lambda w, n=n: spectral.sigma(w, spectral.init_u(key, w, n)))(w)
                for n in after
            ]

        for shape in [(27, 64), (576, 64), (1152, 128), (192, 192), (128, 1), (64, 512)]:
            w = np.stack([normal(seed, shape) for seed in range(3)])
            top = np.array([svd_norm(each) for each in w])
            for errors, found in zip(after.values(), sigmas(w), strict=True):
                errors.extend(1 - found / top)
        assert max(after[15]) > 0.03
        assert max(after[spectral.INIT_STEPS]) < 0.01


class TestSigma:
    def test_gradient_is_v_u_transposed(self, key):
        w = normal(0, (9, 6))
        u = init_u(key, w, 1)  # far from converged: it holds at every u
        v = np.float64(w) @ u
        v /= np.linalg.norm(v)
        grad = jax.jit(jax.grad(spectral.sigma))(w, u)
        np.testing.assert_allclose(grad, np.outer(v, u), rtol=1e-4, atol=1e-6)

    def test_gradients_against_finite_differences(self, key):
        # At convergence u and v are stationary, so holding them constant is exact.
        w = normal(0, (6, 4))
        u = init_u(key, w, 500)
        check_grads(jax.jit(lambda w: spectral.sigma(w, u)), (w,), order=1, rtol=1e-2)
        normalised = jax.jit(lambda w: spectral.normalised_kernel(w, u, "dense"))
        check_grads(normalised, (w,), order=1, rtol=1e-2, atol=1e-2)

    def test_u_is_constant(self, key):
        w, u = normal(0, (6, 4)), init_u(key, normal(0, (6, 4)), 1)
        grad = jax.jit(jax.grad(spectral.sigma, argnums=1))
        np.testing.assert_array_equal(grad(w, u), np.zeros(4))

    def test_zero_kernels_give_zeros_and_finite_gradients(self, key):
        zero = jnp.zeros((3, 3, 4, 8))
        w = spectral.flatten_kernel(zero, "conv")
        u = init_u(key, w)
        np.testing.assert_allclose(np.linalg.norm(u), 1.0, rtol=1e-6)  # ready for what comes
        assert sigma(w, u) == 0.0
        np.testing.assert_array_equal(jax.jit(jax.grad(spectral.sigma))(w, u), np.zeros_like(w))
        value, grad = jax.jit(
            jax.value_and_grad(lambda k: jnp.sum(spectral.normalised_kernel(k, u, "conv")))
        )(zero)
        assert value == 0.0
        np.testing.assert_array_equal(grad, np.ones_like(zero))

    @pytest.mark.parametrize("scale", [1e-6, 1e6])
    def test_is_homogeneous(self, scale, key):
        w = normal(0, (9, 6))
        u = init_u(key, w)
        np.testing.assert_allclose(sigma(w * np.float32(scale), u) / scale, sigma(w, u), rtol=1e-5)

    def test_bfloat16_kernels_have_float32_sigma(self, key):
        kernel = jnp.asarray(normal(0, (64, 48)), jnp.bfloat16)
        w = spectral.flatten_kernel(kernel, "dense")
        u = init_u(key, w, 300)
        assert u.dtype == jnp.float32
        value = sigma(w, u)
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, svd_norm(np.float32(kernel)), rtol=1e-3)
        assert normalised_kernel(kernel, u, "dense").dtype == jnp.bfloat16
        # The matrices given as they are.
        np.testing.assert_allclose(sigma(kernel, u), value, rtol=1e-6)
        np.testing.assert_allclose(power_iteration(kernel, u), u, atol=1e-2)

    def test_jit_and_vmap_agree_with_eager(self, key):
        w = normal(0, (3, 9, 6))
        u = np.stack([init_u(key, each, 2) for each in w])
        eager = [spectral.sigma(*each) for each in zip(w, u, strict=True)]
        np.testing.assert_allclose(jax.jit(jax.vmap(spectral.sigma))(w, u), eager, rtol=1e-6)
        np.testing.assert_allclose(jax.jit(spectral.sigma)(w[0], u[0]), eager[0], rtol=1e-6)
        steps = jax.jit(spectral.power_iteration, static_argnums=2)
        np.testing.assert_allclose(
            steps(w[0], u[0], 4), spectral.power_iteration(w[0], u[0], 4), rtol=1e-5
        )

    def test_a_kernel_sharded_over_eight_devices_has_the_same_sigma(self, key):
        w = normal(0, (64, 48))
        u = init_u(key, w, 1)
        mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
        rows = jax.device_put(w, NamedSharding(mesh, PartitionSpec("data")))
        whole = jax.device_put(u, NamedSharding(mesh, PartitionSpec()))
        np.testing.assert_allclose(jax.jit(spectral.sigma)(rows, whole), sigma(w, u), rtol=1e-6)
        np.testing.assert_allclose(
            jax.jit(spectral.power_iteration)(rows, whole),
            power_iteration(w, u),
            atol=1e-6,
        )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: spectral.flatten_kernel(jnp.ones((2, 2)), "dens"),
            r"no kernel kind 'dens'; did you mean 'dense'\?",
        ),
        (
            lambda: spectral.flatten_kernel(jnp.ones((2, 2)), "xyz"),
            r"no kernel kind 'xyz'; choose one of conv, conv_transpose, ",
        ),
        (
            lambda: spectral.flatten_kernel(jnp.ones((2, 2)), "dense_general", 2),
            r"n_in is 2, but a dense_general kernel of shape \(2, 2\) .*; give 1 to 1",
        ),
        (
            lambda: spectral.flatten_kernel(jnp.ones((2, 2, 2)), "dense"),
            r"a kernel of shape \(2, 2, 2\) is not of kind 'dense'",
        ),
        (
            lambda: spectral.flatten_kernel(jnp.ones(2), "conv"),
            r"a kernel of shape \(2,\) is not of kind 'conv'",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Parity with torch.nn.utils.parametrizations.spectral_norm ---------------------------------------

torch_layers = {
    # name: (torch layer, kind, torch weight -> JAX kernel)
    "dense": (lambda nn: nn.Linear(12, 7), "dense", lambda w: w.T),
    "conv": (lambda nn: nn.Conv2d(4, 8, 3), "conv", lambda w: w.transpose(2, 3, 1, 0)),
    "conv_transpose": (
        lambda nn: nn.ConvTranspose2d(6, 3, 4),
        "conv_transpose",
        lambda w: w.transpose(2, 3, 0, 1),
    ),
    "conv_transpose_transposed": (
        lambda nn: nn.ConvTranspose2d(6, 3, 4),
        "conv_transpose_transposed",
        lambda w: w.transpose(2, 3, 1, 0),
    ),
    "embed": (lambda nn: nn.Embedding(10, 6), "embed", lambda w: w),
}


@pytest.mark.parametrize("name", torch_layers)
class TestPyTorch:
    def build(self, name):
        torch = pytest.importorskip("torch")
        make, kind, to_kernel = torch_layers[name]
        torch.manual_seed(0)
        layer = torch.nn.utils.parametrizations.spectral_norm(make(torch.nn))
        inner = layer.parametrizations.weight
        state = {
            "u": lambda: inner[0]._u.detach().numpy().copy(),
            "kernel": lambda: to_kernel(inner.original.detach().numpy().copy()),
        }
        return torch, layer, inner, state, kind, to_kernel

    def test_fifty_steps_of_iteration_from_its_u(self, name):
        """Each goes its own way for 50 steps on a fixed kernel: u, sigma and W / sigma agree."""
        _, layer, _, state, kind, to_kernel = self.build(name)
        u, kernel = state["u"](), state["kernel"]()

        @jax.jit
        def step(kernel, u):
            u = spectral.power_iteration(spectral.flatten_kernel(kernel, kind), u)
            return u, spectral.normalised_kernel(kernel, u, kind)

        for _ in range(50):
            theirs = to_kernel(layer.weight.detach().numpy())  # iterates: it is in train mode
            u, ours = step(kernel, u)
            u, ours = np.asarray(u), np.asarray(ours)
            assert np.abs(u - state["u"]()).max() <= 1e-5
            assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()

    def test_fifty_steps_of_training_with_its_u(self, name):
        """W moves, and at each step W / sigma and the gradient through it agree, given its u.

        Its u is handed over, since it steps from the v of the kernel before the last update where
        Algorithm 1 (and we) take v from the present one.
        """
        torch, layer, inner, state, kind, to_kernel = self.build(name)
        optimiser = torch.optim.SGD([inner.original], lr=0.05)
        target = torch.randn(inner.original.shape)

        def loss(kernel, u, target):
            normalised = spectral.normalised_kernel(kernel, u, kind)
            return jnp.sum((normalised - target) ** 2), normalised

        slope = jax.jit(jax.grad(loss, has_aux=True))
        for _ in range(50):
            optimiser.zero_grad()
            kernel = state["kernel"]()
            weight = layer.weight
            ((weight - target) ** 2).sum().backward()
            grad, ours = slope(kernel, state["u"](), to_kernel(target.numpy()))
            for mine, theirs in (
                (ours, weight.detach().numpy()),
                (grad, inner.original.grad.numpy()),
            ):
                mine, theirs = np.asarray(mine), to_kernel(theirs)
                assert np.abs(mine - theirs).max() <= 1e-5 * np.abs(theirs).max()
            optimiser.step()


class TestKrylov:
    def near_degenerate(self, ratio=0.999):
        """[24, 16] with singular values 1, `ratio`, and others below 0.9."""
        left, _ = np.linalg.qr(normal(0, (24, 16)))
        right, _ = np.linalg.qr(normal(1, (16, 16)))
        values = np.concatenate([[1.0, ratio], np.linspace(0.9, 0.1, 14)])
        return np.float32(left * values @ right.T)

    def start(self, size=16):
        u = normal(2, (size,))
        return u / np.linalg.norm(u)

    @pytest.mark.parametrize("n_steps", [1, 2, 4, 8])
    def test_it_is_the_best_of_the_span(self, n_steps):
        w, u = np.float64(self.near_degenerate()), np.float64(self.start())
        span = [u]
        for _ in range(n_steps):
            span.append(w.T @ (w @ span[-1]))
            span[-1] /= np.linalg.norm(span[-1])
        basis, _ = np.linalg.qr(np.stack(span, 1))
        best = np.linalg.svd(w @ basis, compute_uv=False)[0]
        got = krylov_iteration(jnp.float32(w), jnp.float32(u), n_steps)
        np.testing.assert_allclose(np.linalg.norm(got), 1, rtol=1e-6)
        # Two nearly equal Ritz values may mix: sigma is what has to be right.
        np.testing.assert_allclose(sigma(jnp.float32(w), got), best, rtol=2e-5)

    def test_never_worse_than_power_iteration(self):
        w, u = self.near_degenerate(), self.start()
        for n in (1, 3, 8):
            power = sigma(w, power_iteration(w, u, n))
            assert sigma(w, krylov_iteration(w, u, n)) >= power - 1e-6

    def test_it_leaves_a_vector_that_is_no_longer_the_largest(self):
        """The state of a tracker when two singular values have just crossed."""
        w = self.near_degenerate(0.97)
        _, _, rows = np.linalg.svd(w)
        u = np.float32(rows[1] + 0.03 * rows[0])
        u /= np.linalg.norm(u)
        assert sigma(w, power_iteration(w, u, 8)) < 0.971
        np.testing.assert_allclose(sigma(w, krylov_iteration(w, u, 8)), 1, rtol=1e-4)

    @pytest.mark.parametrize("shape", [(5, 1), (1, 5), (3, 3), (64, 6)])
    def test_small_and_exhausted_spaces(self, shape):
        w = normal(0, shape)
        u = krylov_iteration(w, self.start(shape[1]), 8)
        np.testing.assert_allclose(sigma(w, u), svd_norm(w), rtol=1e-4)

    def test_converged_and_scaled(self):
        w = self.near_degenerate(0.5)
        for scale in (1e-6, 1.0, 1e6):
            u = self.start()
            for _ in range(3):
                u = krylov_iteration(w * np.float32(scale), u, 8)
            np.testing.assert_allclose(sigma(w * np.float32(scale), u), scale, rtol=1e-5)

    def test_zeros_keep_u(self):
        u = self.start()
        kept = krylov_iteration(jnp.zeros((24, 16)), u, 8)
        np.testing.assert_allclose(kept, u, atol=1e-6)

    def test_no_gradient_and_jit(self):
        w, u = self.near_degenerate(), self.start()
        gradient = jax.jit(jax.grad(lambda w: spectral.krylov_iteration(w, u, 4).sum()))(w)
        assert not gradient.any()
        jitted = jax.jit(spectral.krylov_iteration, static_argnums=2)(w, u, 4)
        np.testing.assert_allclose(jitted, spectral.krylov_iteration(w, u, 4), atol=1e-5)


def right_vectors(w):
    """By falling singular value, as rows."""
    return np.float32(np.linalg.svd(np.float64(w))[2])


class TestGram:
    @pytest.mark.parametrize("shape", [(24, 16), (16, 24)])
    @pytest.mark.parametrize("n_steps", [0, 1, 2, 3, 5])
    def test_it_is_that_many_power_iterations(self, shape, n_steps):
        w = normal(0, shape)
        u = right_vectors(w)[:3].sum(0) / np.float32(np.sqrt(3.0))
        expected = power_iteration(w, u, 2**n_steps + (shape[0] < shape[1]))
        np.testing.assert_allclose(gram_iteration(w, u, n_steps), expected, atol=1e-5)

    @pytest.mark.parametrize("shape", [(24, 16), (16, 24), (40, 3), (3, 40), (200, 100), (64, 64)])
    @pytest.mark.parametrize("n_steps", [3, 6, spectral.GRAM_STEPS])
    def test_the_bound_holds_for_any_u(self, shape, n_steps):
        found = jax.jit(lambda w, u: spectral.sigma(w, spectral.gram_iteration(w, u, n_steps)))
        for seed in range(3):
            w = normal(seed, shape)
            _, values, right = np.linalg.svd(np.float64(w))
            for u in (*np.float32(right)[[0, 1, -1]], np.eye(shape[1], dtype=np.float32)[0]):
                error = 1 - float(found(w, u)) / values[0]
                assert -1e-6 <= error <= np.log(4 * min(shape)) / 2 ** (n_steps + 2) + 1e-6

    def test_the_default_is_within_a_thousandth(self):
        assert np.log(4 * 900) / 2 ** (spectral.GRAM_STEPS + 2) <= 1e-3

    def test_equal_singular_values_keep_u(self):
        u = normal(2, (16,))
        u /= np.linalg.norm(u)
        w, _ = np.linalg.qr(normal(0, (24, 16)))
        for kernel in (w, 3.0 * w.T @ w):
            np.testing.assert_allclose(gram_iteration(kernel, u), u, atol=2e-3)

    def test_two_equal_ones_keep_u_in_their_plane(self):
        left, right = (np.linalg.qr(normal(seed, (16, 16)))[0] for seed in (0, 1))
        w = np.float32(left * np.concatenate([[1.0, 1.0], np.linspace(0.95, 0.1, 14)]) @ right.T)
        u = right @ np.float32([0.6, 0.8, *np.zeros(14)])
        np.testing.assert_allclose(gram_iteration(w, u), u, atol=2e-3)

    @pytest.mark.parametrize(("n_in", "n_out"), [(24, 16), (16, 24)])
    def test_rank_one(self, n_in, n_out):
        a, b = normal(0, (n_in,)), normal(1, (n_out,))
        u = gram_iteration(np.outer(a, b), np.eye(n_out, dtype=np.float32)[0])
        np.testing.assert_allclose(np.abs(u), np.abs(b) / np.linalg.norm(b), atol=1e-6)

    @pytest.mark.parametrize("shape", [(5, 1), (1, 5), (1, 1), (2, 5)])
    def test_small_ones(self, shape):
        w = normal(0, shape)
        u = gram_iteration(w, np.eye(shape[1], dtype=np.float32)[0])
        np.testing.assert_allclose(sigma(w, u), svd_norm(w), rtol=1e-6)

    @pytest.mark.parametrize("scale", [1e-11, 1e-6, 1e6, 1e15])
    def test_scaled(self, scale):
        w, u = normal(0, (24, 16)), np.eye(16, dtype=np.float32)[0]
        found = gram_iteration(w * np.float32(scale), u)
        np.testing.assert_allclose(np.abs(found), np.abs(right_vectors(w)[0]), atol=1e-5)

    @pytest.mark.parametrize("shape", [(24, 16), (16, 24)])
    @pytest.mark.parametrize("scale", [0.0, 1e-20, 1e25])
    def test_u_stays_where_float32_ends(self, shape, scale):
        u = normal(2, shape[1:])
        u /= np.linalg.norm(u)
        found = gram_iteration(normal(0, shape) * np.float32(scale), u)
        np.testing.assert_array_equal(found, u)

    def test_no_gradient_jit_and_vmap(self):
        w, u = normal(0, (3, 24, 16)), np.eye(16, dtype=np.float32)[:3]
        gradient = jax.jit(jax.grad(lambda w: spectral.gram_iteration(w, u[0]).sum()))(w[0])
        assert not gradient.any()
        each = np.stack([spectral.gram_iteration(w[i], u[i]) for i in range(3)])
        np.testing.assert_allclose(
            jax.jit(jax.vmap(spectral.gram_iteration))(w, u), each, atol=1e-5
        )


def moved_by_adam(seed, shape, steps, rank):
    """[steps, *shape], a kernel from He's initialisation on, moved by Adam (2e-4, beta 0 and 0.9).

    The gradients are of `rank`, along vectors that turn, with as much noise.
    """
    keys = jax.random.split(jax.random.key(seed), 3 + steps)
    w = jax.random.normal(keys[0], shape) * np.float32(np.sqrt(2.0 / shape[0]))
    sides = [jax.random.normal(k, (n, rank)) for k, n in zip(keys[1:3], shape, strict=True)]

    def step(carry, inputs):
        w, second, sides = carry
        key, i = inputs
        keys = jax.random.split(key, 3)
        sides = [
            0.998 * x + 0.063 * jax.random.normal(k, x.shape)
            for x, k in zip(sides, keys[:2], strict=True)
        ]
        noise = np.float32(np.sqrt(rank)) * jax.random.normal(keys[2], shape)
        gradient = jnp.matmul(sides[0], sides[1].T) + noise
        second = 0.9 * second + 0.1 * gradient**2
        w = w - 2e-4 * gradient / (jnp.sqrt(second / (1.0 - 0.9**i)) + 1e-8)
        return (w, second, sides), w

    order = jnp.arange(1.0, steps + 1.0)
    return jax.lax.scan(step, (w, jnp.zeros(shape), sides), (keys[3:], order))[1]


def crossing(rate, steps):
    """[steps, 144, 32]: one singular value is 1, another grows past it by `rate` a step, their vectors are fixed."""
    left, right = np.linalg.qr(normal(0, (144, 32)))[0], np.linalg.qr(normal(1, (32, 32)))[0]
    values = np.tile(np.linspace(0.9, 0.1, 32, dtype=np.float32), (steps, 1))
    values[:, 0], values[:, 1] = 1.0, 1.0 + rate * (np.arange(steps) - steps / 2)
    return np.einsum("ij,tj,kj->tik", left, values, right)


class TestMovingKernels:
    """sigma against the SVD at each step of a kernel on its way, u from the step before."""

    def error(self, iterate, path):
        u = init_u(jax.random.key(0), path[0])

        def step(u, w):
            u = iterate(w, u)
            return u, spectral.sigma(w, u)

        found = jax.jit(lambda u, path: jax.lax.scan(step, u, path)[1])(u, path)
        return np.abs(found / np.linalg.svd(np.float64(path), compute_uv=False)[:, 0] - 1).max()

    @pytest.mark.parametrize(
        ("shape", "rank"),
        [
            ((144, 32), 4),
            ((9, 64), 4),
            pytest.param((144, 32), 1, marks=pytest.mark.slow),
            pytest.param((64, 64), 8, marks=pytest.mark.slow),
        ],
    )
    def test_a_thousand_steps_of_adam(self, shape, rank):
        """Eight Krylov products once a step were the way before; squarings are no worse, up to rounding."""
        path = np.asarray(jax.jit(moved_by_adam, static_argnums=(0, 1, 2, 3))(0, shape, 1000, rank))
        moved = np.linalg.norm(path[-1] - path[0]) / np.linalg.norm(path[0])
        assert moved > 0.05
        gram = self.error(spectral.gram_iteration, path)
        assert gram < 2e-6
        assert gram < self.error(spectral.krylov_iteration, path) + 1e-6

    @pytest.mark.parametrize("rate", [1e-5, 1e-4, 1e-3, 1e-1])
    def test_where_the_second_value_overtakes_the_first(self, rate):
        """u holds nothing of the vector that becomes the first: from u alone, iterations stay with the second."""
        path = crossing(rate, 200 if rate < 1e-2 else 6)
        assert self.error(spectral.gram_iteration, path) < 1e-3
        assert self.error(spectral.krylov_iteration, path) < 1e-3
        last = 1.0 + rate * (len(path) / 2 - 1)
        assert self.error(spectral.power_iteration, path) > 0.9 * (1.0 - 1.0 / last)


class TestLeadingVector:
    @pytest.mark.parametrize(
        ("shape", "expected"),
        [
            ((300, 128), spectral.gram_iteration),
            ((128, 300), spectral.gram_iteration),
            ((300, 129), spectral.krylov_iteration),
            ((129, 300), spectral.krylov_iteration),
        ],
    )
    def test_which_one_it_is_on_a_cpu(self, shape, expected):
        w, u = normal(0, shape), normal(1, shape[1:])
        u /= np.linalg.norm(u)
        found = jax.jit(lambda w, u: (spectral.leading_vector(w, u), expected(w, u)))(w, u)
        np.testing.assert_allclose(*found, atol=1e-5)

    @pytest.mark.parametrize("platform", ["tpu", "cuda", "rocm"])
    def test_which_one_it_is_elsewhere(self, platform):
        def loops(platform, shape):
            traced = jax.jit(spectral.leading_vector).trace(jnp.zeros(shape), jnp.zeros(shape[1:]))
            return "while" in traced.lower(lowering_platforms=(platform,)).as_text()

        assert not loops(platform, (2048, 1024))
        assert loops(platform, (2048, 1025))
        assert loops("cpu", (2048, 1024))


def explicit(linear, shape):
    """The matrix of a linear map, column by column, in float64."""
    identity = np.eye(int(np.prod(shape)), dtype=np.float32).reshape(-1, *shape)
    return np.float64(jax.jit(jax.vmap(linear))(identity)).reshape(len(identity), -1)


def image_conv(kernel, strides, padding, dilation=1, groups=1):
    """One image through Flax's layer, whose meaning of the padding is the one promised."""
    layer = nn.Conv(
        kernel.shape[-1],
        kernel.shape[:2],
        strides,
        padding,
        kernel_dilation=dilation,
        feature_group_count=groups,
        use_bias=False,
        precision="highest",
    )
    return lambda x: layer.apply({"params": {"kernel": kernel}}, x[None])[0]


def image_conv_transpose(kernel, strides, padding):
    layer = nn.ConvTranspose(
        kernel.shape[-1],
        kernel.shape[:2],
        (strides, strides),
        padding,
        use_bias=False,
        precision="highest",
    )
    return lambda x: layer.apply({"params": {"kernel": kernel}}, x[None])[0]


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("padding", ["SAME", "VALID", "CIRCULAR", ((2, 0), (1, 3))], ids=str)
@pytest.mark.parametrize("size", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 5))])
class TestConvolutionAgainstItsMatrix:
    """The SVD of the explicit matrix, which is built through Flax's layers."""

    def test_conv(self, size, padding, strides):
        kernel = normal(size, (size, size, 3, 4))
        expected = svd_norm(explicit(image_conv(kernel, strides, padding), (8, 6, 3)))
        found = conv_norm(kernel, (8, 6), strides, padding)
        np.testing.assert_allclose(found, expected, rtol=1e-3)

    def test_conv_transpose(self, size, padding, strides):
        kernel = normal(size, (size, size, 3, 2))
        expected = svd_norm(explicit(image_conv_transpose(kernel, strides, padding), (4, 5, 3)))
        found = conv_transpose_norm(kernel, (4, 5), strides, padding)
        np.testing.assert_allclose(found, expected, rtol=1e-3)


class TestConvNorm:
    @pytest.mark.parametrize("padding", ["SAME", "VALID", "CIRCULAR"])
    def test_dilation_and_groups(self, padding):
        kernel = normal(0, (3, 3, 2, 6))
        linear = image_conv(kernel, 1, padding, 2, 3)
        expected = svd_norm(explicit(linear, (8, 7, 6)))
        found = conv_norm(kernel, (8, 7), 1, padding, 2, groups=3)
        np.testing.assert_allclose(found, expected, rtol=1e-3)

    def test_the_transpose_has_the_same_norm(self):
        kernel = normal(0, (4, 4, 3, 5))
        down = conv_norm(kernel, (8, 8), 2)
        up = conv_transpose_norm(kernel.swapaxes(-1, -2)[::-1, ::-1], (4, 4), 2)
        np.testing.assert_allclose(up, down, rtol=1e-4)

    def test_circular_by_fourier_transforms(self):
        # Sedghi et al., Theorem 6: the singular values are those of the transform at each frequency.
        kernel = normal(0, (3, 3, 4, 5))
        transformed = np.fft.fft2(np.float64(kernel), (8, 8), axes=(0, 1))
        expected = np.linalg.svd(transformed, compute_uv=False).max()
        found = conv_norm(kernel, (8, 8), padding="CIRCULAR")
        np.testing.assert_allclose(found, expected, rtol=1e-3)

    def test_one_axis_and_three(self):
        for shape in ((9,), (4, 3, 5)):
            kernel = normal(0, (3,) * len(shape) + (2, 3))
            layer = nn.Conv(3, (3,) * len(shape), use_bias=False, precision="highest")
            linear = partial(layer.apply, {"params": {"kernel": kernel}})
            expected = svd_norm(explicit(linear, (*shape, 2)))
            np.testing.assert_allclose(conv_norm(kernel, shape), expected, rtol=1e-3)

    def test_it_is_not_the_flattened_norm(self, key):
        kernel = normal(0, (3, 3, 8, 8))
        flattened = spectral_norm(kernel, "conv")
        norm = conv_norm(kernel, (16, 16))
        assert 1.3 * flattened < norm <= 3.0 * flattened  # sqrt of nine taps

    def test_gradient_is_that_of_the_singular_vectors(self):
        kernel = jnp.asarray(normal(0, (3, 3, 2, 3)))
        check_grads(
            jax.jit(lambda k: spectral.conv_norm(k, (5, 5))), (kernel,), 1, modes=["rev"], rtol=1e-2
        )

    def test_bfloat16_kernels_are_taken_in_float32(self):
        kernel = jnp.asarray(normal(0, (3, 3, 2, 3)), jnp.bfloat16)
        found = conv_norm(kernel, (5, 5))
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, conv_norm(np.float32(kernel), (5, 5)), rtol=1e-6)


class TestBounds:
    """Of maps too large to be written out; their norms are known otherwise."""

    def diagonal(self, values):
        values = np.float32(values)
        return lambda x: values * x

    @pytest.mark.parametrize("seed", range(3))
    def test_they_hold_where_power_iteration_is_far_off(self, seed):
        # Uniform up to 1: no gap to speak of.
        values = np.sort(np.random.default_rng(seed).random(3000))
        values[-1] = 1.0
        linear = self.diagonal(values)
        lower, upper = spectral.operator_norm_bounds(linear, (3000,), jax.random.key(seed), 20)
        assert lower <= 1.0 + 1e-6 <= upper
        assert upper < 1.2
        assert lower < 0.99999  # so it is the width that holds the norm

    def test_the_width_is_the_stated_one(self):
        # cosh(arccosh(sqrt(2 n / pi) / f) / (2 k - 1)), in both dimensions the smaller one.
        linear = self.diagonal(np.linspace(0, 1, 1000))

        def wide(x):
            return jnp.concatenate([linear(x), jnp.zeros(500)])

        for shape, call in (((1000,), linear), ((1000,), wide)):
            lower, upper = spectral.operator_norm_bounds(call, shape, n_steps=30, failure=1e-3)
            expected = np.cosh(np.arccosh(np.sqrt(2 * 1000 / np.pi) / 1e-3) / 59)
            np.testing.assert_allclose(upper / lower, expected, rtol=1e-6)

    @pytest.mark.slow
    def test_it_fails_no_more_often_than_stated(self):
        """With failure 0.5 and two steps: at most about half of the starts, and not none by being wide."""
        values = np.zeros(400)
        values[0] = 1.0
        values[1:] = 0.9
        linear, failed = self.diagonal(values), 0
        for seed in range(40):
            bounds = spectral.operator_norm_bounds(linear, (400,), jax.random.key(seed), 2, 0.5)
            failed += bounds.upper < 1.0
        assert failed <= 28

    def test_small_ones_are_exact(self):
        w = normal(0, (20, 400))
        lower, upper = spectral.operator_norm_bounds(
            lambda x: jnp.matmul(x, w, precision="highest"), (20,)
        )
        assert lower == upper
        np.testing.assert_allclose(upper, svd_norm(w), rtol=1e-6)

    def test_zero(self):
        def zero(x):
            return 0.0 * x

        assert spectral.operator_norm_bounds(zero, (500,)) == (0.0, 0.0)
        assert jax.jit(lambda: spectral.operator_norm(zero, (500,)))() == 0.0


class TestSeveralValues:
    def w(self):
        return normal(0, (24, 16))

    def test_they_are_those_of_the_svd(self, key):
        w = self.w()
        values = singular_values(w, init_basis(key, w, 4, 400))
        expected = np.linalg.svd(np.float64(w), compute_uv=False)[:4]
        np.testing.assert_allclose(values, expected, rtol=1e-4)

    def test_columns_follow_the_singular_vectors(self, key):
        w = self.w()
        u = init_basis(key, w, 3, 400)
        right = np.linalg.svd(np.float64(w))[2][:3].T
        np.testing.assert_allclose(np.abs(np.sum(np.asarray(u) * right, 0)), 1.0, atol=1e-3)

    def test_one_column_is_power_iteration(self, key):
        w = self.w()
        u = np.asarray(init_u(key, w, 0))
        one = np.asarray(orthogonal_iteration(w, u[:, None], 3))[:, 0]
        np.testing.assert_allclose(one, power_iteration(w, u, 3), atol=1e-5)
        np.testing.assert_allclose(singular_values(w, one[:, None])[0], sigma(w, one), rtol=1e-5)

    def test_never_above_the_singular_values_and_growing(self, key):
        w = self.w()
        u = init_basis(key, w, 3, 0)
        top, last = np.linalg.svd(np.float64(w), compute_uv=False)[:3], np.zeros(3)
        for _ in range(20):
            values = np.asarray(singular_values(w, u))
            assert (values <= top * (1 + 1e-5)).all()
            assert (values >= last * (1 - 1e-5)).all()
            last, u = values, orthogonal_iteration(w, u)

    def test_gradient_is_an_outer_product_for_each(self, key):
        w = self.w()
        u = init_basis(key, w, 2, 600)
        left, _, right = np.linalg.svd(np.float64(w))
        jacobian = np.asarray(jax.jit(jax.jacobian(spectral.singular_values))(w, u))
        for i in range(2):
            np.testing.assert_allclose(jacobian[i], np.outer(left[:, i], right[i]), atol=2e-3)
        assert not jax.jit(jax.grad(lambda w: spectral.orthogonal_iteration(w, u).sum()))(w).any()

    def test_zeros_keep_the_basis_and_have_gradient_zero(self, key):
        u = init_basis(key, self.w(), 2)
        zero = jnp.zeros((24, 16))
        np.testing.assert_array_equal(orthogonal_iteration(zero, u, 5), u)
        np.testing.assert_array_equal(singular_values(zero, u), np.zeros(2))
        assert not jax.jit(jax.grad(lambda w: spectral.singular_values(w, u).sum()))(zero).any()

    def test_a_kernel_of_low_rank(self, key):
        w = normal(0, (24, 1)) @ normal(1, (1, 16))
        u = init_basis(key, w, 3)
        np.testing.assert_allclose(np.asarray(u).T @ u, np.eye(3), atol=1e-5)
        values = np.asarray(singular_values(w, u))
        np.testing.assert_allclose(values[0], svd_norm(w), rtol=1e-5)
        assert (values[1:] < 1e-5 * values[0]).all()


@pytest.mark.parametrize(("kind", "shape", "n_in", "matrix"), LAYOUTS)
def test_spectral_norm_of_every_kind_against_scipy(kind, shape, n_in, matrix):
    kernel = normal(3, shape)
    expected = scipy.linalg.svdvals(np.float64(matrix(kernel)))[0]
    np.testing.assert_allclose(spectral_norm(kernel, kind, n_in), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "shape",
    [
        *((27, 64), (192, 192), (64, 512)),
        *(pytest.param(shape, marks=pytest.mark.slow) for shape in ((576, 64), (1152, 128))),
    ],
)
def test_spectral_norm_has_converged_on_the_shapes_of_gans(shape):
    w = normal(0, shape)
    np.testing.assert_allclose(spectral_norm(w, "dense"), svd_norm(w), rtol=1e-4)


class TestConstants:
    @pytest.mark.parametrize("name", spectral.ACTIVATIONS)
    def test_activations_by_their_own_derivative(self, name):
        """The largest slope on a fine grid is the constant: not below it, not above."""
        if name == "gelu_tanh":
            function = partial(jax.nn.gelu, approximate=True)
        elif name == "gelu":
            function = partial(jax.nn.gelu, approximate=False)
        else:
            function = getattr(jax.nn, name)
        x = np.float32(np.linspace(-40.0, 40.0, 160_001) + 1e-4)  # off the kinks
        steepest = np.abs(jax.jit(jax.vmap(jax.grad(lambda x: function(x))))(x)).max()
        constant = spectral.activation_lipschitz(name)
        assert steepest <= constant * (1 + 1e-5)
        assert steepest >= constant * (1 - 1e-3)  # squareplus is 6e-4 below 1 at 40

    @pytest.mark.parametrize(
        ("name", "parameter", "constant"),
        [("leaky_relu", 0.2, 1.0), ("leaky_relu", -3.0, 3.0), ("elu", 2.0, 2.0), ("elu", 0.5, 1.0)],
    )
    def test_parameters(self, name, parameter, constant):
        assert spectral.activation_lipschitz(name, parameter) == constant

    @pytest.mark.parametrize(
        ("window", "strides", "padding"),
        [(2, 2, "VALID"), (3, 2, "SAME"), (3, 1, "VALID"), ((3, 2), (1, 2), ((1, 2), (0, 1)))],
    )
    @pytest.mark.parametrize("count_include_pad", [True, False])
    def test_average_pools_against_their_matrix(self, window, strides, padding, count_include_pad):
        pair = (window, window) if isinstance(window, int) else window
        steps = (strides, strides) if isinstance(strides, int) else strides

        def pool(x):
            with jax.numpy_dtype_promotion("standard"):  # Flax divides by a whole number
                return nn.avg_pool(x[None], pair, steps, padding, count_include_pad)[0]

        expected = svd_norm(explicit(pool, (7, 6, 1)))
        found = spectral.average_pool_lipschitz((7, 6), window, strides, padding, count_include_pad)
        np.testing.assert_allclose(found, expected, rtol=1e-5)

    @pytest.mark.parametrize(
        ("window", "strides", "padding"),
        [(2, 2, "VALID"), (3, 2, "SAME"), (3, 1, "VALID"), ((3, 2), (1, 2), ((1, 2), (0, 1)))],
    )
    def test_max_pools_reach_their_constant_and_no_more(self, window, strides, padding):
        pair = (window, window) if isinstance(window, int) else window
        steps = (strides, strides) if isinstance(strides, int) else strides

        @jax.jit
        @jax.vmap
        def pooled(x):
            return nn.max_pool(x[None, :, :, None], pair, steps, padding).reshape(-1)

        constant = spectral.max_pool_lipschitz((7, 6), window, strides, padding)
        pixels = np.eye(42, dtype=np.float32).reshape(42, 7, 6)
        x, y = np.stack([normal(seed, (2, 7, 6)) for seed in range(20)], axis=1)
        outputs = np.asarray(pooled(np.concatenate([pixels, np.zeros((1, 7, 6), "f"), x, y])))
        pixels, flat, of_x, of_y = np.split(outputs, [42, 43, 63])
        reached = np.linalg.norm(pixels - flat, axis=1)
        np.testing.assert_allclose(max(reached), constant, rtol=1e-6)
        steepness = np.linalg.norm(of_x - of_y, axis=1) / np.linalg.norm(x - y, axis=(1, 2))
        assert (steepness <= constant * (1 + 1e-6)).all()

    def test_windows_without_overlap(self):
        assert spectral.max_pool_lipschitz((8, 8), 2) == 1.0
        np.testing.assert_allclose(spectral.average_pool_lipschitz((8, 8), 2), 0.5)
        assert spectral.max_pool_lipschitz((9,), 3, 1, dilation=2) == np.sqrt(3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spectral.init_basis(jax.random.key(0), jnp.ones((3, 5)), 4), r"k is 4, .* give 1 to 3"),
        (lambda: spectral.singular_values(jnp.ones((3, 5)), jnp.ones((3, 2))), r"u has shape \(3, 2\), .* by 1 to 3"),
        (lambda: spectral.orthogonal_iteration(jnp.ones((3, 5)), jnp.ones(5)), r"u has shape \(5,\)"),
        (lambda: spectral.operator_norm(lambda x: x, (0, 3)), r"shape is \(0, 3\); .* at least one input"),
        (lambda: spectral.operator_norm(lambda x: x, (3,), n_steps=-1), "n_steps is -1; give 0 or more"),
        (lambda: spectral.operator_norm_bounds(lambda x: x, (3,), n_steps=0), "n_steps is 0; .* at least one"),
        (lambda: spectral.operator_norm_bounds(lambda x: x, (3,), failure=0.0), "failure is 0.0, .* between 0 and 1"),
        (lambda: spectral.conv_norm(jnp.ones((3, 4)), ()), r"conv_norm takes a kernel .* got one of shape \(3, 4\)"),
        (lambda: spectral.conv_norm(jnp.ones((3, 3, 1, 4)), (8, 8, 1)), r"shape is \(8, 8, 1\), .* of 2 axes"),
        (lambda: spectral.conv_norm(jnp.ones((3, 3, 1, 4)), (8, 8), (1, 2, 1)), r"strides is \(1, 2, 1\), .* 2 axes"),
        (lambda: spectral.conv_transpose_norm(jnp.ones((3, 3, 1, 4)), (8, 8), dilation=0), "dilation is 0"),
        (lambda: spectral.conv_norm(jnp.ones((3, 3, 1, 4)), (8, 8), groups=3), "groups is 3, which .* divide the 4"),
        (lambda: spectral.activation_lipschitz("rellu"), r"no activation 'rellu' .*; did you mean 'relu'\?"),
        (lambda: spectral.activation_lipschitz("qqq"), "no activation 'qqq' .*; choose one of relu, "),
        (lambda: spectral.activation_lipschitz("tanh", 2.0), "parameter is 2.0, but 'tanh' has none"),
        (lambda: spectral.activation_lipschitz("celu", -2.0), "parameter is -2.0; celu's alpha is positive"),
        (lambda: spectral.max_pool_lipschitz((8, 8), 2, padding="CIRCULAR"), "padding is 'CIRCULAR'; give 'SAME'"),
        (lambda: spectral.max_pool_lipschitz((3, 3), 5), "a window of 5 pixels does not fit into 3"),
    ],
)  # fmt: skip
def test_errors_of_operators_and_constants(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def crossing_kernels(shape, steps, vectors, rng):
    """Singular values that go from (1, 0.9, ...) to (0.9, 1, ...) in so many steps; the leading one changes halfway."""
    n, m = shape
    k = min(shape)
    if vectors == "axes":
        left, right = np.eye(n, k), np.eye(m, k)
    else:
        left, right = (np.linalg.qr(rng.standard_normal((size, k)))[0] for size in shape)
    for t in np.linspace(0, 1, steps + 1):
        values = np.full(k, 0.5) if vectors != "crowd" else np.linspace(0.95, 0.85, k)
        values[:2] = 1 - 0.1 * t, 0.9 + 0.1 * t
        turn = np.eye(k)
        if vectors == "turning":
            turn[0, :2] = np.cos(t / 2), -np.sin(t / 2)
            turn[1, :2] = np.sin(t / 2), np.cos(t / 2)
        yield np.float32((left @ turn * values) @ right.T)


@pytest.mark.parametrize(
    "steps", [10, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 100, 1000))]
)
@pytest.mark.parametrize("vectors", ["axes", "random", "turning", "crowd"])
@pytest.mark.parametrize(
    ("iteration", "limit"), [(spectral.gram_iteration, 3e-4), (spectral.krylov_iteration, 1e-3)]
)
def test_sigma_follows_singular_values_that_cross(iteration, limit, vectors, steps):
    """From the leading vector on. `krylov_iteration` stayed at it: sigma was up to 10 % low, and did not recover."""

    def advance(u, w):
        u = iteration(w, u)
        return u, spectral.sigma(w, u)

    kernels = np.stack(list(crossing_kernels((36, 16), steps, vectors, np.random.default_rng(0))))
    norms = np.linalg.svd(np.float64(kernels), compute_uv=False)[:, 0]
    u = np.linalg.svd(kernels[0])[2][0]
    low = 1 - jax.jit(lambda u, kernels: jax.lax.scan(advance, u, kernels)[1])(u, kernels) / norms
    assert max(low) < limit
    assert np.mean(low) < 1e-5
