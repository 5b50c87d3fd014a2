"""Evaluation: computes scores from two streams of examples and records the protocol with them."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from jaxgan import __version__
from jaxgan.metrics import protocols
from jaxgan.metrics.features import Extractor
from jaxgan.metrics.frechet import frechet_notes
from jaxgan.metrics.images import QUANTISATION
from jaxgan.metrics.protocols import LPIPS, Protocol
from jaxgan.metrics.scores import (
    LATENTS,
    OF_DIVERSITY,
    OF_PAIRS,
    OF_TRANSFORMS,
    OF_WALKS,
    PATH_LENGTH,
    PUBLISHED,
    SCORES,
    Score,
    score_name,
)
from jaxgan.metrics.segmenter import AGREEMENT
from jaxgan.metrics.segmenter import NAME as SEGMENTER
from jaxgan.metrics.summary import IMAGE, Needs, Summary, summarise
from jaxgan.options import OptionError


def evaluate(
    real: Iterable | Summary | None,
    fake: Iterable | Summary,
    extractor: Extractor,
    protocol: Protocol | str = "quick",
    *,
    batch_size: int | None = None,
    sharding: jax.sharding.NamedSharding | None = None,
    stated: Mapping[str, Any] | None = None,
    measured: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Computes the scores of a protocol.

    Args:
      real, fake: iterables of batches of any sizes: dicts with "image", or arrays; uint8
        [B, H, W, C] for pictures, float32 [B, D] for points. No more batches are read than needed.
        Results of `summarise` are accepted too. `real` may be None if no score needs real examples.
      extractor: the feature extractor; its name is part of the name of every score.
      protocol: a name of `protocols.PROTOCOLS`, or a custom `Protocol`. Fewer examples than it
        requires raise an error. `protocols.adapted` derives one protocol from another.
      batch_size, sharding: as in `summarise`.
      stated: further entries of the protocol on which the scores depend (data, ema=True, ...).
      measured: a description of the measured model (workdir, step, seed, ...), which may differ
        between comparable results.

    Returns:
      {score: float, ..., "better": {score: "lower", "higher" or ""}, "units": {score: text},
      "protocol": dict, "measured": dict, "notes": list}, ready for JSON. Two results are comparable
      only if their protocols agree (`jaxgan.metrics.compare`).

    >>> from jaxgan.metrics.features import points
    >>> x = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
    >>> protocol = Protocol("custom", ("fd",), "points", num_fake=500, split="test")
    >>> result = evaluate([x], [x + np.float32([3, 4])], points((2,)), protocol)
    >>> round(result["fd_points"], 3), result["protocol"]["split"]
    (25.0, 'test')
    """
    if isinstance(protocol, str):
        protocol = protocols.by_name(protocol)
    scores = check(protocol, extractor)
    how: dict[str, Any] = {"batch_size": batch_size, "sharding": sharding}
    summaries: dict[str, Any] = {"real": None, "fake": None}
    for kind, examples in (("real", real), ("fake", fake)):
        needs = needs_of(scores, kind)
        if needs is None:
            continue
        if examples is None:
            raise ValueError(f"{kind} is None, but {', '.join(protocol.scores)} need examples")
        if not isinstance(examples, Summary):
            num = getattr(protocol, f"num_{kind}")
            examples = summarise(examples, extractor, num, kind, needs, **how)
        summaries[kind] = _checked(examples, kind, protocol, scores)
    return report(
        **summaries, extractor=extractor, protocol=protocol, stated=stated, measured=measured
    )


