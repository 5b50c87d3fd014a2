"""Truncated latents, and standing statistics of batch normalisation."""

import jax
import numpy as np
import pytest
import scipy.stats
from models import battery, same_weights

from jaxgan import draws, sampling
from jaxgan.engine import Engine
from jaxgan.game import SAMPLES
from jaxgan.models import biggan
from jaxgan.spec import Field, Spec
from jaxgan.train import Options as TrainOptions
from jaxgan.train import make_engine, outputs

K, LATENT, BATCH, BATCHES = 3, 4, 8, 3
SPEC = Spec({"image": Field("image", (8, 8, 1)), "label": Field("label", number=K)}, 100)


def game(**changes):
    options = {"latent_dim": LATENT, "width": 2, "class_embedding_dim": 3, "batch_size": BATCH}
    return biggan.game(biggan.Options(**options, **changes), SPEC)


@pytest.fixture(scope="module")
def engine():
    return Engine(game())


@pytest.fixture(scope="module")
def state(engine):
    return same_weights.state_by_rule(engine)


def made(engine, state, seed=1, num=6, **options):
    given = outputs.balanced(engine.game)
    return outputs.make_output(engine, state, SAMPLES, jax.random.key(seed), num, given, **options)


STANDING = {"batch_statistics": "standing", "standing_batches": BATCHES, "standing_batch_size": 5}


# Truncation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0.3, 1.5])
def test_truncated_latents_have_scipys_distribution(limit, key):
    z = np.asarray(sampling.truncated_normal(key, 5000, 4, limit))
    assert z.shape == (5000, 4)
    assert z.dtype == np.float32
    assert np.abs(z).max() <= limit
    truth = scipy.stats.truncnorm(-limit, limit)
    assert scipy.stats.kstest(z.ravel(), truth.cdf).pvalue > 0.01
    assert abs(z.mean()) < 4 * truth.std() / np.sqrt(z.size)
    np.testing.assert_allclose(z.std(), truth.std(), rtol=0.02)
    assert np.abs(np.corrcoef(z.T) - np.eye(4)).max() < 0.06


def test_no_limit_draws_the_latents_of_training(key):
    found = sampling.truncated_normal(key, 7, 3, None)
    np.testing.assert_array_equal(found, draws.normal(key, (7, 3)))


def test_a_limit_beyond_all_draws_changes_the_distribution_little(key):
    z = np.asarray(sampling.truncated_normal(key, 5000, 4, 20.0))
    assert np.isfinite(z).all()
    assert scipy.stats.kstest(z.ravel(), scipy.stats.norm.cdf).pvalue > 0.01


def test_new_limits_do_not_recompile_and_change_the_samples(engine, state):
    found = [made(engine, state, truncation=limit) for limit in (0.5, 0.7)]
    assert np.abs(found[0] - found[1]).max() > 1e-3
    before = engine.traces()
    np.testing.assert_array_equal(made(engine, state, truncation=0.5), found[0])
    assert np.isfinite(made(engine, state, truncation=1.25)).all()
    assert engine.traces() == before
    assert set(before.values()) == {1}
    assert np.abs(made(engine, state) - found[0]).max() > 1e-3


# Standing statistics --------------------------------------------------------------------------------------------


def layer_inputs(module, variables, latent, label):
    """The inputs of the three normalised layers in training: outputs of the layers before them."""
    _, new = module.apply(
        variables, latent, label, True, capture_intermediates=True,
        mutable=["intermediates", "batch_stats"],
    )  # fmt: skip
    found = new["intermediates"]["synthesis"]
    outputs = [found["project"], found["block0"]["conv0"], found["block0"]]
    project, conv, block = (layer["__call__"][0] for layer in outputs)
    return {
        ("block0", "norm0"): project.reshape(len(latent), 4, 4, -1),
        ("block0", "norm1"): conv,
        ("norm",): block,
    }


@pytest.mark.parametrize("limit", [None, 0.8])
def test_standing_statistics_are_means_over_batches_of_the_mean_and_variance_of_each(
    engine, state, limit
):
    generator = engine.game.networks(state, ema=False)["generator"]
    variables = same_weights.variables_by_rule(engine, "generator")
    key = jax.random.key(3)
    found = sampling.with_standing_statistics(generator, key, LATENT, K, BATCHES, 5, limit)
    sums = {}
    for each in jax.random.split(key, BATCHES):
        of_latent, of_label = (jax.random.fold_in(each, i) for i in (0, 1))
        latent = sampling.truncated_normal(of_latent, 5, LATENT, limit)
        label = jax.random.randint(of_label, (5,), 0, K)
        module = engine.game.players["generator"].module
        for path, x in layer_inputs(module, variables, latent, label).items():
            x = np.float64(x)
            mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
            total = sums.setdefault(path, [0, 0])
            sums[path] = [total[0] + mean, total[1] + var]
    assert len(sums) == 3
    for path, (mean, var) in sums.items():
        layer = found["batch_stats"]["synthesis"]
        for name in path:
            layer = layer[name]
        np.testing.assert_allclose(
            layer["statistics"]["mean"], mean / BATCHES, rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(layer["statistics"]["var"], var / BATCHES, rtol=1e-4, atol=1e-5)
    assert battery.equal(found.params, generator.params)


def test_samples_with_standing_statistics_are_a_function_of_the_seed(engine, state):
    standing = made(engine, state, **STANDING)
    np.testing.assert_array_equal(made(engine, state, **STANDING), standing)
    running = made(engine, state)
    assert np.abs(standing - running).max() > 0.05
    # They are of the latents and weights of the samples.
    for change in ({"truncation": 0.5}, {"standing_batches": 2}, {"standing_batch_size": 6}):
        assert np.abs(made(engine, state, **STANDING | change) - standing).max() > 1e-3, change
    other = state.replace(ema=jax.tree.map(lambda x: 1.1 * x, state.ema))
    assert np.abs(made(engine, other, **STANDING) - standing).max() > 1e-3


def test_the_usual_batches_are_those_of_training():
    assert game().outputs[SAMPLES].options["standing_batch_size"].default == BATCH
    options = sampling.output(SPEC, LATENT, K, 2048).options
    assert options["standing_batch_size"].default == 256


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"truncation": 0.7}, {**STANDING, "standing_batch_size": 8}], ids=str
)
def test_samples_are_the_same_on_one_and_eight_devices(state, options):
    one, eight = (
        made(make_engine(game(), TrainOptions(devices=count), seed=0), state, num=16, **options)
        for count in (1, 8)
    )
    np.testing.assert_allclose(one, eight, atol=1e-5)
