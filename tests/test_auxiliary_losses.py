"""Every loss beside the adversarial ones: hand values, NumPy from the papers, and what holds for all."""

import functools
import inspect
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxgan import losses


class Case(NamedTuple):
    draw: object  # (rng, batch) -> arguments
    reference: object  # float64 NumPy
    hand: tuple  # (arguments, value)
    differentiable: tuple[int, ...]  # arguments
    masked: bool = False


def normal(*shapes):
    def draw(rng, batch):
        return tuple(rng.standard_normal((batch, *s)).astype(np.float32) for s in shapes)

    return draw


def classes(k):
    def draw(rng, batch):
        logits = 3 * rng.standard_normal((batch, k)).astype(np.float32)
        return logits, rng.integers(0, k, batch).astype(np.int32)

    return draw


def cross_entropy(logits, labels):
    chosen = logits[np.arange(len(labels)), labels]
    return np.mean(np.log(np.exp(logits).sum(1)) - chosen)


def crammer_singer(logits, labels):
    margins = []
    for row, y in zip(logits, labels, strict=True):
        margins.append(max(0.0, 1 - row[y] + np.delete(row, y).max()))
    return np.mean(margins)


def gaussian(mean, log_variance, codes):
    density = np.exp(-((codes - mean) ** 2) / (2 * np.exp(log_variance)))
    density /= np.sqrt(2 * np.pi * np.exp(log_variance))
    return np.mean(-np.log(density).sum(1))


def conditional_contrast(h, e, y, t=1.0):
    h, e = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (h, e))
    total = 0.0
    for i in range(len(h)):
        proxy = np.exp(h[i] @ e[i] / t)
        others = [k for k in range(len(h)) if k != i]
        pull = sum(np.exp(h[i] @ h[k] / t) for k in others if y[k] == y[i])
        push = sum(np.exp(h[i] @ h[k] / t) for k in others)
        total -= np.log((proxy + pull) / (proxy + push))
    return total / len(h)


def contrast_arguments(rng, batch):
    h, e = normal((5,), (5,))(rng, batch)
    return h, e, rng.integers(0, 3, batch).astype(np.int32)


def layers(x):
    return [x, jnp.tanh(x[:, :2])]


def perceptual(generated, target):
    return losses.perceptual(layers, generated, target, weights=(0.5, 2.0))


def perceptual_reference(a, b):
    return 0.5 * np.mean((a - b) ** 2) + 2 * np.mean((np.tanh(a[:, :2]) - np.tanh(b[:, :2])) ** 2)


def absolute(a, b):
    return np.mean(np.abs(a - b))


def square(a, b):
    return np.mean((a - b) ** 2)


LN2 = np.log(2.0)
PICTURES = normal((4, 4, 3), (4, 4, 3))
CASES = {
    "auxiliary_classifier": Case(
        classes(4), cross_entropy, (([[0.0, LN2]], [1]), np.log(1.5)), (0,), True
    ),
    "categorical_code": Case(
        classes(3), cross_entropy, (([[0.0, LN2]], [0]), np.log(3.0)), (0,), True
    ),
    "multiclass_hinge": Case(
        classes(4), crammer_singer, (([[1.0, 3.0], [5.0, 0.0]], [0, 0]), 1.5), (0,), True
    ),
    "gaussian_code": Case(
        normal((3,), (3,), (3,)),
        gaussian,
        (([[0.0]], [[np.log(4.0)]], [[2.0]]), 0.5 * (np.log(2 * np.pi) + np.log(4.0) + 1)),
        (0, 1, 2),
        True,
    ),
    "feature_matching": Case(
        normal((2, 3), (2, 3)),
        lambda a, b: np.sum((a.mean(0) - b.mean(0)) ** 2),
        (([[1.0], [3.0]], [[4.0]]), 4.0),
        (0, 1),
    ),
    "paired_feature_matching": Case(
        PICTURES, absolute, (([[1.0, 2.0]], [[0.0, 5.0]]), 2.0), (0, 1)
    ),
    "perceptual": Case(
        normal((3,), (3,)),
        perceptual_reference,
        (([[1.0, 0.0]], [[0.0, 0.0]]), 0.5 * 0.5 + 2.0 * np.tanh(1.0) ** 2 / 2),
        (0, 1),
    ),
    "cycle": Case(PICTURES, absolute, (([[1.0, 2.0]], [[0.0, 5.0]]), 2.0), (0, 1)),
    "identity": Case(PICTURES, absolute, (([[1.0, 2.0]], [[0.0, 5.0]]), 2.0), (0, 1)),
    "vq_codebook": Case(PICTURES, square, (([[1.0, 2.0]], [[0.0, 5.0]]), 5.0), (1,)),
    "vq_commitment": Case(PICTURES, square, (([[1.0, 2.0]], [[0.0, 5.0]]), 5.0), (0,)),
    # Both of one class, at a right angle, each on its proxy: nothing to push away.
    "contrastive_2c": Case(
        contrast_arguments,
        conditional_contrast,
        ((np.eye(2), np.eye(2), [0, 0]), 0.0),
        (0, 1),
    ),
}


