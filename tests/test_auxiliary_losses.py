"""What single losses beside the adversarial ones promise; the battery for all is in `test_table.py`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from table.losses import classes, conditional_contrast, layers, normal

from jaxgan import losses

MASKED = {
    "auxiliary_classifier": classes(4),
    "categorical_code": classes(3),
    "multiclass_hinge": classes(4),
    "gaussian_code": normal((3,), (3,), (3,)),
}


def draw(sampler, batch=8):
    return sampler(np.random.default_rng(0), batch)


@pytest.mark.parametrize("name", MASKED)
def test_what_the_mask_drops_touches_neither_value_nor_gradient(name):
    arrays = draw(MASKED[name], 4)
    wrt = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]
    keep = np.array([True, False, True, False])
    for i in wrt:
        arrays[i][~keep] = np.nan
    loss = getattr(losses, name)
    value, grads = jax.value_and_grad(functools.partial(loss, where=keep), wrt)(*arrays)
    np.testing.assert_allclose(value, loss(*(a[keep] for a in arrays)), rtol=1e-6)
    assert all(np.isfinite(g).all() and not np.any(g[~keep]) for g in grads)


def test_gradients_of_the_codebook_losses_go_one_way():
    encoded, quantised = draw(normal((4,), (4,)))
    to_encoder, to_codes = jax.grad(losses.vq_codebook, (0, 1))(encoded, quantised)
    assert not to_encoder.any()
    np.testing.assert_allclose(to_codes, 2 * (quantised - encoded) / encoded.size, rtol=1e-6)
    to_encoder, to_codes = jax.grad(losses.vq_commitment, (0, 1))(encoded, quantised)
    np.testing.assert_allclose(to_encoder, 2 * (encoded - quantised) / encoded.size, rtol=1e-6)
    assert not to_codes.any()


@pytest.mark.parametrize("log_variance", [-2000.0, -200.0, -100.0, 200.0])
def test_a_gaussian_code_that_is_met_exactly_is_finite_at_any_variance(log_variance):
    """0 times an infinite inverse variance was NaN."""
    zero, variance = jnp.zeros((1, 1)), jnp.full((1, 1), log_variance)
    value, slopes = jax.value_and_grad(losses.gaussian_code, (0, 1))(zero, variance, zero)
    np.testing.assert_allclose(value, 0.5 * (np.log(2 * np.pi) + log_variance), rtol=1e-6)
    np.testing.assert_array_equal(np.ravel(slopes), [0.0, 0.5])
    off = losses.gaussian_code(
        zero + 1e-15, jnp.full((1, 1), -100.0), zero
    )  # e^100 is not in float32
    np.testing.assert_allclose(
        off, 0.5 * (np.log(2 * np.pi) - 100 + np.exp(100) * 1e-30), rtol=1e-5
    )


def test_contrast_takes_a_temperature():
    h, e = draw(normal((5,), (5,)))
    y = np.arange(8) % 3
    value = losses.contrastive_2c(h, e, y, temperature=0.1)
    expected = conditional_contrast(np.float64(h), np.float64(e), y, 0.1)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


LABELLED = (losses.auxiliary_classifier, losses.categorical_code, losses.multiclass_hinge)


@pytest.mark.parametrize("label", [-1, -3, -4, 3, 100])
@pytest.mark.parametrize("loss", LABELLED)
def test_labels_that_there_are_not_give_nan(loss, label):
    logits, labels = jnp.arange(6.0).reshape(2, 3), jnp.array([0, label])
    assert np.isnan(loss(logits, labels))
    assert np.isnan(jax.jit(loss)(logits, labels))
    kept = jnp.array([True, False])
    assert loss(logits, labels, where=kept) == loss(logits[:1], labels[:1])


@pytest.mark.parametrize("loss", LABELLED)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64])
def test_labels_of_any_integer_dtype_are_the_same(loss, dtype):
    logits, labels = draw(classes(4))
    assert loss(logits, labels.astype(dtype)) == loss(logits, labels)
    assert loss(logits, labels.tolist()) == loss(logits, labels)


def test_contrast_refuses_labels_that_are_not_integers():
    h, e, y = draw(normal((5,), (5,), ()))
    with pytest.raises(ValueError, match=r"labels are float32 of shape .*give integers"):
        losses.contrastive_2c(h, e, y)
    assert np.isfinite(losses.contrastive_2c(h, e, y.astype(np.int32)))


def test_parity_with_pytorch():
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    logits, labels = draw(classes(4))
    t_logits, t_labels = torch.tensor(logits), torch.tensor(labels).long()
    mean, log_variance, codes = draw(normal((3,), (3,), (3,)))
    nll = functional.gaussian_nll_loss(
        *(torch.tensor(x) for x in (mean, codes, np.exp(log_variance))), full=True, reduction="sum"
    )
    a, b = draw(normal((4, 4, 3), (4, 4, 3)))
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
        (lambda: losses.cycle(np.zeros((0, 3)), np.zeros((0, 3))), r"which is empty; give B"),
        (
            lambda: losses.contrastive_2c(
                np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((2, 1), int)
            ),
            r"labels are int\d+ of shape \(2, 1\) for embeddings of shape \(2, 3\); give integers of shape \(2,\)",
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
