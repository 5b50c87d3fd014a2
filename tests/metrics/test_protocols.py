import dataclasses

import pytest

from jaxgan.metrics import protocols
from jaxgan.metrics.protocols import PROTOCOLS, Protocol, adapted, by_name
from jaxgan.metrics.scores import (
    LATENTS,
    OF_DIVERSITY,
    OF_PAIRS,
    OF_PICTURES,
    PATH_LENGTH,
    PUBLISHED,
    SCORES,
    score_name,
)
from jaxgan.metrics.segmenter import AGREEMENT
from jaxgan.metrics.segmenter import NAME as SEGMENTER
from jaxgan.metrics.summary import IMAGE
from jaxgan.nets.features import networks


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_every_protocol_can_be_measured(protocol):
    """Its scores exist, its features have what they look at, and its numbers are enough for them."""
    outputs = {"features", PATH_LENGTH, LATENTS}
    assert (protocol.features == protocols.LPIPS) == (protocol.name.startswith("ppl"))
    outputs |= {AGREEMENT} if protocol.features == SEGMENTER else set()
    if protocol.features in networks():
        outputs |= set(networks()[protocol.features].outputs)
    for name in protocol.scores:
        score = SCORES[name]
        assert score.fake.moments | score.fake.arrays <= outputs | {IMAGE, *OF_PAIRS}
        assert set(score.options) <= {field.name for field in dataclasses.fields(Protocol)}
        for num in (protocol.num_fake, protocol.num_real):
            assert num is None or num >= score.least(protocol)
    assert protocol.source
    assert protocols.DEFAULT in PROTOCOLS


def test_the_first_number_of_a_score_is_a_distance_but_for_these():
    higher = {name for name, score in SCORES.items() if not score.lower_is_better}
    motion = {"eq_t", "eq_t_frac", "eq_r"}
    others = {"class", "pr", "dc", "probe", "psnr", "ssim", "label_maps", *OF_DIVERSITY}
    assert higher == others | motion


def test_only_the_original_inception_gives_the_published_names():
    assert [score_name(score, "inception", "tf1") for score in PUBLISHED] == [*PUBLISHED.values()]
    for features, resize in (("inception", "clean"), ("random_conv", "none"), ("vgg16", "tf1")):
        for score, published in PUBLISHED.items():
            assert score_name(score, features, resize) != published
    assert score_name("fd", "inception", "torch") == "torch_fid"
    assert [score_name(score, "inception", "tf1") for score in OF_PICTURES] == [*OF_PICTURES]


def test_a_changed_protocol_loses_its_name():
    assert adapted("fid50k_train", num_fake=100) == dataclasses.replace(
        by_name("fid50k_train"), name="custom", num_fake=100, source=""
    )
    assert adapted("fid50k_train", features="inception") is by_name("fid50k_train")


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(
        ValueError, match=r"no protocol is called 'fid50k'; did you mean 'fid50k_tr"
    ):
        by_name("fid50k")
    with pytest.raises(ValueError, match=r"'xyzzy'; there are fid50k_train, fid10k_test"):
        by_name("xyzzy")


def test_path_lengths_have_protocols_for_both_spaces_and_both_ways_of_sampling():
    names = [f"ppl_{space}_{sampling}" for space in "zw" for sampling in ("full", "end")]
    names += [f"{name}_faces" for name in names]
    assert set(names) == {name for name in PROTOCOLS if name.startswith("ppl")}
    for name in names:
        protocol = by_name(name)
        assert name.startswith(f"ppl_{protocol.space}_{protocol.sampling}")
        assert (protocol.num_fake, protocol.crop == "faces") == (100_000, name.endswith("faces"))
    assert score_name("path_length_z_end", "random_conv", "none") == "path_length_z_end_random_conv"
