"""Translations to other domains, measured: their targets and references, their protocols, and wrong combinations."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
from engine.small import adds_mean, make_game, number

from jaxgan import data, train
from jaxgan.cli import evaluate as command
from jaxgan.data import ArraySource
from jaxgan.data.source import Column
from jaxgan.engine import Engine
from jaxgan.game import REFERENCE, TARGET, Output, Stage, Turn
from jaxgan.metrics import protocols
from jaxgan.metrics.compare import scores
from jaxgan.metrics.evaluate import check_counts
from jaxgan.metrics.features import random_conv
from jaxgan.metrics.protocols import Protocol
from jaxgan.options import OptionError
from jaxgan.spec import Field
from jaxgan.train.evaluation import protocol_of
from jaxgan.train.outputs import given_for, made_of_examples

DIGITS = data.open_source("digits")
TARGETS = {TARGET: Field("label", number=10)}
REFERENCES = {**TARGETS, REFERENCE: DIGITS.spec["image"]}
BY_DOMAIN = Output(lambda play: play.batch["image"], (8, 8, 1), ("image", TARGET), fields=TARGETS)


def noisy(play):
    """The reference, darker in every third row."""
    rows = jnp.arange(play.num)[:, None, None, None] % 3
    return play.batch[REFERENCE] * (1 - 0.25 * rows.astype(jnp.float32))


BY_REFERENCE = Output(noisy, (8, 8, 1), ("image", TARGET, REFERENCE), fields=REFERENCES)


def game(**outputs):
    stage = Stage((Turn(("critic",), adds_mean()),), 8)
    return make_game({"critic": number()}, (stage,), outputs, DIGITS.spec)


# Targets and references ---------------------------------------------------------------------------------------


def test_targets_go_round_the_other_domains_and_examples_are_used_again_with_the_next():
    few = ArraySource(DIGITS.images(12), np.arange(12) % 4, num_classes=4)
    fields = {TARGET: Field("label", number=4)}
    given = given_for(Output(None, (8, 8, 1), ("image", TARGET), fields=fields), few, 72, 2)
    rows = np.arange(72)
    batch = given(rows)
    assert (batch["target"] != batch["label"]).all()
    np.testing.assert_array_equal(batch["target"][::2], batch["target"][1::2])
    pairs = {(p.tobytes(), int(t)) for p, t in zip(batch["image"], batch["target"], strict=True)}
    assert len(pairs) == 36  # 12 examples, 3 domains each
    some = rows[[3, 50, 7]]
    for name, values in given(some).items():
        np.testing.assert_array_equal(values, batch[name][some], err_msg=name)


def test_references_are_of_the_target_domain_and_other_ones_for_each_row():
    batch = given_for(BY_REFERENCE, DIGITS, 60, per_example=10)(np.arange(60))
    every = DIGITS.gather(np.arange(len(DIGITS)))
    pairs = zip(every["image"], every["label"], strict=True)
    label_of = {picture.tobytes(): label for picture, label in pairs}
    found = [picture.tobytes() for picture in batch[REFERENCE]]
    assert [label_of[picture] for picture in found] == batch[TARGET].tolist()
    assert len(set(found[:10])) > 5
    assert made_of_examples(game(reference=BY_REFERENCE)) == ["reference"]


def test_a_domain_without_examples_is_no_target_and_one_domain_alone_is_refused():
    labels = np.repeat([1, 4], 20)
    two = ArraySource(DIGITS.images(40), labels, num_classes=10)
    batch = given_for(BY_REFERENCE, two, 30)(np.arange(30))
    np.testing.assert_array_equal(batch[TARGET], 5 - batch["label"])
    one = ArraySource(DIGITS.images(40), np.full(40, 3), num_classes=10)
    with pytest.raises(ValueError, match="has examples of one domain only among 2,000, so there"):
        given_for(BY_REFERENCE, one, 10)


def test_attributes_are_changed_in_turn():
    field = Field("attributes", number=3)
    columns = {"attributes": Column(field, np.zeros((9, 3), np.int32))}
    source = ArraySource(DIGITS.images(9), columns=columns)
    fields = {TARGET: Field("label", number=3)}
    output = Output(None, (8, 8, 1), ("image", "attributes", TARGET), fields=fields)
    target = given_for(output, source, 9)(np.arange(9))[TARGET]
    assert target.tolist() == [0, 1, 2] * 3


# Scores -------------------------------------------------------------------------------------------------------


def test_scores_are_by_target_and_diversity_is_within_the_translations_of_one_example():
    protocol = Protocol(
        "custom",
        ("classwise", "diversity_l1", "fd"),
        "random_conv",
        600,
        of="reference",
        per_example=3,
    )
    results = []
    for devices in (1, 8):
        engine = train.make_engine(game(reference=BY_REFERENCE), train.Options(devices=devices), 3)
        evaluator = train.Evaluator(protocol, random_conv((8, 8, 1)), DIGITS)
        results.append(evaluator(engine, engine.init(), step=0))
    one, many = map(scores, results)
    assert many == pytest.approx(one, rel=1e-5)
    stated = results[0]["protocol"]
    assert (stated["of"], stated["per_example"]) == ("reference", 3)
    assert stated["labels"] == "of the targets"
    batch = given_for(BY_REFERENCE, DIGITS, 600, per_example=3)(np.arange(600))
    # Chunks of 100 rows: the rows within a chunk tell how dark a picture is.
    darker = (1 - 0.25 * (np.arange(600) % 100 % 3))[:, None, None, None]
    made = (batch[REFERENCE] / 127.5 - 1) * darker
    groups = np.round(127.5 * made + 127.5).reshape(200, 3, -1) / 255
    apart = [np.abs(groups[:, i] - groups[:, j]).mean() for i, j in ((0, 1), (0, 2), (1, 2))]
    assert one["diversity_l1"] == pytest.approx(np.mean(apart), rel=1e-2)
    # Were the labels those of the examples, the distances would be those between different digits.
    plain = Output(
        lambda play: play.batch[REFERENCE], (8, 8, 1), BY_REFERENCE.needs, fields=REFERENCES
    )
    engine = Engine(game(reference=plain))
    exact = scores(evaluator(engine, engine.init(), step=0))
    assert exact["classwise_fd_random_conv"] < 0.1 * one["classwise_fd_random_conv"]


# Protocols ----------------------------------------------------------------------------------------------------


def test_the_protocol_is_that_of_what_a_game_makes():
    translating, guided = (
        game(translations=BY_DOMAIN),
        game(latent=BY_DOMAIN, reference=BY_REFERENCE),
    )
    assert protocol_of(translating) == protocols.by_name("translation")
    found = protocol_of(guided)
    assert (found.name, found.of) == ("translation", "latent")
    assert protocol_of(guided, "styles") == protocols.by_name("styles")
    assert protocol_of(guided, "stargan2_reference").of == "reference"
    custom = protocol_of(guided, "styles", "reference")
    assert (custom.name, custom.of, custom.per_example) == ("custom", "reference", 10)
    # The default of training is a protocol of samples.
    assert protocol_of(translating, "quick").of == "translations"
    assert command.OF == protocols.OF


def assert_refused_with_a_way_out(raises, text, *calls):
    """Each call raises the sentence, and its fix, given to the call, does not."""
    for call in calls:
        with pytest.raises(raises, match=re.escape(text)) as raised:
            call({})
        (fix,) = raised.value.fixes
        call(fix)


def test_what_a_game_does_not_make_is_refused():
    translating, guided = (
        game(translations=BY_DOMAIN),
        game(latent=BY_DOMAIN, reference=BY_REFERENCE),
    )

    def asked(of_game, name, of):
        def call(fix):
            protocol_of(of_game, fix.get("train.protocol", name), fix.get("train.evaluate_of", of))

        return call

    assert_refused_with_a_way_out(
        OptionError,
        "this game makes no transforms, only translations; evaluate these, by a protocol for them: set"
        " train.evaluate_of=translations",
        asked(translating, "", "transforms"),
        asked(translating, "reconstruction", ""),
    )
    assert_refused_with_a_way_out(
        OptionError,
        "this game makes no samples, only latent, reference; evaluate these",
        asked(guided, "", "samples"),
    )
    samples = game(samples=Output(lambda play: jnp.zeros((play.num, 8, 8, 1)), (8, 8, 1)))
    assert_refused_with_a_way_out(
        OptionError,
        "this game makes no latent, only samples; evaluate these, by a protocol for them: set train.evaluate_of=samples"
        " and train.protocol=quick.",
        asked(samples, "styles", "latent"),
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"of": "samples", "per_example": 1},
            "the score 'diversity_l1' compares several translations of one example, but the protocol 'custom' takes 1"
            " of its samples; leave this score out, or measure a run that makes translations in styles: set"
            " train.protocol=styles.",
        ),
        ({"per_example": 1}, "takes 1 of its latent; leave this score out"),
        (
            {"num_fake": 99},
            "the protocol 'custom' makes 10 translations of each example, but 99 generated examples are no multiple of"
            " that: set train.evaluate_num=100.",
        ),
    ],
)
def test_what_no_protocol_can_measure_is_refused(changes, text):
    protocol = protocols.adapted("styles", **{"scores": ("diversity_l1",), **changes})
    with pytest.raises(OptionError, match=re.escape(text)):
        check_counts(protocol)


def test_numbers_fit_the_translations_of_each_example():
    evaluator = train.make_evaluator(
        DIGITS, protocols.adapted("styles", num_fake=100_000), fit=True
    )
    assert evaluator.protocol.num_fake == 10 * len(DIGITS)