def check_counts(
    protocol: Protocol, reals: int | None = None, most: int | None = None
) -> dict[str, Score]:
    """Returns the scores of a protocol; raises an error if they are unknown or its examples too few.

    Args:
      protocol: the protocol.
      reals: number of real examples of a protocol that takes all of them, if it is known.
      most: number of examples of either kind that there are, if it is known.
    """
    if unknown := [name for name in protocol.scores if name not in SCORES]:
        raise _unknown_score(unknown[0])
    scores = {name: SCORES[name] for name in protocol.scores}
    if protocol.of not in protocols.OF:
        raise ValueError(f"of is {protocol.of!r}; it must be {' or '.join(protocols.OF)}")
    if protocol.of == "samples" and (paired := [name for name in scores if name in OF_TRANSFORMS]):
        raise ValueError(
            f"the score {paired[0]!r} compares the transform of an example with the example itself; leave this score"
            " out, or measure the transforms of a run that makes some"
        )
    walks = [name for name in scores if name in OF_WALKS]
    if walks and len(scores) > 1:
        raise ValueError(
            f"the score {walks[0]!r} measures the latents of a run, and is computed alone; leave the other scores out"
        )
    diverse = [name for name in scores if name in OF_DIVERSITY]
    if diverse and (protocol.of not in protocols.TRANSLATIONS or protocol.per_example < 2):
        raise OptionError(
            None,
            None,
            f"the score {diverse[0]!r} compares several translations of one example, but the protocol {protocol.name!r}"
            f" takes {protocol.per_example} of its {protocol.of}; leave this score out, or measure a run that makes"
            " translations in styles",
            {"train.protocol": "styles"},
        )
    if protocol.num_fake % protocol.per_example:
        near = max(1, round(protocol.num_fake / protocol.per_example)) * protocol.per_example
        raise OptionError(
            None,
            None,
            f"the protocol {protocol.name!r} makes {protocol.per_example} translations of each example, but"
            f" {protocol.num_fake} generated examples are no multiple of that",
            {"train.evaluate_num": near},
        )
    numbers = {
        "real": reals if protocol.num_real is None else protocol.num_real,
        "fake": protocol.num_fake,
    }
    for score in scores.values():
        for kind, num in numbers.items():
            if num is not None and score.needs(kind) is not None and num < score.least(protocol):
                raise _too_few(protocol, numbers, most, kind)
    return scores


def _unknown_score(name: str) -> OptionError:
    """An error that names the protocol for a published name, or else the scores that there are.

    >>> str(_unknown_score("kid")).partition("; ")[0]
    "no score is called 'kid': it is 'kd' in the features of Inception"
    """
    known = {published: key for key, published in PUBLISHED.items()}.get(name)
    for protocol in protocols.PROTOCOLS.values():
        first = protocol.scores[0]
        if known in SCORES[first].numbers and protocol.features == "inception":
            problem = f"no score is called {name!r}: it is {first!r} in the features of Inception"
            way = "; choose a protocol in place of the scores"
            return OptionError(None, None, problem, {"train.protocol": protocol.name}, lead=way)
    return OptionError(None, None, f"no score is called {name!r}; there are {', '.join(SCORES)}")


def _too_few(
    protocol: Protocol, numbers: Mapping[str, int | None], most: int | None, kind: str
) -> OptionError:
    """The error for a score that needs more examples of a kind than there are: `numbers` of each kind."""
    num, least = numbers[kind], max(SCORES[score].least(protocol) for score in protocol.scores)
    needing = [score for score in protocol.scores if SCORES[score].needs(kind) is not None]
    most_needing = max(needing, key=lambda score: SCORES[score].least(protocol))
    problem = (
        f"num_{kind} = {num} is too few: the score {most_needing!r} needs at least"
        f" {SCORES[most_needing].least(protocol)}"
    )
    if kind == "real" and num == 1 and most in (None, 1):
        lead, single = "; to compare samples with one picture", protocols.by_name("single_image")
        fix: dict[str, Any] = {"train.protocol": single.name}
        if 1 < protocol.num_fake < single.num_fake:
            fix["train.evaluate_num"] = protocol.num_fake
        return OptionError(None, None, problem, fix, lead=lead)
    fixes: list[dict[str, int]] = [smaller_counts(protocol, numbers["real"], numbers["fake"])]
    fixes += [{"train.evaluate_num": least}] if most is not None and most >= least else []
    return OptionError(None, None, problem, *filter(None, fixes))


def smaller_counts(
    protocol: Protocol, num_real: int | None, num_fake: int | None
) -> dict[str, int]:
    """{field: value} of the counts in a protocol that must be smaller for so few examples; empty if that is not enough.

    >>> smaller_counts(protocols.by_name("kid50k_train"), 500, 400)
    {'subset_size': 400}
    """
    changes = {}
    for score in (SCORES[name] for name in protocol.scores):
        numbers = [
            num
            for kind, num in (("real", num_real), ("fake", num_fake))
            if num is not None and score.needs(kind) is not None
        ]
        missing = score.least(protocol) - min(numbers, default=score.least(protocol))
        if missing <= 0:
            continue
        value = getattr(protocol, score.count) - missing if score.count else 0
        if score.count is None or value < protocols.COUNTS[score.count]:
            return {}
        changes[score.count] = value
    return changes


