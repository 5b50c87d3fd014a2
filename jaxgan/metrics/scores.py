"""The scores that `evaluate` can compute from two summaries, and what each of them needs kept.

A score is named after its features (`fd_random_conv`). Only in the features of the original
Inception, resized as the original does, does it bear the name that papers know: FID, KID, IS, sFID.
"""

import dataclasses
from collections.abc import Callable

from jaxgan.metrics.frechet import frechet_distance
from jaxgan.metrics.inception_score import inception_score
from jaxgan.metrics.kid import kernel_distance
from jaxgan.metrics.precision_recall import density_coverage, precision_recall
from jaxgan.metrics.protocols import Protocol
from jaxgan.metrics.summary import Summary, Wanted

# What papers call a score in the features of the original Inception.
PUBLISHED = {
    "fd": "fid",
    "sfd": "sfid",
    "kd": "kid",
    "kd_deviation": "kid_deviation",
    "class_score": "is",
    "class_score_deviation": "is_deviation",
}


@dataclasses.dataclass(frozen=True)
class Score:
    """One family of numbers from one pass over the examples.

    Attributes:
      wanted: what must be kept of the fakes, and of the reals if they are needed.
      needs_real: whether reals are looked at.
      lower_is_better: of its first number.
      options: the fields of `Protocol` that its numbers depend on.
      least: (protocol) -> the fewest examples of a kind that it is defined for.
      compute: (real or None, fake, protocol) -> {name without features: number}.
    """

    wanted: Wanted
    needs_real: bool
    lower_is_better: bool
    options: tuple[str, ...]
    least: Callable[[Protocol], int]
    compute: Callable[[Summary | None, Summary, Protocol], dict[str, float]]


def score_name(score: str, features: str, resize: str) -> str:
    """How the result of a score in these features is called.

    >>> score_name("fd", "inception", "tf1"), score_name("fd", "inception", "clean")
    ('fid', 'clean_fid')
    >>> score_name("fd", "cifar10_resnet56", "none"), score_name("precision", "inception", "tf1")
    ('fd_cifar10_resnet56', 'precision_inception')
    """
    if features != "inception" or score not in PUBLISHED:
        return f"{score}_{features}"
    name = PUBLISHED[score]
    return name if resize == "tf1" else f"{resize}_{name}"


def _frechet(output: str, name: str):
    def compute(real: Summary, fake: Summary, protocol: Protocol) -> dict[str, float]:
        one, two = real.moments[output], fake.moments[output]
        return {
            name: frechet_distance(one.mean, one.covariance(), two.mean, two.covariance()),
        }

    return Score(Wanted(moments=frozenset([output])), True, True, (), lambda p: 2, compute)


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


_FEATURES = Wanted(arrays=frozenset(["features"]))

SCORES: dict[str, Score] = {
    "fd": _frechet("features", "fd"),
    "sfd": _frechet("spatial", "sfd"),
    "kd": Score(
        _FEATURES, True, True, ("subsets", "subset_size"), lambda p: p.subset_size, _kernel
    ),
    "class": Score(
        Wanted(arrays=frozenset(["logits"])),
        False,
        False,
        ("splits",),
        lambda p: p.splits,
        _class_score,
    ),
    "pr": Score(
        _FEATURES, True, False, ("nearest_k",), lambda p: p.nearest_k + 1, _precision_recall
    ),
    "dc": Score(
        _FEATURES, True, False, ("density_k",), lambda p: p.density_k + 1, _density_coverage
    ),
}
