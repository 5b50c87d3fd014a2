"""Measuring a state: the same number whatever the devices and processes; in the loop, the best is kept."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from processes import run_processes

from jaxgan import config, train
from jaxgan.data import ArraySource
from jaxgan.game import SAMPLES
from jaxgan.metrics.compare import compare, scores
from jaxgan.metrics.features import random_conv
from jaxgan.metrics.protocols import Protocol
from jaxgan.metrics.summary import Needs, summarise
from jaxgan.train import evaluation
from jaxgan.train.outputs import balanced, iterate_samples, summarise_output

pytestmark = pytest.mark.usefixtures("compiled_once")

SMALL = [
    "model.batch_size=8",
    "model.critic_steps=1",
    "model.generator_width=8",
    "model.critic_width=8",
    "model.depth=1",
    "train.grid=4",
]
BOTH = Needs(frozenset(["features"]), frozenset(["features"]))
PROTOCOL = Protocol("custom", ("fd", "pr"), "random_conv", num_fake=330, num_real=330)


def prepared(*changes):
    cfg = config.load("sngan_digits", [*SMALL, *changes])
    source = config.open_data(cfg)
    return config.make_run(cfg, source.spec), source


@pytest.fixture(scope="module")
def digits():
    """(run, source, {devices: (engine, state)}) of an untrained generator."""
    run, source = prepared("model.conditional=true")
    engines, state = {}, None
    for devices in (1, 2, 8):
        engine = train.make_engine(run.game, train.Options(devices=devices), seed=3)
        state = state or engine.init()
        engines[devices] = (engine, jax.device_put(state, engine.state_shardings))
    return run, source, engines


def summarise_samples(engine, state, num, extractor, needs, **how):
    given = balanced(engine.game)
    return summarise_output(engine, state, SAMPLES, num, given, extractor, needs, **how)


@pytest.mark.slow
def test_one_program_sees_the_samples_that_are_drawn(digits):
    _, _, engines = digits
    engine, state = engines[1]
    extractor = random_conv((8, 8, 1))
    fused = summarise_samples(engine, state, 230, extractor, BOTH, seed=5)
    drawn = iterate_samples(engine, state, 230, seed=5)
    apart = summarise(drawn, extractor, 230, "fake", BOTH)
    assert fused.count == apart.count == 230
    assert fused.dtype == apart.dtype == np.uint8
    assert fused.labels.tolist() == apart.labels.tolist() == (np.arange(230) % 10).tolist()
    # A rounding may fall to the other side when a byte is made of a float.
    np.testing.assert_allclose(
        fused.arrays["features"], apart.arrays["features"], rtol=1e-2, atol=1e-2
    )
    assert np.mean(fused.arrays["features"] != apart.arrays["features"]) < 0.5


@pytest.mark.parametrize("devices", [2, 8])
def test_devices_give_the_same_number(digits, devices):
    _, source, engines = digits
    evaluator = train.Evaluator(PROTOCOL, random_conv((8, 8, 1)), source)
    one, many = (evaluator(*engines[n], step=0) for n in (1, devices))
    assert scores(one)
    for name, value in scores(one).items():
        assert many[name] == pytest.approx(value, rel=1e-6), name
    assert one["protocol"] == many["protocol"]


@pytest.mark.slow
def test_samples_with_options_state_what_is_not_plain(digits):
    """Scores of plain samples are comparable between models; others state their options and batch statistics."""
    small = ["model.width=1", "model.critic_width=2", "model.latent_dim=4", "model.batch_size=8"]
    cfg = config.load("biggan_digits", [*small, "model.class_embedding_dim=2"])
    _, source, engines = digits
    run = config.make_run(cfg, source.spec)
    engine = train.make_engine(run.game, train.Options(devices=1), seed=3)
    state = engine.init()

    def measure(**options):
        evaluator = train.Evaluator(PROTOCOL, random_conv((8, 8, 1)), source, options=options)
        return evaluator(engine, state, step=0)

    plain, standing = measure(), measure(batch_statistics="standing", standing_batches=2)
    truncated = measure(truncation=0.5)
    other = train.Evaluator(PROTOCOL, random_conv((8, 8, 1)), source)(*engines[1], step=0)
    assert [found.difference for found in compare(plain, other)]
    assert "options" not in plain["protocol"]
    assert truncated["protocol"]["options"] == {"truncation": 0.5}
    assert standing["protocol"]["options"] == {
        "batch_statistics": "standing", "standing_batches": 2
    }  # fmt: skip
    with pytest.raises(
        ValueError, match=r"batch_statistics is 'running averages' in A and 'standing"
    ):
        compare(plain, standing)
    with pytest.raises(ValueError, match=r"options.truncation is 0.5 in A and None in B"):
        compare(truncated, plain)
    assert len({result["fd_random_conv"] for result in (plain, standing, truncated)}) == 3


def test_a_diverged_generator_is_named(digits):
    engine, state = digits[2][1]
    broken = state.replace(
        params=jax.tree.map(lambda x: jnp.full_like(x, np.nan), state.params), ema={}
    )
    with pytest.raises(ValueError, match="features of the fake examples contain NaN or Inf"):
        summarise_samples(engine, broken, 100, random_conv((8, 8, 1)), BOTH)


def test_a_plain_extractor_serves_too(digits):
    class Corner:
        name, outputs = "corner", {"features": 2}

        def __call__(self, batch):
            return {"features": np.asarray(batch, np.float32)[:, 0, :2, 0]}

    engine, state = digits[2][1]
    summary = summarise_samples(engine, state, 130, Corner(), BOTH, seed=1)
    drawn = np.concatenate([b["image"] for b in iterate_samples(engine, state, 130, seed=1)])
    assert (summary.arrays["features"] == drawn[:, 0, :2, 0]).all()


def test_statistics_of_the_reals_are_kept(digits, tmp_path, monkeypatch):
    _, source, engines = digits
    extractor = random_conv((8, 8, 1))
    first = train.Evaluator(PROTOCOL, extractor, source, tmp_path)(*engines[1], step=0)
    monkeypatch.setattr(source, "spread", lambda *a, **k: pytest.fail("read the reals again"))
    again = train.Evaluator(PROTOCOL, extractor, source, tmp_path)(*engines[1], step=0)
    assert first == again


def test_averaged_weights_are_measured_only_if_they_are_asked_for(digits):
    _, source, engines = digits
    engine, state = engines[1]
    other = state.replace(ema=jax.tree.map(jnp.zeros_like, state.ema))
    extractor, protocol = random_conv((8, 8, 1)), dataclasses.replace(PROTOCOL, scores=("fd",))
    averaged, latest = (
        train.Evaluator(protocol, extractor, source, ema=ema)(engine, other, step=0)
        for ema in (True, False)
    )
    assert [r["protocol"]["ema"] for r in (averaged, latest)] == [True, False]
    plain = train.Evaluator(protocol, extractor, source)(engine, other.replace(ema={}), step=0)
    assert scores(latest) == scores(plain) != scores(averaged)


def test_the_seed_of_an_evaluation_is_that_of_its_samples(digits):
    _, source, engines = digits
    extractor, protocol = random_conv((8, 8, 1)), dataclasses.replace(PROTOCOL, scores=("fd",))
    results = [
        train.Evaluator(protocol, extractor, source, seed=seed)(*engines[1], step=0)
        for seed in (0, 1, 1)
    ]
    assert [r["measured"]["seed"] for r in results] == [0, 1, 1]
    assert scores(results[0]) != scores(results[1]) == scores(results[2])


class Corners:
    """An extractor of two pixels, with the names that a protocol states."""

    def __init__(self, name="corners", checksum="of these weights", resize="tf1"):
        self.name, self.checksum, self.resize = name, checksum, resize
        self.outputs = {"features": 2}

    def __call__(self, batch):
        return {"features": np.asarray(batch, np.float32)[:, 0, :2, 0]}


@pytest.mark.parametrize(
    "change",
    [
        {"name": "others"},
        {"checksum": "of others"},
        {"resize": "clean"},
        {"num_real": 19},
        {"split": "test"},
        {"pixel": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_kept_statistics_are_of_the_same_data_features_and_settings(tmp_path, change):
    def real(num_real=20, split="train", pixel=0, **stated):
        images = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 1)).astype(np.uint8)
        images[0, 3, 3] = pixel
        protocol = Protocol("custom", ("fd",), num_fake=20, num_real=num_real, split=split)
        train.Evaluator(protocol, Corners(**stated), ArraySource(images), tmp_path).real()
        return len(list(tmp_path.iterdir()))

    assert [real(), real(), real(**change), real()] == [1, 1, 2, 2]


def test_too_few_reals_are_refused(digits):
    with pytest.raises(
        ValueError, match=r"compares with 5,000 real examples, but digits \(train\)"
    ):
        train.make_evaluator(digits[1])
    assert train.make_evaluator(digits[1], fit=True).protocol.num_real == len(digits[1])


@pytest.mark.parametrize(
    ("score", "values", "best"),
    [("fd", [3, 1, 2, 1], 1), ("pr", [0.3, 0.8, 0.5, 0.8], 1), ("psnr", [20, 10, 30, 25], 2)],
)
def test_the_best_result_is_by_the_direction_of_the_first_score(score, values, best):
    results = [{score: value, "other": -value, "protocol": {}} for value in values]
    found = evaluation.best_of(results, Protocol("custom", (score, "kd"), of="transforms"))
    assert found is results[best]


def test_a_resumed_run_keeps_results_up_to_its_checkpoint_and_those_of_other_commands(tmp_path):
    assert evaluation.resume_evaluations(tmp_path, 4, write=True) == []
    during = [{"fd": 1.0, "measured": {"during": "training", "step": n}} for n in (2, 4, 6)]
    by_hand = {"fd": 2.0, "measured": {"step": 6}}
    everything = [*during, by_hand]
    for result in everything:
        evaluation.append_evaluation(tmp_path, result)
    assert evaluation.resume_evaluations(tmp_path, 4, write=False) == during[:2]
    assert train.read_evaluations(tmp_path) == everything
    assert evaluation.resume_evaluations(tmp_path, 4, write=True) == during[:2]
    assert train.read_evaluations(tmp_path) == [*during[:2], by_hand]


# In the loop ----------------------------------------------------------------------------------------------

MEASURED = ["train.evaluate_every=2", "train.evaluate_num=100", "train.checkpoint_every=2"]
MEASURED += ["train.devices=1"]


def quiet(sentence):
    del sentence


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "cache"))


def test_training_measures_keeps_the_best_and_goes_on_after_a_stop(tmp_path, cache):
    run, source = prepared(*MEASURED, "train.steps=5")
    result = run.train(source, tmp_path / "run", quiet)
    assert set(result.engine.traces().values()) == {1}
    kept = train.read_evaluations(tmp_path / "run")
    assert kept == result.evaluations
    assert [r["measured"]["step"] for r in kept] == [2, 4, 5]  # and what it ends with
    assert {r["measured"]["during"] for r in kept} == {"training"}
    values = [r["fd_random_conv"] for r in kept]
    best = kept[int(np.argmin(values))]["measured"]["step"]
    assert train.Checkpoints(tmp_path / "run" / "best").steps() == [best]
    rows = [row for row in train.read_metrics(tmp_path / "run") if "eval/fd_random_conv" in row]
    assert [(row["step"], row["eval/fd_random_conv"]) for row in rows] == list(
        zip([2, 4, 5], values, strict=True)
    )
    _, _, step, _ = config.restore(tmp_path / "run", best=True)
    assert step == best

    # A run that was stopped after step 3 and measured once more before it was killed.
    stopped, source = prepared(*MEASURED, "train.steps=3")
    stopped.train(source, tmp_path / "again", quiet)
    late = [{**kept[1], "fd_random_conv": -1.0}]  # of step 4, which no checkpoint has
    path = tmp_path / "again" / "evaluations.jsonl"
    lines = path.read_text().splitlines()[:1] + [json.dumps(r) for r in late] + ["{cut o"]
    path.write_text("\n".join(lines))
    goes_on, source = prepared(*MEASURED, "train.steps=5")
    resumed = goes_on.train(source, tmp_path / "again", quiet)
    again = [(r["measured"]["step"], r["fd_random_conv"]) for r in resumed.evaluations]
    assert again == list(zip([2, 4, 5], values, strict=True))
    assert train.Checkpoints(tmp_path / "again" / "best").steps() == [best]


def test_the_protocol_of_a_run_is_checked_before_anything_compiles(tmp_path, monkeypatch, cache):
    monkeypatch.setattr("jaxgan.engine.Engine.init", lambda self: pytest.fail("compiled"))
    for changes, message in (
        (["train.evaluate_num=1"], "num_real = 1 is too few: the score 'pr' needs at least 4"),
        (["train.weights=x.pth"], "random_conv has no weights; leave out the weight file"),
    ):
        run, source = prepared("train.evaluate_every=2", *changes)
        with pytest.raises(ValueError, match=message):
            run.train(source, tmp_path / "run", quiet)


@pytest.mark.slow
def test_a_run_without_measurements_has_no_best(tmp_path):
    run, source = prepared("train.steps=1", "train.devices=1")
    run.train(source, tmp_path / "run", quiet)
    assert not (tmp_path / "run" / "best").exists()
    with pytest.raises(FileNotFoundError, match="has no best checkpoint, since it was not evalua"):
        config.restore(tmp_path / "run", best=True)


# Several processes ----------------------------------------------------------------------------------------

PROCESS = """
import dataclasses, json, sys
import jax
import numpy as np
port, index, out = sys.argv[1:]
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=int(index))
from jaxgan import config, train
from jaxgan.metrics.features import random_conv
from jaxgan.metrics.protocols import Protocol
cfg = config.load("sngan_digits", SMALL + ["model.conditional=true"])
source = config.open_data(cfg)
run = config.make_run(cfg, source.spec)
engine = train.make_engine(run.game, train.Options(), seed=3)
protocol = Protocol("custom", ("fd", "pr"), "random_conv", num_fake=330, num_real=331)
extractor = random_conv((8, 8, 1))
caches = [None, f"{out}/cache0", f"{out}/cache{index}"]  # the last time only one of them has the statistics
state = engine.init()
results = [train.Evaluator(protocol, extractor, source, c)(engine, state, 0) for c in caches]
assert results[0] == results[1] == results[2]
from jaxgan.game import Output
darker = Output(lambda play: 0.3 * play.batch["image"], (8, 8, 1), ("image",))
game = dataclasses.replace(run.game, outputs={**run.game.outputs, "transforms": darker})
engine = train.make_engine(game, train.Options(), seed=3)
protocol = Protocol("custom", ("l1",), "random_conv", num_fake=230, num_real=230, of="transforms")
results.append(train.Evaluator(protocol, extractor, source)(engine, state, 0))
open(f"{out}/{index}.json", "w").write(json.dumps([results[0], results[-1]]))
"""


@pytest.mark.slow
def test_two_processes_give_the_same_number(digits, tmp_path):
    _, source, engines = digits
    run_processes(f"SMALL = {SMALL}\n{PROCESS}", tmp_path)
    first, second = (json.loads((tmp_path / f"{i}.json").read_text()) for i in "01")
    assert first == second
    protocol = Protocol("custom", ("fd", "pr"), "random_conv", num_fake=330, num_real=331)
    one = train.Evaluator(protocol, random_conv((8, 8, 1)), source)(*engines[1], step=0)
    assert one["protocol"] == first[0]["protocol"]
    for name, value in scores(one).items():
        assert first[0][name] == pytest.approx(value, rel=1e-6), name
    # Each transform met its own example, whichever process had it.
    examples = source.images(230).astype(np.float32)
    made = np.round(
        0.3 * examples + 89.25
    )  # which is never a half, that two roundings could part on
    assert first[1]["l1"] == pytest.approx(np.abs(made - examples).mean() / 255, rel=1e-5)
    assert first[1]["protocol"]["num_fake"] == 230
