"""Objectives against hand values, NumPy written from the papers, finite differences and PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxgan import losses

OBJECTIVES = [losses.by_name(name) for name in losses.NAMES]


def log_sigmoid(x):
    return -np.logaddexp(0.0, -x)


def against_averages(real_term, fake_term):
    """E real_term(C(x) - E C(x')) + E fake_term(C(x') - E C(x))."""
    return lambda r, f: np.mean(real_term(r - f.mean())) + np.mean(fake_term(f - r.mean()))


# float64 NumPy, from the papers' own formulas: name -> (critic(real, fake), generator(real, fake)).
REFERENCE = {
    # max_D E log D(x) + E log(1 - D(G(z))); G minimises the second term.
    "minimax": (
        lambda r, f: -np.mean(log_sigmoid(r)) - np.mean(log_sigmoid(-f)),
        lambda r, f: np.mean(log_sigmoid(-f)),
    ),
    # The same critic; G maximises E log D(G(z)).
    "non_saturating": (
        lambda r, f: -np.mean(log_sigmoid(r)) - np.mean(log_sigmoid(-f)),
        lambda r, f: -np.mean(log_sigmoid(f)),
    ),
    "least_squares": (
        lambda r, f: 0.5 * np.mean((r - 1.0) ** 2) + 0.5 * np.mean(f**2),
        lambda r, f: 0.5 * np.mean((f - 1.0) ** 2),
    ),
    "wasserstein": (lambda r, f: np.mean(f) - np.mean(r), lambda r, f: -np.mean(f)),
    # SN-GAN, Eq. 16: max_D E min(0, -1 + D(x)) + E min(0, -1 - D(G(z))).
    "hinge": (
        lambda r, f: -np.mean(np.minimum(0, -1 + r)) - np.mean(np.minimum(0, -1 - f)),
        lambda r, f: -np.mean(f),
    ),
    # RSGAN: -E log sigmoid(C(x) - C(x')), and the same with both exchanged.
    "relativistic_paired": (
        lambda r, f: -np.mean(log_sigmoid(r - f)),
        lambda r, f: -np.mean(log_sigmoid(f - r)),
    ),
    # RaSGAN: D~(x) = sigmoid(C(x) - E C(x')); -E log D~(x) - E log(1 - D~(x')), then exchanged.
    "relativistic_average": (
        against_averages(lambda d: -log_sigmoid(d), lambda d: -log_sigmoid(-d)),
        against_averages(lambda d: -log_sigmoid(-d), lambda d: -log_sigmoid(d)),
    ),
    "relativistic_average_least_squares": (
        against_averages(lambda d: (d - 1) ** 2, lambda d: (d + 1) ** 2),
        against_averages(lambda d: (d + 1) ** 2, lambda d: (d - 1) ** 2),
    ),
    "relativistic_average_hinge": (
        against_averages(lambda d: np.maximum(0, 1 - d), lambda d: np.maximum(0, 1 + d)),
        against_averages(lambda d: np.maximum(0, 1 + d), lambda d: np.maximum(0, 1 - d)),
    ),
}

# At logits real = [2, 0], fake = [-1, 3]. s(x) = softplus: s(0) = 0.693147, s(-2) = 0.126928,
# s(-1) = 0.313262, s(1) = 1.313262, s(3) = 3.048587, s(-3) = 0.048587.
HAND = {
    "minimax": ((0.126928 + 0.693147 + 0.313262 + 3.048587) / 2, -(0.313262 + 3.048587) / 2),
    "non_saturating": ((0.126928 + 0.693147 + 0.313262 + 3.048587) / 2, (1.313262 + 0.048587) / 2),
    "least_squares": ((1 + 1) / 4 + (1 + 9) / 4, (4 + 4) / 4),
    "wasserstein": (1.0 - 1.0, -1.0),
    "hinge": ((0 + 1) / 2 + (0 + 4) / 2, -1.0),
    # Differences 3 and -3.
    "relativistic_paired": ((0.048587 + 3.048587) / 2, (3.048587 + 0.048587) / 2),
    # Both averages are 1: real - 1 = [1, -1], fake - 1 = [-2, 2].
    "relativistic_average": (
        (0.313262 + 1.313262) / 2 + (0.126928 + 2.126928) / 2,
        (1.313262 + 0.313262) / 2 + (2.126928 + 0.126928) / 2,
    ),
    "relativistic_average_least_squares": ((0 + 4) / 2 + (1 + 9) / 2, (4 + 0) / 2 + (9 + 1) / 2),
    "relativistic_average_hinge": ((0 + 2) / 2 + (0 + 3) / 2, (2 + 0) / 2 + (3 + 0) / 2),
}


def logits(seed, shape, scale=3.0):
    return np.asarray(scale * np.random.default_rng(seed).standard_normal(shape), np.float32)


def test_every_objective_has_a_reference_and_a_hand_value():
    assert set(losses.NAMES) == set(REFERENCE) == set(HAND)
    assert [objective.__name__ for objective in OBJECTIVES] == list(losses.NAMES)


@pytest.mark.parametrize("objective", OBJECTIVES)
class TestEveryObjective:
    def test_hand_values(self, objective):
        real, fake = jnp.array([2.0, 0.0]), jnp.array([-1.0, 3.0])
        critic, generator = HAND[objective.__name__]
        np.testing.assert_allclose(objective.critic(real, fake), critic, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(objective.generator(fake, real), generator, rtol=1e-5)

    @pytest.mark.parametrize("shape", [(7,), (7, 1), (7, 5, 4, 1), (1,), (1, 1)])
    def test_matches_the_papers_formula(self, objective, shape):
        real, fake = logits(0, shape), logits(1, shape)
        critic, generator = REFERENCE[objective.__name__]
        np.testing.assert_allclose(
            objective.critic(real, fake),
            critic(real.astype(np.float64), fake.astype(np.float64)),
            rtol=2e-6,
            atol=1e-6,
        )
        np.testing.assert_allclose(
            objective.generator(fake, real),
            generator(real.astype(np.float64), fake.astype(np.float64)),
            rtol=2e-6,
            atol=1e-6,
        )

    def test_gradients_against_finite_differences(self, objective):
        # Away from the hinge's kinks at -1 and 1.
        real, fake = jnp.array([0.3, -2.0, 4.0]), jnp.array([0.5, -3.0, 1.7])
        check_grads(objective.critic, (real, fake), order=2, rtol=1e-2, atol=1e-2, eps=1e-2)
        check_grads(objective.generator, (fake, real), order=2, rtol=1e-2, atol=1e-2, eps=1e-2)

    @pytest.mark.parametrize("real", [-1e4, 1e4])
    @pytest.mark.parametrize("fake", [-1e4, 1e4])
    def test_extreme_logits_are_exact_with_finite_gradients(self, objective, real, fake):
        critic, generator = REFERENCE[objective.__name__]
        real, fake = np.float64([real]), np.float64([fake])
        value, grads = jax.value_and_grad(objective.critic, argnums=(0, 1))(
            jnp.float32(real), jnp.float32(fake)
        )
        np.testing.assert_allclose(value, critic(real, fake), rtol=1e-6)
        assert np.isfinite(grads).all()
        value, grads = jax.value_and_grad(objective.generator, argnums=(0, 1))(
            jnp.float32(fake), jnp.float32(real)
        )
        np.testing.assert_allclose(value, generator(real, fake), rtol=1e-6)
        assert np.isfinite(grads).all()

    @pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
    def test_arithmetic_and_result_are_float32(self, objective, dtype):
        # 1000 values whose mean bfloat16 arithmetic would lose.
        real, fake = (jnp.asarray(logits(seed, (1000,)), dtype) for seed in (0, 1))
        critic, generator = REFERENCE[objective.__name__]
        value = objective.critic(real, fake)
        assert value.dtype == jnp.float32
        assert value.shape == ()
        np.testing.assert_allclose(value, critic(np.float64(real), np.float64(fake)), rtol=1e-5)
        value = objective.generator(fake, real)
        assert value.dtype == jnp.float32
        assert value.shape == ()
        np.testing.assert_allclose(value, generator(np.float64(real), np.float64(fake)), rtol=1e-5)

    def test_jit_and_vmap_agree_with_eager(self, objective):
        real, fake = logits(0, (3, 8, 1)), logits(1, (3, 8, 1))
        each = [objective.critic(r, f) for r, f in zip(real, fake, strict=True)]
        np.testing.assert_allclose(jax.jit(objective.critic)(real[0], fake[0]), each[0], rtol=1e-6)
        np.testing.assert_allclose(jax.vmap(objective.critic)(real, fake), each, rtol=1e-6)
        each = [objective.generator(f, r) for r, f in zip(real, fake, strict=True)]
        np.testing.assert_allclose(
            jax.jit(objective.generator)(fake[0], real[0]), each[0], rtol=1e-6
        )
        np.testing.assert_allclose(jax.vmap(objective.generator)(fake, real), each, rtol=1e-6)

    def test_batch_sizes_may_differ_unless_samples_are_paired(self, objective):
        real, fake = logits(0, (4,)), logits(1, (8,))
        if objective is losses.relativistic_paired:
            with pytest.raises(
                ValueError, match=r"in pairs, but real_logits have shape \(4,\) and"
            ):
                objective.critic(real, fake)
            return
        critic, generator = REFERENCE[objective.__name__]
        real64, fake64 = np.float64(real), np.float64(fake)
        np.testing.assert_allclose(objective.critic(real, fake), critic(real64, fake64), rtol=1e-5)
        value = objective.generator(fake, real)
        np.testing.assert_allclose(value, generator(real64, fake64), rtol=1e-5)

    def test_only_those_that_compare_need_real_logits(self, objective):
        if not objective.compares:
            assert objective.generator(np.ones(3)) == objective.generator(np.ones(3), np.zeros(3))
            return
        message = rf"{objective.__name__}.generator compares .* real ones; give it real_logits"
        with pytest.raises(ValueError, match=message):
            objective.generator(np.ones(3))

    def test_eight_devices_give_the_same(self, objective):
        mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
        split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
        real, fake = logits(0, (16, 2, 2, 1)), logits(1, (16, 2, 2, 1))
        sharded = jax.device_put((real, fake), split)
        value = jax.jit(objective.critic)(*sharded)
        np.testing.assert_allclose(value, objective.critic(real, fake), rtol=1e-6)
        value = jax.jit(objective.generator)(*sharded[::-1])
        np.testing.assert_allclose(value, objective.generator(fake, real), rtol=1e-6)

    def test_scales_are_averaged(self, objective):
        real = [logits(0, (4, 8, 8, 1)), logits(1, (4, 2, 2, 1))]
        fake = [logits(2, (4, 8, 8, 1)), logits(3, (4, 2, 2, 1))]
        each = [objective.critic(r, f) for r, f in zip(real, fake, strict=True)]
        np.testing.assert_allclose(objective.critic(real, fake), np.mean(each), rtol=1e-5)
        each = [objective.generator(f, r) for r, f in zip(real, fake, strict=True)]
        value = objective.generator(tuple(fake), tuple(real))
        np.testing.assert_allclose(value, np.mean(each), rtol=1e-5)

    @pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 3, 2, 1)])
    def test_a_sample_mask_gives_the_loss_of_the_kept_samples(self, objective, shape):
        real, fake = logits(0, shape), logits(1, shape)
        keep = np.array([True, False, True, True, False, True])
        real[~keep], fake[~keep] = np.nan, np.nan  # what padding may hold
        value, grads = jax.value_and_grad(objective.critic, argnums=(0, 1))(real, fake, keep)
        expected, kept = jax.value_and_grad(objective.critic, argnums=(0, 1))(
            real[keep], fake[keep]
        )
        np.testing.assert_allclose(value, expected, rtol=1e-6)
        for grad, of_kept in zip(grads, kept, strict=True):
            np.testing.assert_allclose(grad[keep], of_kept, rtol=1e-6)
            assert not np.any(grad[~keep])
        value = objective.generator(fake, real, where=keep)
        np.testing.assert_allclose(value, objective.generator(fake[keep], real[keep]), rtol=1e-6)

    def test_an_entry_mask_and_masks_per_scale(self, objective):
        fake = [logits(0, (3, 4, 4, 1)), logits(1, (3, 2, 2, 1))]
        masks = [np.random.default_rng(i).random(f.shape) < 0.5 for i, f in enumerate(fake)]
        real = [logits(2, (3, 4, 4, 1)), logits(3, (3, 2, 2, 1))]
        each = [objective.generator(f[m], r[m]) for f, r, m in zip(fake, real, masks, strict=True)]
        value = objective.generator(fake, real, where=masks)
        np.testing.assert_allclose(value, np.mean(each), rtol=1e-5)
        keep = np.array([True, False, True])
        np.testing.assert_allclose(
            objective.critic(real, fake, where=keep),
            objective.critic([r[keep] for r in real], [f[keep] for f in fake]),
            rtol=1e-5,
            atol=1e-6,
        )

    def test_shapes_that_would_broadcast_are_refused(self, objective):
        with pytest.raises(
            ValueError, match=r"real_logits have shape \(4,\) and fake_logits \(4, "
        ):
            objective.critic(np.zeros(4), np.zeros((4, 1)))
        with pytest.raises(ValueError, match=r"only the batch sizes may differ"):
            objective.critic(np.zeros((4, 8, 8, 1)), np.zeros((4, 4, 4, 1)))


def test_an_empty_mask_is_the_mean_of_nothing():
    assert np.isnan(losses.hinge.generator(jnp.ones(2), where=np.array([False, False])))


def test_least_squares_takes_the_papers_codes():
    real, fake = logits(0, (5,)), logits(1, (5,))
    # Eq. 8: a = -1, b = 1, c = 0.
    expected = 0.5 * np.mean((real - 1) ** 2) + 0.5 * np.mean((fake + 1) ** 2)
    value = losses.least_squares.critic(real, fake, a=-1.0, b=1.0)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    value = losses.least_squares.generator(fake, c=0.0)
    np.testing.assert_allclose(value, 0.5 * np.mean(fake**2), rtol=1e-6)


def test_the_minimax_value_at_the_optimum_is_minus_two_log_two():
    # Goodfellow et al., Theorem 1: p_g = p_r, so D* = 1/2 and the logits are 0.
    np.testing.assert_allclose(
        -losses.minimax.critic(jnp.zeros(3), jnp.zeros(3)), -2 * np.log(2.0), rtol=1e-6
    )


def test_only_the_minimax_generator_saturates():
    sure = jnp.array([-20.0])  # the critic is sure that the sample is fake
    assert abs(jax.grad(losses.minimax.generator)(sure)[0]) < 1e-8
    np.testing.assert_allclose(jax.grad(losses.non_saturating.generator)(sure), [-1.0], rtol=1e-6)


def test_the_hinge_ignores_samples_beyond_its_margin():
    grads = jax.grad(losses.hinge.critic, argnums=(0, 1))(jnp.array([1.5]), jnp.array([-1.5]))
    assert not np.any(grads)


def test_parity_with_pytorch():
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    real, fake = logits(0, (64,)), logits(1, (64,))
    t_real, t_fake = torch.tensor(real), torch.tensor(fake)
    bce = functional.binary_cross_entropy_with_logits
    ones, zeros = torch.ones(64), torch.zeros(64)
    pairs = [
        (losses.minimax.critic(real, fake), bce(t_real, ones) + bce(t_fake, zeros)),
        (losses.minimax.generator(fake), -bce(t_fake, zeros)),
        (losses.non_saturating.generator(fake), bce(t_fake, ones)),
        (
            losses.least_squares.critic(real, fake),
            0.5 * functional.mse_loss(t_real, ones) + 0.5 * functional.mse_loss(t_fake, zeros),
        ),
        (losses.least_squares.generator(fake), 0.5 * functional.mse_loss(t_fake, ones)),
        (
            losses.hinge.critic(real, fake),
            functional.relu(1 - t_real).mean() + functional.relu(1 + t_fake).mean(),
        ),
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.by_name("hinje"), r"no loss named 'hinje'; did you mean 'hinge'\?"),
        (lambda: losses.by_name("xyz"), r"no loss named 'xyz'; choose one of minimax, "),
        (lambda: losses.hinge.generator([]), r"fake_logits is an empty list; give at least one"),
        (lambda: losses.hinge.critic([], []), r"real_logits is an empty list"),
        (
            lambda: losses.hinge.critic([np.zeros(2)], [np.zeros(2)] * 2),
            r"real_logits have 1 scales and fake_logits 2; give both as the same critic",
        ),
        (lambda: losses.hinge.generator(np.zeros((0, 1))), r"shape \(0, 1\), which holds no batch"),
        (lambda: losses.hinge.generator(np.float32(1)), r"shape \(\), which holds no batch"),
        (
            lambda: losses.hinge.generator(np.zeros((4, 1)), where=np.ones(3, bool)),
            r"where has shape \(3,\) and fake_logits \(4, 1\); give a mask of shape \(4,\)",
        ),
        (
            lambda: losses.hinge.generator(np.zeros(4), where=np.ones(4, np.float32)),
            r"where has dtype float32; give a boolean mask",
        ),
        (
            lambda: losses.hinge.generator([np.zeros(4)] * 3, where=[np.ones(4, bool)] * 2),
            r"where has 2 masks for 3 scales of fake_logits; give one per scale",
        ),
    ],
)
def test_errors_say_what_was_wrong_and_how_to_mend_it(call, message):
    with pytest.raises(ValueError, match=message):
        call()