def loss(name):
    return perceptual if name == "perceptual" else getattr(losses, name)


def arrays(arguments):
    return tuple(
        jnp.asarray(a, jnp.int32 if np.asarray(a).dtype.kind == "i" else jnp.float32)
        for a in arguments
    )


def draw(name, batch=8, seed=0):
    return CASES[name].draw(np.random.default_rng(seed), batch)


def double(arguments):
    return [a.astype(np.float64) if a.dtype.kind == "f" else a for a in arguments]


def test_every_public_loss_is_tested():
    functions = {n for n in losses.__all__ if inspect.isfunction(getattr(losses, n))}
    assert functions - {"by_name"} == set(CASES)
    assert set(losses.__all__) - functions - {"NAMES"} == set(losses.NAMES)


@pytest.mark.parametrize("name", CASES)
class TestEveryLoss:
    def test_hand_value(self, name):
        arguments, value = CASES[name].hand
        np.testing.assert_allclose(loss(name)(*arrays(arguments)), value, rtol=1e-6, atol=1e-7)

    @pytest.mark.parametrize("batch", [1, 8])
    def test_matches_the_papers_formula(self, name, batch):
        arguments = draw(name, batch)
        expected = CASES[name].reference(*double(arguments))
        value = loss(name)(*arguments)
        assert value.dtype == jnp.float32
        assert value.shape == ()
        np.testing.assert_allclose(value, expected, rtol=2e-6, atol=1e-6)

    def test_gradients_against_finite_differences(self, name):
        arguments = draw(name, 3, seed=4)
        which = CASES[name].differentiable
        if CASES[name].reference is absolute:  # away from the kink
            a, b = arguments
            arguments = (a + 0.1 * np.sign(a - b), b)

        def of(*chosen):
            full = list(arguments)
            for i, value in zip(which, chosen, strict=True):
                full[i] = value
            return loss(name)(*full)

        chosen = [jnp.asarray(arguments[i]) for i in which]
        # As large an eps as float32 needs.
        check_grads(of, chosen, order=1, eps=1e-2, rtol=2e-2, atol=2e-3)

    @pytest.mark.parametrize("scale", [0.0, 1e4])
    def test_extreme_inputs_keep_value_and_gradient_finite(self, name, scale):
        if name == "gaussian_code":
            mean, log_variance, codes = draw(name)
            arguments = (scale * mean, log_variance, codes)  # variances of e^10000 are none
        else:
            arguments = [a * np.float32(scale) if a.dtype.kind == "f" else a for a in draw(name)]
        value, grads = jax.value_and_grad(loss(name), CASES[name].differentiable)(*arguments)
        assert np.isfinite(value)
        assert all(np.isfinite(g).all() for g in grads)

    def test_bfloat16_is_summed_in_float32(self, name):
        arguments = [
            jnp.asarray(a, jnp.bfloat16) if a.dtype.kind == "f" else a for a in draw(name, 64)
        ]
        value = loss(name)(*arguments)
        rounded = [
            np.asarray(a.astype(jnp.float32)) if a.dtype.kind != "i" else a for a in arguments
        ]
        assert value.dtype == jnp.float32
        rtol = 1e-2 if name == "perceptual" else 1e-5  # whose features are the caller's
        np.testing.assert_allclose(
            value, CASES[name].reference(*double(rounded)), rtol=rtol, atol=1e-6
        )

    def test_jit_vmap_and_eight_devices_agree_with_eager(self, name):
        batches = [draw(name, 16, seed) for seed in range(3)]
        each = [loss(name)(*b) for b in batches]
        np.testing.assert_allclose(jax.jit(loss(name))(*batches[0]), each[0], rtol=1e-5, atol=1e-7)
        stacked = [np.stack(a) for a in zip(*batches, strict=True)]
        np.testing.assert_allclose(jax.vmap(loss(name))(*stacked), each, rtol=1e-5, atol=1e-7)
        mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
        split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
        value = jax.jit(loss(name))(*jax.device_put(batches[0], split))
        np.testing.assert_allclose(value, each[0], rtol=1e-5, atol=1e-7)

    def test_masks(self, name):
        if not CASES[name].masked:
            assert "where" not in inspect.signature(loss(name)).parameters
            return
        arguments = draw(name, 4)
        keep = np.array([True, False, True, False])
        for a in arguments:
            if a.dtype.kind == "f":
                a[~keep] = np.nan
        masked = functools.partial(loss(name), where=keep)
        value, grads = jax.value_and_grad(masked, CASES[name].differentiable)(*arguments)
        expected = loss(name)(*(a[keep] for a in arguments))
        np.testing.assert_allclose(value, expected, rtol=1e-6)
        assert all(np.isfinite(g).all() and not np.any(g[~keep]) for g in grads)


