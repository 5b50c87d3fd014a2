"""Evaluation of a trained state by a protocol."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxgan import sampling, tools
from jaxgan.data import Source
from jaxgan.engine import Engine
from jaxgan.game import SAMPLES, TRANSFORMS, Game, State
from jaxgan.metrics import protocols, statistics
from jaxgan.metrics.compare import DATA, FINGERPRINT, scores
from jaxgan.metrics.evaluate import check, check_counts, evaluate, needs_of, smaller_counts
from jaxgan.metrics.features import Extractor
from jaxgan.metrics.images import QUANTISATION
from jaxgan.metrics.networks import Progress, open_extractor
from jaxgan.metrics.paired import load as load_measure
from jaxgan.metrics.protocols import OF, TRANSLATIONS, Protocol
from jaxgan.metrics.scores import (
    ERRORS,
    OF_ERRORS,
    OF_LABEL_MAPS,
    OF_PAIRS,
    OF_TRANSFORMS,
    OF_WALKS,
    SCORES,
    output_of,
    unfit,
)
from jaxgan.metrics.segmenter import AGREEMENT, LABEL_MAP
from jaxgan.metrics.summary import BATCH_SIZE, Needs, Summary, summarise
from jaxgan.options import OptionError
from jaxgan.train.outputs import balanced, examples, given_for, summarise_output
from jaxgan.train.report import read_json_lines, write_json_lines
from jaxgan.train.walks import check_space, summarise_walks
from jaxgan.weights import cache_folder

EVALUATIONS = "evaluations.jsonl"
BATCH_STATISTICS = "running averages"


def protocol_of(game: Game, name: str = "", of: str = "") -> Protocol:
    """The protocol by which a game is evaluated.

    Args:
      game: must make the samples or transforms that are evaluated.
      name: of the protocol; the default one if it is empty.
      of: one of `protocols.OF`; if empty, that of the protocol, or else what the game makes.
    """
    if of not in ("", *protocols.OF):
        raise OptionError(
            "train.evaluate_of",
            of,
            f"it must be {' or '.join(protocols.OF)}, or empty for what the game makes",
            {"train.evaluate_of": ""},
        )
    named = protocols.by_name(name) if name else None
    if not of:
        of = "samples" if named is None else named.of
        if of not in game.outputs and (of in (SAMPLES, *TRANSLATIONS) or named is None):
            alike = [o for o in OF if o in game.outputs and (of == SAMPLES or o in TRANSLATIONS)]
            of = alike[0] if alike else TRANSFORMS if of == SAMPLES else of
    made = [other for other in OF if other in game.outputs]
    if of not in made and made and {of, *made} & {*TRANSLATIONS}:
        raise OptionError(
            None,
            None,
            f"this game makes no {of}, only {', '.join(made)}; evaluate these, by a protocol for them",
            {"train.evaluate_of": made[0]}
            | ({"train.protocol": _default_for(made[0])} if name else {}),
        )
    if of == SAMPLES and of not in game.outputs:
        raise OptionError(
            None,
            None,
            "this game makes no samples, only transforms of examples; evaluate transforms",
            {"train.evaluate_of": "transforms"},
        )
    if of == TRANSFORMS and of not in game.outputs:
        raise OptionError(
            None,
            None,
            "this game makes no transforms of examples; evaluate samples by a protocol of samples",
            {"train.evaluate_of": "samples"}
            | ({"train.protocol": protocols.DEFAULT} if name and _of_pairs(name) else {}),
        )
    if named is None:
        protocol = protocols.fitted(protocols.by_name(_default_for(of)), of=of)
    else:
        protocol = protocols.adapted(named, of=of)
    check_output(game, protocol)
    return protocol


def _default_for(of: str) -> str:
    """The default protocol for a kind of generated examples."""
    kinds = {SAMPLES: protocols.DEFAULT, TRANSFORMS: protocols.DEFAULT_OF_TRANSFORMS}
    return kinds.get(of, protocols.DEFAULT_OF_TRANSLATIONS)


def check_output(game: Game, protocol: Protocol) -> None:
    """Raises if a game lacks the output, or the latent space, that the protocol measures."""
    if set(protocol.scores) & set(OF_WALKS):
        check_space(game, protocol)
    output = output_of(protocol)
    if output not in game.outputs:
        raise OptionError(
            None,
            None,
            f"the score {output!r} moves the input of a generator, which this game's generator does not allow; choose"
            " another protocol",
            {"train.protocol": protocols.DEFAULT},
        )
    if OF_LABEL_MAPS in protocol.scores and LABEL_MAP not in game.outputs[output].needs:
        raise OptionError(
            None,
            None,
            f"the score {OF_LABEL_MAPS!r} compares label maps, but this game makes its {output} of none; choose another"
            " protocol",
            {"train.protocol": protocols.DEFAULT_OF_TRANSFORMS},
        )


def _of_pairs(name: str) -> bool:
    """Whether a protocol has scores that only transforms have."""
    return bool(set(protocols.by_name(name).scores) & set(OF_TRANSFORMS))


def make_evaluator(
    source: Source,
    protocol: Protocol | str = "quick",
    *,
    weights: str | Path | None = None,
    num: int = 0,
    fit: bool = False,
    fake: Source | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
    **how: Any,
) -> Evaluator:
    """The evaluator of a protocol against the examples of `source`.

    Args:
      source: the reals, of the protocol's split.
      protocol: a name, or a `Protocol`.
      weights: file of the feature network's weights; downloaded if it is None.
      num: number of generated examples instead of the protocol's. The number of reals is the same, or all if there are
        fewer; for transforms the two are always equal.
      fit: if `num` is not given, use at most as many examples as there are, instead of raising an error.
      fake: the generated examples, if they are a set.
      cache: folder for the statistics of reals; None for the user's cache folder.
      progress: called while weights are downloaded, as by `jaxgan.weights.load`.
      **how: further fields of `Evaluator`.
    """
    if isinstance(protocol, str):
        protocol = protocols.by_name(protocol)
    if not source.spec.pictures and protocol.features == "random_conv":
        protocol = protocols.fitted(protocol, features="points")
    most = reals = len(source)
    made = len(fake) if fake is not None else None
    if num or fit:
        per = protocol.per_example
        num_fake = num or min(protocol.num_fake, per * reals if made is None else made) // per * per
        num_real = None if protocol.num_real is None else min(num or protocol.num_real, reals)
        if protocol.of == "transforms":
            num_real = num_fake
        change = protocols.adapted if num else protocols.fitted
        protocol = change(protocol, num_fake=num_fake, num_real=num_real)
    # All before any weights are fetched.
    if fake is not None:
        most = min(reals, len(fake))
        check_made(protocol, fake, reals)
    check_counts(protocol, reals, most)
    for name in protocol.scores:
        if reason := unfit(name, source.spec.shape, protocol.num_real or reals):
            raise ValueError(reason)
    shape = (ERRORS,) if output_of(protocol) in OF_ERRORS else source.spec.shape
    extractor = open_extractor(protocol.features, shape, weights, protocol.resize, progress)
    cache = Path(cache) if cache else cache_folder() / "statistics"
    return Evaluator(protocol, extractor, source, cache, **how)


def check_made(protocol: Protocol, fake: Source, reals: int) -> None:
    """Raises if a protocol does not measure sets, or the set of generated examples has fewer than it takes."""
    if output_of(protocol) in OF_ERRORS:
        raise OptionError(
            None,
            None,
            f"the protocol {protocol.name!r} moves the input of a generator, so it measures runs, not pictures; measure"
            " pictures by another one",
            {"train.protocol": protocols.DEFAULT},
        )
    most = len(fake)
    if protocol.num_fake > most:
        raise OptionError(
            None,
            None,
            f"the protocol {protocol.name!r} takes {protocol.num_fake:,} generated examples, but {fake.summary} has"
            f" only {most:,}; generate more",
            _with_fewer(protocol, most, min(most, reals)),
            lead=", or measure these by a protocol of your own",
        )


def _with_fewer(protocol: Protocol, num: int, reals: int) -> dict[str, int]:
    """The options by which a protocol takes `num` generated examples, and so many real ones."""
    return {"train.evaluate_num": num, **smaller_counts(protocol, reals, num)}


@dataclasses.dataclass
class Evaluator:
    """Evaluates states of one run against the same reals, by the same protocol.

    Attributes:
      protocol: the protocol.
      extractor: computes the features.
      source: the reals.
      cache: folder in which the statistics of the reals are kept between runs; None to keep none.
      stated: further fields of the protocol in the result.
      measured: further fields about the run in the result.
      seed: of the samples.
      ema: whether averaged weights are used, if they are kept.
      options: {name: value} of the output that is evaluated; the game's defaults for the others.
    """

    protocol: Protocol
    extractor: Extractor
    source: Source
    cache: Path | None = None
    stated: dict[str, Any] = dataclasses.field(default_factory=dict)
    measured: dict[str, Any] = dataclasses.field(default_factory=dict)
    seed: int = 0
    ema: bool = True
    options: dict[str, tools.Value] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        self._scores = check(self.protocol, self.extractor)
        most = len(self.source)
        if self.protocol.num_real is not None and self.protocol.num_real > most:
            raise OptionError(
                None,
                None,
                f"the protocol {self.protocol.name!r} compares with {self.protocol.num_real:,} real examples, but"
                f" {self.source.summary} has only {most:,}; choose another protocol",
                _with_fewer(self.protocol, most, most),
                lead=", or one of your own",
            )
        if OF_LABEL_MAPS in self.protocol.scores:
            self._check_labels()
        for name in set(self.protocol.scores) & set(OF_PAIRS):
            load_measure(name)  # raises now if its weights are not available
        num_real = self.protocol.num_real or len(self.source)
        if self.protocol.of == "transforms" and self.protocol.num_fake != num_real:
            raise OptionError(
                None,
                None,
                f"a transform is made of each real example, but the protocol {self.protocol.name!r} takes"
                f" {self.protocol.num_fake:,} generated and {num_real:,} real ones; take one number of both",
                {"train.evaluate_num": min(num_real, self.protocol.num_fake)},
            )
        self._real: Summary | None = None

    def _check_labels(self) -> None:
        """Raises unless the segmenter has the labels of the data, and those that are ignored are among them."""
        number, labels = self.source.spec[LABEL_MAP].number, self.extractor.outputs[AGREEMENT] // 3
        if labels != number:
            raise ValueError(
                f"the segmenter has {labels} labels, but {self.source.summary} has {number}; give one for these labels"
            )
        if unknown := [label for label in self.protocol.ignored if not 0 <= label < number]:
            raise ValueError(
                f"there is no label {unknown[0]} to ignore: there are {number}, from 0 to {number - 1}"
            )

    def __call__(self, engine: Engine, state: State, step: int) -> dict[str, Any]:
        """The result for a state, as `jaxgan.metrics.evaluate.evaluate` returns it."""
        ema = self.ema and bool(state.ema)
        fake, labels = self._fake(engine, state, ema)
        statistics = self._statistics()
        if self.protocol.of == TRANSFORMS:
            # pix2pix normalises by the statistics of each single picture, other models by running averages.
            statistics = "as the model transforms"
        elif self.protocol.of in TRANSLATIONS:
            statistics = "as the model translates"
        return evaluate(
            self.real(),
            fake,
            self.extractor,
            self.protocol,
            stated={
                DATA: self.source.summary,
                FINGERPRINT: self.source.identity,
                "ema": ema,
                "batch_statistics": statistics,
                "labels": labels,
                **self._sampling(engine.game),
                **self.stated,
            },
            measured={
                "step": step,
                "kimg": engine.game.images(step) / 1000,
                "seed": self.seed,
                **self.measured,
            },
        )

    def _fake(self, engine: Engine, state: State, ema: bool) -> tuple[Summary, str]:
        """(statistics of the generated examples, whose labels they have)."""
        num, needs = self.protocol.num_fake, needs_of(self._scores, "fake")
        assert needs is not None, "every score uses the generated examples"
        if set(self.protocol.scores) & set(OF_WALKS):
            drawn = "none" if engine.game.num_classes is None else "drawn"
            how = (self.protocol, self.extractor, self.seed, ema)
            return summarise_walks(engine, state, *how), drawn
        given, labels = balanced(engine.game), "balanced"
        if self.protocol.of == TRANSFORMS:
            given, labels = examples(self.source, num), "of the examples"
        elif self.protocol.of in TRANSLATIONS:
            output = engine.game.outputs[self.protocol.of]
            given = given_for(output, self.source, num, self.protocol.per_example)
            labels = "of the targets"
        if "label" not in given(np.zeros(1, np.int64)):
            labels = "none"
        fake = summarise_output(
            engine,
            state,
            output_of(self.protocol),
            num,
            given,
            self.extractor,
            needs,
            self.seed,
            ema,
            self.protocol.ignored,
            **self.options,
        )
        return fake, labels

    def _statistics(self) -> str:
        """The statistics with which batch normalisation makes the samples."""
        standing = self.options.get("batch_statistics") == sampling.STANDING
        return "standing, of fresh batches" if standing else BATCH_STATISTICS

    def _sampling(self, game: Game) -> dict[str, Any]:
        """The options of the output that differ from its defaults, as a field of the result; empty if none does.

        The defaults are plain sampling in every model, so the scores of models with and without options are comparable.
        """
        known = game.outputs[output_of(self.protocol)].options
        values = tools.complete(self.options, known)
        changed = {name: x for name, x in values.items() if x != known[name].default}
        return {"options": changed} if changed else {}

    def real(self) -> Summary | None:
        """The statistics of the reals that the scores need; None if no score uses reals. Computed once."""
        needs = needs_of(self._scores, "real")
        if needs is not None and self._real is None:
            if self.cache is None:
                self._real = self._summarise_reals(needs)
            else:
                facts = self._facts()
                self._real = statistics.cached(self.cache, facts, needs, self._summarise_reals)
        return self._real

    def _facts(self) -> dict[str, Any]:
        return {
            "data": self.source.fingerprint(),
            "summary": self.source.summary,
            "split": self.protocol.split,
            "num": self.protocol.num_real or len(self.source),
            "features": self.extractor.name,
            "checksum": getattr(self.extractor, "checksum", "not stated"),
            "resize": getattr(self.extractor, "resize", "none"),
            "quantisation": QUANTISATION,
            "numbers": protocols.NUMBERS,
        }

    def _summarise_reals(self, needs: Needs) -> Summary:
        """Summarises the reals; each process computes its own part, on its own devices."""
        num = self.protocol.num_real or len(self.source)
        index, count = jax.process_index(), jax.process_count()
        sizes = [len(part) for part in np.array_split(np.arange(num), count)]
        mesh = Mesh(np.array(jax.local_devices()), ("data",))
        batch_size = getattr(self.extractor, "batch_size", BATCH_SIZE)
        batch_size = -(-batch_size // mesh.size) * mesh.size
        return summarise(
            self.source.spread(num, part=(index, count)),
            self.extractor,
            sizes[index],
            "real",
            needs,
            batch_size=batch_size,
            sharding=NamedSharding(mesh, PartitionSpec("data")),
            offset=sum(sizes[:index]),
        )


def best_of(results: list[dict[str, Any]], protocol: Protocol) -> dict[str, Any]:
    """The result with the best first score of the protocol; the earliest of several equal ones."""
    lower = SCORES[protocol.scores[0]].lower_is_better

    def value(result):
        first = next(iter(scores(result).values()))
        return first if lower else -first

    return min(results, key=value)


def append_evaluation(workdir: str | Path, result: dict[str, Any]) -> None:
    """Appends a result to the file of evaluations of a run."""
    with (Path(workdir) / EVALUATIONS).open("a+b") as file:
        # An incomplete line, which a killed process left, stays a line of its own.
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        start = "" if file.read(1) in (b"", b"\n") else "\n"
        file.write(f"{start}{json.dumps(result)}\n".encode())


def read_evaluations(workdir: str | Path) -> list[dict[str, Any]]:
    """All results of a run, in order of creation; an incomplete last line is skipped."""
    return read_json_lines(Path(workdir) / EVALUATIONS)


def resume_evaluations(workdir: Path, step: int, write: bool) -> list[dict[str, Any]]:
    """The results of evaluations during training up to `step`.

    Those of later steps, which a killed run wrote after its last checkpoint, are removed from the file (if `write`):
    the resumed run computes them again.
    """
    there = read_evaluations(workdir)
    kept = [r for r in there if not (r["measured"].get("during") and r["measured"]["step"] > step)]
    if write and (workdir / EVALUATIONS).exists():
        write_json_lines(workdir / EVALUATIONS, kept)  # also without an incomplete last line
    return [result for result in kept if result["measured"].get("during")]