def check(protocol: Protocol, extractor: Extractor) -> dict[str, Score]:
    """As `check_counts`; also raises an error if the extractor lacks an output that a score needs."""
    scores = check_counts(protocol)
    for name, score in scores.items():
        outputs = score.fake.moments | score.fake.arrays
        made = {IMAGE, *OF_PAIRS, PATH_LENGTH, LATENTS}
        if name == "path_length":  # the distance of pictures, or of their features
            outputs |= {"distance" if extractor.name == LPIPS else "features"}
        if missing := sorted(outputs - set(extractor.outputs) - made):
            fixes: list[dict[str, Any]] = [{"features": "inception"}]
            if AGREEMENT in missing:
                fixes = [{"features": SEGMENTER, "train.weights": "FILE"}]
            raise OptionError(
                None,
                None,
                f"the score {name!r} needs the {', '.join(missing)} of a network, but"
                f" {extractor.name!r} has only {', '.join(extractor.outputs)}; choose other features",
                *([] if extractor.name == "points" else fixes),
            )
    return scores


def needs_of(scores: Mapping[str, Score], kind: str) -> Needs | None:
    """The statistics that the scores need of examples of one kind ("real" or "fake"); None if they need none."""
    needs = [n for score in scores.values() if (n := score.needs(kind)) is not None]
    return functools.reduce(Needs.union, needs) if needs else None


def report(
    real: Summary | None,
    fake: Summary,
    *,
    extractor: Extractor,
    protocol: Protocol,
    stated: Mapping[str, Any] | None = None,
    measured: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Computes the result that `evaluate` returns, from summaries."""
    if real is not None and real.dtype != fake.dtype:
        raise ValueError(
            f"reals are {real.dtype} and fakes are {fake.dtype}: quantise both by the same rule"
        )
    statement = _statement(real, fake, extractor, protocol)
    stated = dict(stated or {})
    if clash := sorted(statement.keys() & stated.keys()):
        raise ValueError(f"the protocol already states {', '.join(clash)}; use another name")
    result: dict[str, Any] = {}
    better, units = {}, {}
    for name in protocol.scores:
        score = SCORES[name]
        arguments = (extractor,) if score.through else ()
        for key, value in score.compute(real, fake, protocol, *arguments).items():
            called = score_name(key, extractor.name, statement["resize"], protocol.of)
            result[called] = value
            better[called], units[called] = score.numbers[key].better, score.numbers[key].unit
    return result | {
        "better": better,
        "units": units,
        "protocol": statement | stated,
        "measured": dict(measured or {}),
        "notes": _notes(real, fake),
    }


def _checked(
    summary: Summary, kind: str, protocol: Protocol, scores: Mapping[str, Score]
) -> Summary:
    num = getattr(protocol, f"num_{kind}")
    if num is not None and summary.count != num:
        raise ValueError(
            f"the protocol {protocol.name!r} takes {num} {kind} examples, but {summary.count} were"
            " summarised"
        )
    least = max(s.least(protocol) for s in scores.values() if s.needs(kind) is not None)
    if summary.count < least:
        raise ValueError(
            f"{summary.count} {kind} examples are too few: the scores {', '.join(scores)} need at"
            f" least {least}"
        )
    return summary


def _statement(
    real: Summary | None, fake: Summary, extractor: Extractor, protocol: Protocol
) -> dict[str, Any]:
    """The entries of the protocol that are known here; `stated` adds those of the caller."""
    options = {name for score in protocol.scores for name in SCORES[score].options}
    # Transforms are made from real examples, whether or not any score uses the real examples themselves.
    sampled = protocol.of == "samples"
    return {
        "name": protocol.name,
        "scores": list(protocol.scores),
        "of": protocol.of,
        "num_real": real.count if real is not None else None if sampled else fake.count,
        "num_fake": fake.count,
        "split": None if real is None and sampled else protocol.split,
        "features": extractor.name,
        "features_dim": extractor.outputs.get("features"),
        "features_checksum": getattr(extractor, "checksum", "not stated"),
        "resize": getattr(extractor, "resize", "none"),
        "quantisation": QUANTISATION if fake.dtype == np.uint8 else "none",
        **{name: _plain(getattr(protocol, name)) for name in sorted(options)},
        "numbers": protocols.NUMBERS,
        "jaxgan": __version__,
    }


def _plain(value: Any) -> Any:
    """The value as JSON returns it."""
    return list(value) if isinstance(value, tuple) else value


def _notes(real: Summary | None, fake: Summary) -> list[str]:
    """Notes on the reliability of the scores."""
    return [
        note if output == "features" else f"{output}: {note}"
        for kind, summary in (("real", real), ("fake", fake))
        if summary is not None
        for output, moments in summary.moments.items()
        for note in frechet_notes(kind, moments)
    ]
