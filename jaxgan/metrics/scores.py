"""The scores that `evaluate` can compute from two summaries, and the statistics that each score needs.

A score is named after its features (`fd_random_conv`). It has its published name (FID, KID, IS, sFID)
only with the features and the resizing of the original Inception. For transforms of real examples,
published names begin with "r" (rFID), but not for translations to other domains.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxgan.metrics.classification_accuracy import linear_probe_accuracy
from jaxgan.metrics.classwise import classwise_frechet
from jaxgan.metrics.frechet import frechet_distance_to
from jaxgan.metrics.frechet_extrapolated import extrapolated_frechet
from jaxgan.metrics.inception_score import inception_score
from jaxgan.metrics.kid import kernel_distance
from jaxgan.metrics.linear_separability import linear_separability
from jaxgan.metrics.ms_ssim import ms_ssim_diversity, smallest_side
from jaxgan.metrics.paired import MEASURES, load
from jaxgan.metrics.perceptual_diversity import perceptual_diversity
from jaxgan.metrics.perceptual_path_length import trimmed
from jaxgan.metrics.precision_recall import density_coverage, precision_recall
from jaxgan.metrics.protocols import LPIPS, SAMPLING, SPACES, Protocol
from jaxgan.metrics.segmentation import scores_of_counts
from jaxgan.metrics.segmenter import AGREEMENT
from jaxgan.metrics.single_image import inception_maps, random_maps, single_image_distance
from jaxgan.metrics.sliced import patch_sliced_wasserstein
from jaxgan.metrics.summary import IMAGE, Needs, Summary

# The published names of scores with the features of the original Inception.
PUBLISHED = {
    "fd": "fid",
    "fd_infinity": "fid_infinity",
    "sfd": "sfid",
    "kd": "kid",
    "kd_deviation": "kid_deviation",
    "class_score": "is",
    "class_score_deviation": "is_deviation",
    "classwise_fd": "intra_fid",
    "classwise_fd_worst": "intra_fid_worst",
}
# Scores that use the pictures themselves, or whose names already state the features.
OF_DIVERSITY = {f"diversity_{measure}": measure for measure in ("l1", "lpips_alex")}
OF_PICTURES = ("ms_ssim", "swd", "sifid", "single_image_fd_random_conv", *OF_DIVERSITY)
# Scores of an output of the game of this name, whose rows [squared error, number of values] are not pictures.
OF_ERRORS = ("eq_t", "eq_t_frac", "eq_r")
ERRORS = 2  # numbers in such a row
# Scores that compare each generated example with the real example that it is a transform of.
OF_PAIRS = tuple(MEASURES)
# Scores that compare each generated example with the label map that it was made from.
OF_LABEL_MAPS = "label_maps"
OF_TRANSFORMS = (*OF_PAIRS, OF_LABEL_MAPS)
# Scores of a run's latent spaces, and what they need besides the outputs of the extractor.
OF_WALKS = ("path_length", "separability")
PATH_LENGTH, LATENTS = "path_length", "latents"


@dataclasses.dataclass(frozen=True)
class Number:
    """The meaning of one number.

    Attributes:
      better: "lower" or "higher"; empty if neither is, as for a standard deviation.
      unit: what it counts or measures, with its range if it has one.
    """

    better: str
    unit: str

    def __post_init__(self):
        assert self.better in ("lower", "higher", ""), self.better


@dataclasses.dataclass(frozen=True)
class Score:
    """A score, or a group of scores that are computed together.

    Attributes:
      compute: (real or None, fake, protocol) -> {name without features: number}, some or all of `numbers`.
      fake: the statistics that the score needs of the fakes.
      real: the statistics that the score needs of the reals; None if it does not use reals.
      numbers: {name without features: meaning}. The first number is the one by which results are ranked.
      options: the fields of `Protocol` that the numbers depend on.
      least: (protocol) -> the minimum number of examples of each kind.
      count: the field of `Protocol` that this minimum grows with, one by one; None if it is fixed.
      through: whether `compute` takes the extractor as a fourth argument.
      labels: whether it uses the labels of the examples.
    """

    compute: Callable[..., dict[str, float]]
    fake: Needs
    real: Needs | None
    numbers: Mapping[str, Number]
    options: tuple[str, ...] = ()
    least: Callable[[Protocol], int] = lambda protocol: 2
    count: str | None = None
    through: bool = False
    labels: bool = False

    @property
    def lower_is_better(self) -> bool:
        """Whether lower values of the first number are better."""
        return next(iter(self.numbers.values())).better == "lower"

    def needs(self, kind: str) -> Needs | None:
        """The statistics that the score needs of examples of one kind ("real" or "fake"); None if it needs none."""
        return self.fake if kind == "fake" else self.real


def score_name(score: str, features: str, resize: str, of: str = "samples") -> str:
    """Returns the name of a score with the given features and resizing.

    >>> score_name("fd", "inception", "tf1"), score_name("fd", "inception", "clean")
    ('fid', 'clean_fid')
    >>> score_name("fd", "inception", "tf1", "transforms"), score_name("psnr", "inception", "tf1")
    ('rfid', 'psnr')
    >>> score_name("path_length_w_end", "lpips_vgg", "none")
    'ppl_w_end'
    >>> score_name("fd", "inception", "tf1", "latent")
    'fid'
    >>> score_name("fd", "cifar10_resnet56", "none"), score_name("precision", "inception", "tf1")
    ('fd_cifar10_resnet56', 'precision_inception')
    """
    if score in (*OF_PICTURES, *OF_PAIRS, *OF_ERRORS):
        return score
    if features == LPIPS and score.startswith(PATH_LENGTH):
        return f"ppl{score.removeprefix(PATH_LENGTH)}"
    if features != "inception" or score not in PUBLISHED:
        return f"{score}_{features}"
    name = PUBLISHED[score] if of != "transforms" else f"r{PUBLISHED[score]}"
    return name if resize == "tf1" else f"{resize}_{name}"


_DISTANCE = Number("lower", "squared distance")
_DEVIATION = Number("", "standard deviation")
_SHARE = Number("higher", "share, 0 to 1")


def _frechet(output: str, name: str) -> Score:
    def compute(real: Summary, fake: Summary, protocol: Protocol) -> dict[str, float]:
        return {name: frechet_distance_to(real.moments[output])(fake.moments[output])}

    needs = Needs(moments=frozenset([output]))
    return Score(compute, needs, needs, {name: _DISTANCE})


def _extrapolated(real: Summary, fake: Summary, protocol: Protocol) -> dict[str, float]:
    found = extrapolated_frechet(real.moments["features"], fake.arrays["features"])
    return {"fd_infinity": found.limit}


def _kernel(real: Summary, fake: Summary, protocol: Protocol) -> dict[str, float]:
    found = kernel_distance(
        real.arrays["features"], fake.arrays["features"], protocol.subsets, protocol.subset_size
    )
    return {"kd": found.mean, "kd_deviation": found.deviation}


def _class_score(real: None, fake: Summary, protocol: Protocol) -> dict[str, float]:
    found = inception_score(fake.arrays["logits"], protocol.splits)
    return {"class_score": found.mean, "class_score_deviation": found.deviation}


def _precision_recall(real: Summary, fake: Summary, protocol: Protocol) -> dict[str, float]:
    found = precision_recall(real.arrays["features"], fake.arrays["features"], protocol.nearest_k)
    return {"precision": found.precision, "recall": found.recall}


def _density_coverage(real: Summary, fake: Summary, protocol: Protocol) -> dict[str, float]:
    found = density_coverage(real.arrays["features"], fake.arrays["features"], protocol.density_k)
    return {"density": found.density, "coverage": found.coverage}


def _labelled(real: Summary, fake: Summary, what: str) -> tuple:
    for kind, summary in (("real", real), ("fake", fake)):
        if summary.labels is None:
            raise ValueError(
                f"{what} needs the classes of the examples, but the {kind} ones have no labels; give their labels, or"
                " leave this score out"
            )
    return real.arrays["features"], real.labels, fake.arrays["features"], fake.labels


def _classwise(real: Summary, fake: Summary, protocol: Protocol) -> dict[str, float]:
    found = classwise_frechet(*_labelled(real, fake, "the classwise Fréchet distance"))
    return {"classwise_fd": found.mean, "classwise_fd_worst": max(found.per_class.values())}


def _probe(real: Summary, fake: Summary, protocol: Protocol) -> dict[str, float]:
    found = linear_probe_accuracy(*_labelled(real, fake, "the linear probe"))
    return {"probe_accuracy": found.accuracy}


def unfit(score: str, shape: tuple[int, ...], reals: int | None) -> str:
    """The reason why a score cannot be computed from pictures of a shape, and so many real ones; empty if it can.

    >>> unfit("ms_ssim", (32, 32, 3), 1000)
    ''
    """
    side, least = min(shape[:2]), smallest_side()
    if score == "ms_ssim" and side < least:
        return (
            f"MS-SSIM needs pictures with sides of {least} pixels or more, not {side}; leave the score"
            " 'ms_ssim' out, or measure larger pictures"
        )
    if score == "single_image" and reals != 1:
        return (
            f"the single-image distance needs exactly one real picture, but there are {reals:,}; use"
            " another score"
        )
    return ""


def _check_fit(score: str, shape: tuple[int, ...], reals: int | None) -> None:
    if reason := unfit(score, shape, reals):
        raise ValueError(reason)


def _swd(real: Summary, fake: Summary, protocol: Protocol) -> dict[str, float]:
    return {"swd": patch_sliced_wasserstein(real.arrays[IMAGE], fake.arrays[IMAGE]).mean}


def _ms_ssim(real: None, fake: Summary, protocol: Protocol) -> dict[str, float]:
    _check_fit("ms_ssim", fake.arrays[IMAGE].shape[1:], None)
    found = ms_ssim_diversity(fake.arrays[IMAGE], fake.labels, shrink_window=True)
    return {"ms_ssim": found.mean}


def _single_image(
    real: Summary,
    fake: Summary,
    protocol: Protocol,
    extractor: Any,  # an `Extractor`; for Inception's features a `NetworkExtractor`
) -> dict[str, float]:
    _check_fit("single_image", fake.arrays[IMAGE].shape[1:], real.count)
    if protocol.features not in ("inception", "random_conv"):
        raise ValueError(
            f"the single-image distance needs the features 'inception' or 'random_conv', not {protocol.features!r}"
        )
    maps = inception_maps(extractor) if protocol.features == "inception" else random_maps()
    return single_image_distance(real.arrays[IMAGE][0], fake.arrays[IMAGE], maps)


def _path_length(real: None, fake: Summary, protocol: Protocol) -> dict[str, float]:
    found = trimmed(fake.arrays[PATH_LENGTH][:, 0].astype("float64"))
    name = f"{PATH_LENGTH}_{protocol.space}_{protocol.sampling}"
    return {name: found.mean, f"{name}_deviation": found.deviation}


def _label_maps(real: None, fake: Summary, protocol: Protocol) -> dict[str, float]:
    counts = fake.arrays[AGREEMENT].sum(axis=0, dtype="float64")
    both, recovered, given = np.split(counts, 3)
    if not given.any():
        raise ValueError(
            "every pixel is ignored, so there is nothing to score; ignore fewer labels"
        )
    found = scores_of_counts(both, recovered, given, protocol.ignored)
    return {"mean_iou": found.mean_iou, "pixel_accuracy": found.accuracy}


def _separability(real: None, fake: Summary, protocol: Protocol) -> dict[str, float]:
    found = linear_separability(fake.arrays[LATENTS], fake.arrays["logits"])
    return {f"separability_{protocol.space}": found.score}


def _diversity(name: str) -> Score:
    measure = MEASURES[OF_DIVERSITY[name]]

    def compute(real: None, fake: Summary, protocol: Protocol) -> dict[str, float]:
        variables = load(OF_DIVERSITY[name])
        found = perceptual_diversity(
            fake.arrays[IMAGE],
            lambda one, other: measure.of(variables, one, other),
            np.arange(fake.count) // protocol.per_example,
            pairs=None,
        )
        return {name: found.mean}

    return Score(
        compute,
        _PICTURES,
        None,
        {name: Number("higher", "distance of translations of one picture")},
        options=("per_example",),
        least=lambda protocol: protocol.per_example,
    )


def _mean_of_pairs(measure: str, number: Number) -> Score:
    def compute(real: Summary | None, fake: Summary, protocol: Protocol) -> dict[str, float]:
        return {measure: float(fake.arrays[measure].mean(dtype="float64"))}

    needs = Needs(arrays=frozenset([measure]))
    return Score(compute, needs, None, {measure: number}, least=lambda protocol: 1)


def _decibels_of_errors(name: str) -> Score:
    """10 log10(4 n / squared error): pictures have values from -1 to 1."""

    def compute(real: None, fake: Summary, protocol: Protocol) -> dict[str, float]:
        squared_error, num = fake.arrays["features"].sum(axis=0, dtype="float64")
        if not num:
            raise ValueError(
                f"{name} compares no pixel: the pictures are not larger than the filter that moves them; use another"
                " score, or larger pictures"
            )
        with np.errstate(divide="ignore"):
            return {name: float(10 * np.log10(4 * num / squared_error))}

    return Score(compute, _FEATURES, None, {name: Number("higher", "dB")}, least=lambda protocol: 1)


_OF_PAIRS = {
    "psnr": Number("higher", "dB"),
    "ssim": Number("higher", "similarity, at most 1"),
    "l1": Number("lower", "share of the range of values"),
    "lpips_alex": Number("lower", "distance"),
    "lpips_vgg": Number("lower", "distance"),
}
_MOMENTS = Needs(moments=frozenset(["features"]))
_FEATURES = Needs(arrays=frozenset(["features"]))
_LOGITS = Needs(arrays=frozenset(["logits"]))
_PICTURES = Needs(arrays=frozenset([IMAGE]))

SCORES: dict[str, Score] = {
    "fd": _frechet("features", "fd"),
    "sfd": _frechet("spatial", "sfd"),
    "fd_infinity": Score(_extrapolated, _FEATURES, _MOMENTS, {"fd_infinity": _DISTANCE}),
    "kd": Score(
        _kernel,
        _FEATURES,
        _FEATURES,
        {"kd": _DISTANCE, "kd_deviation": _DEVIATION},
        options=("subsets", "subset_size"),
        least=lambda protocol: protocol.subset_size,
        count="subset_size",
    ),
    "class": Score(
        _class_score,
        _LOGITS,
        None,
        {
            "class_score": Number("higher", "number of classes"),
            "class_score_deviation": _DEVIATION,
        },
        options=("splits",),
        least=lambda protocol: protocol.splits,
        count="splits",
    ),
    "pr": Score(
        _precision_recall,
        _FEATURES,
        _FEATURES,
        {"precision": _SHARE, "recall": _SHARE},
        options=("nearest_k",),
        least=lambda protocol: protocol.nearest_k + 1,
        count="nearest_k",
    ),
    "dc": Score(
        _density_coverage,
        _FEATURES,
        _FEATURES,
        {"density": Number("higher", "about 1 for real ones"), "coverage": _SHARE},
        options=("density_k",),
        least=lambda protocol: protocol.density_k + 1,
        count="density_k",
    ),
    "classwise": Score(
        _classwise,
        _FEATURES,
        _FEATURES,
        {"classwise_fd": _DISTANCE, "classwise_fd_worst": _DISTANCE},
        labels=True,
    ),
    "probe": Score(_probe, _FEATURES, _FEATURES, {"probe_accuracy": _SHARE}, labels=True),
    "swd": Score(
        _swd,
        _PICTURES,
        _PICTURES,
        {"swd": Number("lower", "distance; papers print 1,000 times it")},
    ),
    "ms_ssim": Score(
        _ms_ssim,
        _PICTURES,
        None,
        {"ms_ssim": Number("lower", "similarity of pairs, at most 1")},
        labels=True,
    ),
    "single_image": Score(
        _single_image,
        _PICTURES,
        _PICTURES,
        {"sifid": _DISTANCE, "single_image_fd_random_conv": _DISTANCE},
        least=lambda protocol: 1,
        through=True,
    ),
    "path_length": Score(
        _path_length,
        Needs(arrays=frozenset([PATH_LENGTH])),
        None,
        {
            f"{PATH_LENGTH}_{space}_{sampling}{what}": number
            for space in SPACES
            for sampling in SAMPLING
            for what, number in (
                ("", Number("lower", "squared distance per squared step")),
                ("_deviation", _DEVIATION),
            )
        },
        options=("space", "sampling", "crop"),
    ),
    "separability": Score(
        _separability,
        Needs(arrays=frozenset([LATENTS, "logits"])),
        None,
        {
            f"separability_{space}": Number("lower", "exp of a conditional entropy, from 1")
            for space in SPACES
        },
        options=("space",),
        least=lambda protocol: 20,
    ),
    OF_LABEL_MAPS: Score(
        _label_maps,
        Needs(arrays=frozenset([AGREEMENT])),
        None,
        {"mean_iou": _SHARE, "pixel_accuracy": _SHARE},
        options=("ignored",),
        least=lambda protocol: 1,
    ),
    **{name: _diversity(name) for name in OF_DIVERSITY},
    **{name: _mean_of_pairs(name, number) for name, number in _OF_PAIRS.items()},
    **{name: _decibels_of_errors(name) for name in OF_ERRORS},
}


def output_of(protocol: Protocol) -> str:
    """The output of a game whose rows a protocol measures.

    >>> from jaxgan.metrics import protocols
    >>> output_of(protocols.by_name("quick")), output_of(protocols.by_name("eq_t50k"))
    ('samples', 'eq_t')
    """
    outputs = {name if name in OF_ERRORS else protocol.of for name in protocol.scores}
    if len(outputs) > 1:
        raise ValueError(
            f"the scores {', '.join(protocol.scores)} measure different things, {', '.join(sorted(outputs))}; evaluate"
            " each by itself"
        )
    return outputs.pop()
