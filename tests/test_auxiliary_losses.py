"""What single losses beside the adversarial ones promise; the battery for all is in `test_table.py`."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from table.losses import classes, conditional_contrast, doubled, layers, normal, twice, two_heads

from jaxgan import losses

MASKED = {
    "auxiliary_classifier": classes(4),
    "categorical_code": classes(3),
    "multiclass_hinge": classes(4),
    "gaussian_code": normal((3,), (3,), (3,)),
    "twin_classifier.critic": twice(classes(4)),
    "twin_classifier.generator": two_heads(4),
    "discriminative_classifier.critic": twice(doubled(3)),
    "discriminative_classifier.generator": doubled(3),
}


def named(name):
    return functools.reduce(getattr, name.split("."), losses)


def draw(sampler, batch=8):
    return sampler(np.random.default_rng(0), batch)


@pytest.mark.parametrize("name", MASKED)
def test_what_the_mask_drops_touches_neither_value_nor_gradient(name):
    arrays = draw(MASKED[name], 4)
    wrt = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]
    keep = np.array([True, False, True, False])
    for i in wrt:
        arrays[i][~keep] = np.nan
    loss = named(name)
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


@pytest.mark.parametrize("label", [-1, -3, 3, 4, 5, 6, 100])
def test_labels_of_two_player_losses_that_there_are_not_give_nan(label):
    """Of 2K logits, a label from K to 2K - 1 has no logits either."""
    three, six = jnp.arange(6.0).reshape(2, 3), jnp.arange(12.0).reshape(2, 6)
    good, bad = jnp.array([0, 2]), jnp.array([0, label])
    twin, discriminative = losses.twin_classifier, losses.discriminative_classifier
    calls = (
        (lambda y, z: twin.critic(three, y, three, z), ((bad, good), (good, bad))),
        (lambda y: twin.generator(three, three, y), ((bad,),)),
        (lambda y, z: discriminative.critic(six, y, six, z), ((bad, good), (good, bad))),
        (lambda y: discriminative.generator(six, y), ((bad,),)),
    )
    for call, wrong in calls:
        for labels in wrong:
            assert np.isnan(call(*labels))
            assert np.isfinite(call(*[good] * len(labels)))


def test_labels_are_doubled_in_no_dtype_that_overflows():
    """Twice 130 is 4 in uint8."""
    rng, discriminative = np.random.default_rng(0), losses.discriminative_classifier
    logits = np.float32(rng.standard_normal((2, 300)))
    wide, narrow = np.array([130, 149]), np.array([130, 149], np.uint8)
    for call in (
        lambda y: discriminative.critic(logits, y, logits, y),
        lambda y: discriminative.generator(logits, y),
    ):
        assert call(narrow) == call(wide)
    assert np.isnan(discriminative.generator(logits[:, :200], narrow))  # 130 of 100 classes


def test_a_discriminative_generator_follows_two_logits_alone():
    logits, labels = draw(doubled(3), 4)
    slope = jax.grad(losses.discriminative_classifier.generator)(logits, labels)
    expected = np.zeros((4, 6))
    expected[np.arange(4), 2 * labels], expected[np.arange(4), 2 * labels + 1] = -0.25, 0.25
    np.testing.assert_array_equal(slope, expected)


def test_twins_that_agree_leave_the_generator_without_a_loss():
    logits, labels = draw(classes(4))
    assert losses.twin_classifier.generator(logits, logits, labels) == 0


def test_samples_inside_the_margins_of_d2d_ce_have_no_gradient():
    """One sample on its proxy, the other not: only the second is attracted, and none is repelled."""
    h = jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    e = jnp.array([[1.0, 0.1, 0.0], [0.0, 0.0, 1.0]])
    by_embeddings, by_proxies = jax.grad(losses.d2d_ce, (0, 1))(h, e, jnp.array([0, 1]))
    assert not by_embeddings[0].any()
    assert not by_proxies[0].any()
    assert by_embeddings[1, 2] < 0
    assert by_proxies[1, 1] < 0
    assert by_embeddings[1, 0] == 0


def test_samples_of_the_same_class_are_neither_attracted_nor_repelled_by_d2d_ce():
    h, e = draw(normal((5,), (5,)), 3)
    moved = h.copy()
    moved[1] += 1.0
    labels = np.array([0, 0, 1])
    slopes = [jax.grad(losses.d2d_ce)(x, e, labels)[0] for x in (h, moved)]
    np.testing.assert_array_equal(*slopes)
    assert np.any(jax.grad(losses.d2d_ce)(moved, e, np.array([0, 1, 1]))[0] != slopes[0])


@pytest.mark.parametrize("loss", [losses.contrastive_2c, losses.d2d_ce])
def test_contrast_refuses_labels_that_are_not_integers(loss):
    h, e, y = draw(normal((5,), (5,), ()))
    with pytest.raises(ValueError, match=r"labels are float32 of shape .*give integers"):
        loss(h, e, y)
    assert np.isfinite(loss(h, e, y.astype(np.int32)))


def test_layers_of_a_mean_feature_distance_are_added_and_their_batches_may_differ():
    real, fake = draw(normal((3,), (3,)))
    wide = np.ones((4, 5), np.float32)
    one = losses.mean_feature_distance(real, fake[:5])
    np.testing.assert_allclose(one, np.abs(real.mean(0) - fake[:5].mean(0)).mean(), rtol=1e-6)
    both = losses.mean_feature_distance([real, wide], [fake[:5], 3 * wide])
    np.testing.assert_allclose(both, one + 2.0, rtol=1e-6)


GOLDEN = Path(__file__).parent / "golden" / "conditional.npz"
# name -> (the arguments by their names in the file, those that it is differentiated by, options).
STUDIOGAN = {
    "auxiliary_classifier": (("real_logits", "labels"), (0,), {}),
    "contrastive_2c": (("embeddings", "proxies", "labels"), (0, 1), {"temperature": 0.7}),
    "d2d_ce": (("embeddings", "proxies", "labels"), (0, 1), {}),
    "twin_classifier.critic": (("real_logits", "labels", "twin_logits", "fake_labels"), (0, 2), {}),
    "twin_classifier.generator": (("fake_logits", "twin_logits", "fake_labels"), (0, 1), {}),
    "discriminative_classifier.critic": (
        ("real_double", "labels", "fake_double", "fake_labels"),
        (0, 2),
        {},
    ),
    "discriminative_classifier.generator": (("fake_double", "fake_labels"), (0,), {}),
    "multiclass_hinge": (("hinge_logits", "labels"), (0,), {}),
    "mean_feature_distance": (("real_features", "fake_features"), (0, 1), {}),
}


@pytest.mark.parametrize("name", STUDIOGAN)
def test_values_and_gradients_are_those_of_pytorch_studiogan(name):
    """Commit 947b35e, its classes and functions of `src/utils/losses.py` run by PyTorch in float64.

    Of `d2d_ce`, with the row maximum not subtracted, as in the paper; the next test is of the code as it is. The twin
    and discriminative losses are its cross-entropies, added and subtracted as `src/worker.py` does. Its worker gives
    the twin's criterion the logits of the classifier itself, so that the generator's two terms cancel; here the twin
    has logits of its own, as in the paper.
    """
    with np.load(GOLDEN) as file:
        golden = dict(file)
    arguments, wrt, options = STUDIOGAN[name]
    arrays = [golden[f"in/{argument}"] for argument in arguments]
    value, slopes = jax.value_and_grad(functools.partial(named(name), **options), wrt)(*arrays)
    np.testing.assert_allclose(value, golden[f"{name}/value"], rtol=1e-5)
    for i, slope in zip(wrt, slopes, strict=True):
        expected = golden[f"{name}/{arguments[i]}"]
        np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_how_the_d2d_ce_of_pytorch_studiogan_differs():
    """Each negative term is divided by exp(its row's maximum), which has no gradient; the positive term is not."""
    with np.load(GOLDEN) as file:
        golden = dict(file)
    h, e, y = (golden[f"in/{name}"] for name in ("embeddings", "proxies", "labels"))

    def theirs(h, e):
        h, e = (x / jnp.linalg.norm(x, axis=1, keepdims=True) for x in (h, e))
        positive = jnp.minimum(jnp.sum(h * e, axis=1) - 0.98, 0) / 0.5
        between = (h @ h.T - 0.02) / 0.5
        largest = jnp.max(jnp.where(np.eye(len(y), dtype=bool), -jnp.inf, between), axis=1)
        divided = jnp.exp(jax.nn.relu(between) - jax.lax.stop_gradient(largest)[:, None])
        negative = jnp.sum(divided, axis=1, where=y[:, None] != y[None])
        return jnp.mean(jnp.log(jnp.exp(positive) + negative) - positive)

    value, slopes = jax.value_and_grad(theirs, (0, 1))(h, e)
    np.testing.assert_allclose(value, golden["d2d_ce_as_it_is/value"], rtol=1e-5)
    for slope, name in zip(slopes, ("embeddings", "proxies"), strict=True):
        np.testing.assert_allclose(slope, golden[f"d2d_ce_as_it_is/{name}"], atol=1e-5)
    assert abs(losses.d2d_ce(h, e, y) - value) > 1


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
    present = np.float32(np.arange(logits.size).reshape(logits.shape) % 3 == 0)
    binary = functional.binary_cross_entropy_with_logits(
        t_logits, torch.tensor(present), reduction="sum"
    )
    pairs.append((losses.attribute_classifier(logits, present), binary / len(logits)))
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
            lambda: losses.attribute_classifier(np.zeros((3, 2)), np.zeros(3)),
            r"attribute_logits has shape \(3, 2\) and attributes \(3,\); make them equal",
        ),
        (
            lambda: losses.attribute_classifier(np.zeros(3), np.zeros(3)),
            r"attribute_logits have shape \(3,\); give \[B, K\]",
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
        (
            lambda: losses.d2d_ce(
                np.ones((2, 3)), np.ones((2, 3)), np.zeros(2, int), temperature=-1
            ),
            r"temperature is -1; give a number above 0",
        ),
        (
            lambda: losses.d2d_ce(np.ones((2, 3)), np.ones((2, 3)), np.zeros(2, int), margin=1.5),
            r"margin is 1.5; give a cosine from 0 to 1",
        ),
        (
            lambda: losses.d2d_ce(np.ones((2, 3)), np.ones((2, 4)), np.zeros(2, int)),
            r"embeddings has shape \(2, 3\) and proxies \(2, 4\); make them equal",
        ),
        (
            lambda: losses.d2d_ce(np.ones(3), np.ones(3), np.zeros(3, int)),
            r"embeddings have shape \(3,\); give \[B, D\] with B >= 1",
        ),
        (
            lambda: losses.twin_classifier.critic(
                np.zeros((2, 3)), np.zeros(2, int), np.zeros((2, 4)), np.zeros(2, int)
            ),
            r"real_logits have shape \(2, 3\) and fake_twin_logits \(2, 4\); make the numbers of classes equal",
        ),
        (
            lambda: losses.twin_classifier.generator(
                np.zeros((2, 3)), np.zeros((2, 4)), np.zeros(2, int)
            ),
            r"fake_logits have shape \(2, 3\) and fake_twin_logits \(2, 4\); make the numbers",
        ),
        (
            lambda: losses.twin_classifier.generator(
                np.zeros((2, 3)), np.zeros((3, 3)), np.zeros(2, int)
            ),
            r"fake_labels are int\d+ of shape \(2,\) for fake_twin_logits of shape \(3, 3\)",
        ),
        (
            lambda: losses.discriminative_classifier.generator(np.zeros((2, 5)), np.zeros(2, int)),
            r"fake_logits have shape \(2, 5\); give \[B, 2K\], a real and a generated one for each of K classes",
        ),
        (
            lambda: losses.discriminative_classifier.critic(
                np.zeros((2, 4)), np.zeros(2, int), np.zeros((2, 6)), np.zeros(2, int)
            ),
            r"real_logits have shape \(2, 4\) and fake_logits \(2, 6\); make the numbers of classes equal",
        ),
        (
            lambda: losses.mean_feature_distance(np.zeros((2, 3)), np.zeros((2, 4))),
            r"real_features have shape \(2, 3\) and fake_features \(2, 4\); only the batch sizes may differ",
        ),
    ],
)
def test_errors_say_what_was_wrong_and_how_to_mend_it(call, message):
    with pytest.raises(ValueError, match=message):
        call()
