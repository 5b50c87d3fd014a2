"""Spectral normalisation against the SVD, finite differences and PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
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
        u = spectral.init_u(key, w, n_steps=300)
        np.testing.assert_allclose(spectral.sigma(w, u), svd_norm(matrix(kernel)), rtol=1e-3)
        normalised = spectral.normalised_kernel(jnp.asarray(kernel), u, kind, n_in)
        assert normalised.shape == kernel.shape
        np.testing.assert_allclose(svd_norm(matrix(np.asarray(normalised))), 1.0, rtol=1e-3)
        # It is W / sigma: every singular value is divided, none replaced.
        np.testing.assert_allclose(normalised * svd_norm(matrix(kernel)), kernel, rtol=2e-3)

    def test_gradient_against_the_papers_equation(self, kind, shape, n_in, matrix, key):
        # Eq. 12 with a linear loss <g, W / sigma>: (g - <g, W_SN> v u^T) / sigma.
        kernel, g = normal(1, shape), normal(2, shape)
        w = spectral.flatten_kernel(kernel, kind, n_in)
        u = spectral.init_u(key, w, n_steps=300)
        grad = jax.grad(
            lambda k: jnp.sum(g * spectral.normalised_kernel(k, u, kind, n_in)),
        )(jnp.asarray(kernel))
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
        new = spectral.power_iteration(w, u)
        np.testing.assert_allclose(new, np.float64([5, 4]) / np.sqrt(41), rtol=1e-6)
        np.testing.assert_allclose(spectral.sigma(w, u), 5.0, rtol=1e-6)  # ||W u||

    def test_steps_compose_and_zero_steps_do_nothing(self):
        w, u = normal(0, (9, 6)), normal(1, (6,))
        u = u / np.linalg.norm(u)
        once = spectral.power_iteration(w, u)
        np.testing.assert_allclose(
            spectral.power_iteration(w, u, 3),
            spectral.power_iteration(w, spectral.power_iteration(w, once)),
            rtol=1e-5,
        )
        np.testing.assert_array_equal(spectral.power_iteration(w, u, 0), u)

    def test_sigma_grows_towards_the_svd_from_below(self, key):
        w = normal(0, (64, 48))
        u, top, last = spectral.init_u(key, w, n_steps=0), svd_norm(w), 0.0
        for _ in range(60):
            value = float(spectral.sigma(w, u))
            assert last <= value * (1 + 1e-6)
            assert value <= top * (1 + 1e-6)
            last, u = value, spectral.power_iteration(w, u)
        np.testing.assert_allclose(last, top, rtol=1e-2)

    def test_u_is_a_unit_vector_and_carries_no_gradient(self, key):
        w = normal(0, (9, 6))
        u = spectral.init_u(key, w)
        np.testing.assert_allclose(np.linalg.norm(u), 1.0, rtol=1e-6)
        jacobian = jax.jacobian(lambda w: spectral.power_iteration(w, u, 2))(w)
        np.testing.assert_array_equal(jacobian, np.zeros((6, 9, 6)))

    def test_the_warm_up_is_long_enough(self, key):
        """Within 1 % on random kernels of the shapes GANs use, where 15 steps are not."""
        sigma = jax.jit(
            lambda w, n: spectral.sigma(w, spectral.init_u(key, w, n)), static_argnums=1
        )
        after = {15: [], spectral.INIT_STEPS: []}
        for shape in [(27, 64), (576, 64), (1152, 128), (192, 192), (128, 1), (64, 512)]:
            for seed in range(3):
                w = normal(seed, shape)
                top = svd_norm(w)
                for n_steps, errors in after.items():
                    errors.append(1 - float(sigma(w, n_steps)) / top)
        assert max(after[15]) > 0.03
        assert max(after[spectral.INIT_STEPS]) < 0.01


class TestSigma:
    def test_gradient_is_v_u_transposed(self, key):
        w = normal(0, (9, 6))
        u = spectral.init_u(key, w, 1)  # far from converged: it holds at every u
        v = np.float64(w) @ u
        v /= np.linalg.norm(v)
        grad = jax.grad(spectral.sigma)(w, u)
        np.testing.assert_allclose(grad, np.outer(v, u), rtol=1e-4, atol=1e-6)

    def test_gradients_against_finite_differences(self, key):
        # At convergence u and v are stationary, so holding them constant is exact.
        w = normal(0, (6, 4))
        u = spectral.init_u(key, w, 500)
        check_grads(lambda w: spectral.sigma(w, u), (w,), order=1, rtol=1e-2)
        check_grads(
            lambda w: spectral.normalised_kernel(w, u, "dense"), (w,), order=1, rtol=1e-2, atol=1e-2
        )

    def test_u_is_constant(self, key):
        w, u = normal(0, (6, 4)), spectral.init_u(key, normal(0, (6, 4)), 1)
        np.testing.assert_array_equal(jax.grad(spectral.sigma, argnums=1)(w, u), np.zeros(4))

    def test_zero_kernels_give_zeros_and_finite_gradients(self, key):
        zero = jnp.zeros((3, 3, 4, 8))
        w = spectral.flatten_kernel(zero, "conv")
        u = spectral.init_u(key, w)
        np.testing.assert_allclose(np.linalg.norm(u), 1.0, rtol=1e-6)  # ready for what comes
        assert spectral.sigma(w, u) == 0.0
        np.testing.assert_array_equal(jax.grad(spectral.sigma)(w, u), np.zeros_like(w))
        value, grad = jax.value_and_grad(
            lambda k: jnp.sum(spectral.normalised_kernel(k, u, "conv"))
        )(zero)
        assert value == 0.0
        np.testing.assert_array_equal(grad, np.ones_like(zero))

    @pytest.mark.parametrize("scale", [1e-6, 1e6])
    def test_is_homogeneous(self, scale, key):
        w = normal(0, (9, 6))
        u = spectral.init_u(key, w)
        np.testing.assert_allclose(
            spectral.sigma(w * np.float32(scale), u) / scale, spectral.sigma(w, u), rtol=1e-5
        )

    def test_bfloat16_kernels_have_float32_sigma(self, key):
        kernel = jnp.asarray(normal(0, (64, 48)), jnp.bfloat16)
        w = spectral.flatten_kernel(kernel, "dense")
        u = spectral.init_u(key, w, 300)
        assert u.dtype == jnp.float32
        value = spectral.sigma(w, u)
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, svd_norm(np.float32(kernel)), rtol=1e-3)
        assert spectral.normalised_kernel(kernel, u, "dense").dtype == jnp.bfloat16
        # The matrices given as they are.
        np.testing.assert_allclose(spectral.sigma(kernel, u), value, rtol=1e-6)
        np.testing.assert_allclose(spectral.power_iteration(kernel, u), u, atol=1e-2)

    def test_jit_and_vmap_agree_with_eager(self, key):
        w = normal(0, (3, 9, 6))
        u = jnp.stack([spectral.init_u(key, each, 2) for each in w])
        eager = [spectral.sigma(*each) for each in zip(w, u, strict=True)]
        np.testing.assert_allclose(jax.vmap(spectral.sigma)(w, u), eager, rtol=1e-6)
        np.testing.assert_allclose(jax.jit(spectral.sigma)(w[0], u[0]), eager[0], rtol=1e-6)
        steps = jax.jit(spectral.power_iteration, static_argnums=2)
        np.testing.assert_allclose(
            steps(w[0], u[0], 4), spectral.power_iteration(w[0], u[0], 4), rtol=1e-5
        )

    def test_a_kernel_sharded_over_eight_devices_has_the_same_sigma(self, key):
        w = normal(0, (64, 48))
        u = spectral.init_u(key, w, 1)
        mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
        rows = jax.device_put(w, NamedSharding(mesh, PartitionSpec("data")))
        whole = jax.device_put(u, NamedSharding(mesh, PartitionSpec()))
        np.testing.assert_allclose(
            jax.jit(spectral.sigma)(rows, whole), spectral.sigma(w, u), rtol=1e-6
        )
        np.testing.assert_allclose(
            jax.jit(spectral.power_iteration)(rows, whole),
            spectral.power_iteration(w, u),
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
            "kernel": lambda: jnp.asarray(to_kernel(inner.original.detach().numpy().copy())),
        }
        return torch, layer, inner, state, kind, to_kernel

    def test_fifty_steps_of_iteration_from_its_u(self, name):
        """Each goes its own way for 50 steps on a fixed kernel: u, sigma and W / sigma agree."""
        _, layer, _, state, kind, to_kernel = self.build(name)
        u, kernel = state["u"](), state["kernel"]()
        w = spectral.flatten_kernel(kernel, kind)
        for _ in range(50):
            theirs = to_kernel(layer.weight.detach().numpy())  # iterates: it is in train mode
            u = spectral.power_iteration(w, u)
            assert np.abs(u - state["u"]()).max() <= 1e-5
            ours = spectral.normalised_kernel(kernel, u, kind)
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
            return jnp.sum((spectral.normalised_kernel(kernel, u, kind) - target) ** 2)

        for _ in range(50):
            optimiser.zero_grad()
            kernel = state["kernel"]()
            weight = layer.weight
            ((weight - target) ** 2).sum().backward()
            grad = jax.grad(loss)(kernel, state["u"](), jnp.asarray(to_kernel(target.numpy())))
            ours = spectral.normalised_kernel(kernel, state["u"](), kind)
            for mine, theirs in (
                (ours, weight.detach().numpy()),
                (grad, inner.original.grad.numpy()),
            ):
                theirs = to_kernel(theirs)
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
        got = spectral.krylov_iteration(jnp.float32(w), jnp.float32(u), n_steps)
        np.testing.assert_allclose(np.linalg.norm(got), 1, rtol=1e-6)
        # Two nearly equal Ritz values may mix: sigma is what has to be right.
        np.testing.assert_allclose(spectral.sigma(jnp.float32(w), got), best, rtol=2e-5)

    def test_never_worse_than_power_iteration(self):
        w, u = self.near_degenerate(), self.start()
        for n in (1, 3, 8):
            power = spectral.sigma(w, spectral.power_iteration(w, u, n))
            assert spectral.sigma(w, spectral.krylov_iteration(w, u, n)) >= power - 1e-6

    def test_it_leaves_a_vector_that_is_no_longer_the_largest(self):
        """The state of a tracker when two singular values have just crossed."""
        w = self.near_degenerate(0.97)
        _, _, rows = np.linalg.svd(w)
        u = np.float32(rows[1] + 0.03 * rows[0])
        u /= np.linalg.norm(u)
        assert spectral.sigma(w, spectral.power_iteration(w, u, 8)) < 0.971
        np.testing.assert_allclose(
            spectral.sigma(w, spectral.krylov_iteration(w, u, 8)), 1, rtol=1e-4
        )

    @pytest.mark.parametrize("shape", [(5, 1), (1, 5), (3, 3), (64, 6)])
    def test_small_and_exhausted_spaces(self, shape):
        w = normal(0, shape)
        u = spectral.krylov_iteration(w, self.start(shape[1]), 8)
        np.testing.assert_allclose(spectral.sigma(w, u), svd_norm(w), rtol=1e-4)

    def test_converged_and_scaled(self):
        w = self.near_degenerate(0.5)
        for scale in (1e-6, 1.0, 1e6):
            u = self.start()
            for _ in range(3):
                u = spectral.krylov_iteration(w * np.float32(scale), u, 8)
            np.testing.assert_allclose(spectral.sigma(w * np.float32(scale), u), scale, rtol=1e-5)

    def test_zeros_keep_u(self):
        u = self.start()
        kept = spectral.krylov_iteration(jnp.zeros((24, 16)), u, 8)
        np.testing.assert_allclose(kept, u, atol=1e-6)

    def test_no_gradient_and_jit(self):
        w, u = self.near_degenerate(), self.start()
        gradient = jax.grad(lambda w: spectral.krylov_iteration(w, u, 4).sum())(jnp.asarray(w))
        assert not gradient.any()
        jitted = jax.jit(spectral.krylov_iteration, static_argnums=2)(w, u, 4)
        np.testing.assert_allclose(jitted, spectral.krylov_iteration(w, u, 4), atol=1e-5)
