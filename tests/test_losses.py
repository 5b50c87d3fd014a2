"""Shapes, masks and scales of the adversarial objectives; the battery for all losses is in `test_table.py`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from table.losses import OBJECTIVES as REFERENCE

from jaxgan import losses

OBJECTIVES = [losses.by_name(name) for name in losses.NAMES]


def logits(seed, shape, scale=3.0):
    return np.asarray(scale * np.random.default_rng(seed).standard_normal(shape), np.float32)


def test_names_are_the_objectives_own():
    assert [objective.__name__ for objective in OBJECTIVES] == list(losses.NAMES)
    assert set(losses.NAMES) == set(REFERENCE)


@pytest.mark.parametrize("objective", OBJECTIVES)
class TestEveryObjective:
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
            np.testing.assert_allclose(grad[keep], of_kept, rtol=1e-6, atol=1e-7)
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
            r"real_logits have 1 scales and fake_logits 2; both must come from the same critic",
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


def torch_pairs(torch, real, fake):
    """name -> (critic's, generator's loss), of PyTorch's own losses where it has one."""
    functional = torch.nn.functional
    ones, zeros = torch.ones_like(real), torch.zeros_like(real)

    def bce(logits, target):
        return functional.binary_cross_entropy_with_logits(logits, target)

    def soft_margin(x):  # log(1 + exp(-x)) for targets 1
        return functional.soft_margin_loss(x, ones)

    def hinge(x):  # max(0, 1 - x) for targets -1
        return functional.hinge_embedding_loss(x, -ones)

    r, f = real - fake.mean(), fake - real.mean()
    both = bce(real, ones) + bce(fake, zeros)
    return {
        "minimax": (both, -bce(fake, zeros)),
        "non_saturating": (both, bce(fake, ones)),
        "least_squares": (
            0.5 * (functional.mse_loss(real, ones) + functional.mse_loss(fake, zeros)),
            0.5 * functional.mse_loss(fake, ones),
        ),
        "wasserstein": (fake.mean() - real.mean(), -fake.mean()),
        "hinge": (hinge(real) + hinge(-fake), -fake.mean()),
        "relativistic_paired": (soft_margin(real - fake), soft_margin(fake - real)),
        "relativistic_average": (bce(r, ones) + bce(f, zeros), bce(r, zeros) + bce(f, ones)),
        "relativistic_average_least_squares": (
            functional.mse_loss(r, ones) + functional.mse_loss(f, -ones),
            functional.mse_loss(r, -ones) + functional.mse_loss(f, ones),
        ),
        "relativistic_average_hinge": (hinge(r) + hinge(-f), hinge(-r) + hinge(f)),
    }


@pytest.mark.parametrize("name", losses.NAMES)
def test_values_and_gradients_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    real, fake = logits(0, (16,)), logits(1, (16,))
    t_real, t_fake = (torch.tensor(x, requires_grad=True) for x in (real, fake))
    objective = losses.by_name(name)
    ours = (objective.critic, lambda real, fake: objective.generator(fake, real))
    for loss, theirs in zip(ours, torch_pairs(torch, t_real, t_fake)[name], strict=True):
        value, grads = jax.value_and_grad(loss, (0, 1))(real, fake)
        np.testing.assert_allclose(value, theirs.item(), rtol=1e-5, atol=1e-6)
        t_grads = torch.autograd.grad(
            theirs, (t_real, t_fake), retain_graph=True, allow_unused=True
        )
        for grad, t in zip(grads, t_grads, strict=True):
            expected = np.zeros(16) if t is None else t.numpy()
            np.testing.assert_allclose(grad, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["minimax", "non_saturating", "least_squares", "wasserstein"])
def test_the_public_formulas_of_tf_gan(name):
    """`tfgan.losses`, as its documentation states them: sigmoid cross-entropies, unsmoothed."""
    real, fake = np.float64(logits(0, (16,))), np.float64(logits(1, (16,)))
    d_real, d_fake = 1 / (1 + np.exp(-real)), 1 / (1 + np.exp(-fake))
    critic = -np.log(d_real).mean() - np.log1p(-d_fake).mean()
    expected = {
        # minimax_*_loss: the generator's is minus the critic's part on generated samples.
        "minimax": (critic, np.log1p(-d_fake).mean()),
        # modified_*_loss.
        "non_saturating": (critic, -np.log(d_fake).mean()),
        "least_squares": (
            (0.5 * (real - 1) ** 2).mean() + (0.5 * fake**2).mean(),
            (0.5 * (fake - 1) ** 2).mean(),
        ),
        "wasserstein": (fake.mean() - real.mean(), -fake.mean()),
    }
    objective = losses.by_name(name)
    value = objective.critic(real, fake), objective.generator(fake, real)
    np.testing.assert_allclose(value, expected[name], rtol=1e-5)