def test_gradients_of_the_codebook_losses_go_one_way():
    encoded, quantised = draw("vq_codebook")
    to_encoder, to_codes = jax.grad(losses.vq_codebook, (0, 1))(encoded, quantised)
    assert not to_encoder.any()
    np.testing.assert_allclose(to_codes, 2 * (quantised - encoded) / encoded.size, rtol=1e-6)
    to_encoder, to_codes = jax.grad(losses.vq_commitment, (0, 1))(encoded, quantised)
    np.testing.assert_allclose(to_encoder, 2 * (encoded - quantised) / encoded.size, rtol=1e-6)
    assert not to_codes.any()


def test_contrast_takes_a_temperature():
    h, e, y = draw("contrastive_2c")
    value = losses.contrastive_2c(h, e, y, temperature=0.1)
    np.testing.assert_allclose(value, conditional_contrast(*double((h, e)), y, 0.1), rtol=1e-5)


def test_labels_that_there_are_not_give_nan():
    assert np.isnan(losses.auxiliary_classifier(jnp.zeros((2, 3)), jnp.array([0, 3])))


def test_parity_with_pytorch():
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    logits, labels = draw("auxiliary_classifier")
    t_logits, t_labels = torch.tensor(logits), torch.tensor(labels).long()
    mean, log_variance, codes = draw("gaussian_code")
    nll = functional.gaussian_nll_loss(
        *(torch.tensor(x) for x in (mean, codes, np.exp(log_variance))), full=True, reduction="sum"
    )
    a, b = draw("cycle")
    pairs = [
        (losses.auxiliary_classifier(logits, labels), functional.cross_entropy(t_logits, t_labels)),
        (losses.gaussian_code(mean, log_variance, codes), nll / len(mean)),
        (losses.cycle(a, b), functional.l1_loss(torch.tensor(a), torch.tensor(b))),
        (losses.vq_codebook(a, b), functional.mse_loss(torch.tensor(a), torch.tensor(b))),
    ]
    # PyTorch's sums the margins of all classes and divides by K; with two classes there is one.
    two = functional.multi_margin_loss(t_logits[:, :2], t_labels % 2)
    pairs.append((losses.multiclass_hinge(logits[:, :2], labels % 2), 2 * two))
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: losses.auxiliary_classifier(np.zeros(3), np.zeros(3, int)),
            r"class_logits have shape \(3,\); give \[B, K\]",
        ),
        (
            lambda: losses.auxiliary_classifier(np.zeros((3, 2)), np.zeros((3, 1), int)),
            r"labels are int\d+ of shape \(3, 1\) for class_logits of shape \(3, 2\); give integers of shape \(3,\)",
        ),
        (
            lambda: losses.categorical_code(np.zeros((3, 2)), np.zeros(3)),
            r"codes are float\d+ of shape \(3,\) for code_logits",
        ),
        (
            lambda: losses.multiclass_hinge(np.zeros((3, 1)), np.zeros(3, int)),
            r"a margin needs two classes or more",
        ),
        (
            lambda: losses.auxiliary_classifier(
                np.zeros((3, 2)), np.zeros(3, int), where=np.ones(2, bool)
            ),
            r"where has shape \(2,\) and class_logits \(3, 2\); give a mask of shape \(3,\)",
        ),
        (
            lambda: losses.gaussian_code(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((2, 1))),
            r"mean has shape \(2, 3\) and codes \(2, 1\); make them equal",
        ),
        (
            lambda: losses.gaussian_code(np.zeros(2), np.zeros(2), np.zeros(2)),
            r"codes have shape \(2,\); give \[B, D\]",
        ),
        (
            lambda: losses.feature_matching(np.zeros((2, 3)), np.zeros((2, 4))),
            r"real_features have shape \(2, 3\) and fake_features \(2, 4\); only the batch",
        ),
        (
            lambda: losses.feature_matching([np.zeros((2, 3))], []),
            r"real_features have 1 layers and fake_features 0; give equally many",
        ),
        (
            lambda: losses.feature_matching(np.zeros((0, 3)), np.zeros((2, 3))),
            r"which holds no batch; give \[B, ...\] with B >= 1",
        ),
        (
            lambda: losses.perceptual(layers, np.zeros((1, 3)), np.zeros((1, 3)), [1.0]),
            r"there are 1 weights for 2 layers of features; give one each",
        ),
        (
            lambda: losses.cycle(np.zeros((2, 3)), np.zeros((2, 1))),
            r"original has shape \(2, 3\) and reconstructed \(2, 1\); make them equal",
        ),
        (lambda: losses.cycle(np.zeros((0, 3)), np.zeros((0, 3))), r"which holds nothing; give B"),
        (
            lambda: losses.contrastive_2c(
                np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((2, 1), int)
            ),
            r"labels have shape \(2, 1\) for embeddings \(2, 3\); give \[B\]",
        ),
        (
            lambda: losses.contrastive_2c(
                np.ones((2, 3)), np.ones((2, 3)), np.zeros(2, int), temperature=0
            ),
            r"temperature is 0; give a number above 0",
        ),
    ],
)
def test_errors_say_what_was_wrong_and_how_to_mend_it(call, message):
    with pytest.raises(ValueError, match=message):
        call()
