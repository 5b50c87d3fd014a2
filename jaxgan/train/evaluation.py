"""A trained state measured: generation and features as one sharded program, scores by protocol."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxgan import tools
from jaxgan.data import Source
from jaxgan.game import Engine, Game, State
from jaxgan.metrics import protocols, statistics
from jaxgan.metrics.compare import scores
from jaxgan.metrics.evaluate import check, check_counts, evaluate, wanted
from jaxgan.metrics.features import Extractor
from jaxgan.metrics.images import QUANTISATION, to_uint8
from jaxgan.metrics.networks import Progress, open_extractor
from jaxgan.metrics.paired import load as load_measure
from jaxgan.metrics.protocols import Protocol
from jaxgan.metrics.scores import OF_PAIRS, SCORES
from jaxgan.metrics.summary import BATCH_SIZE, IMAGE, Features, Summary, Wanted, collect, summarise
from jaxgan.options import OptionError
from jaxgan.train.report import read_json_lines, replace_atomically
from jaxgan.train.sample import batch_of, iterate_samples
from jaxgan.train.transforms import summarise_transforms
from jaxgan.weights import cache_folder

EVALUATIONS = "evaluations.jsonl"
BATCH_STATISTICS = "running averages"


def summarise_samples(
    engine: Engine,
    state: State,
    num: int,
    extractor: Extractor,
    wanted: Wanted,
    seed: int = 0,
    ema: bool = True,
    **options: tools.Value,
) -> Summary:
    """What is wanted of the first `num` samples, the very ones that `iterate_samples` yields.

    An extractor with `apply` runs in one program with the generator on all devices of the engine,
    so that no picture ever visits the host; of others, each batch does.
    """
    if hasattr(extractor, "apply"):
        features = _iterate_features(
            engine, state, num, extractor, seed, ema, IMAGE in wanted.arrays, options
        )
        return collect(features, extractor, "fake", wanted)
    if jax.process_count() > 1:
        raise ValueError(
            f"{extractor.name!r} has no `apply(variables, batch)`, which evaluating in several processes needs"
        )
    samples = iterate_samples(engine, state, num, seed, ema, **options)
    return summarise(samples, extractor, num, "fake", wanted, batch_size=batch_of(engine.game))


def _iterate_features(
    engine: Engine,
    state: State,
    num: int,
    extractor: Any,
    seed: int,
    ema: bool,
    images: bool,
    options: Mapping[str, tools.Value],
) -> Iterator[Features]:
    """The samples' features, as this process holds them: batch i on device i modulo their number."""
    game, mesh = engine.game, engine.mesh
    options = tools.complete(options, game.options)
    pictures, size = len(game.sample_shape) == 3, batch_of(game)
    dtype = np.dtype(np.uint8 if pictures else np.float32)
    parallel, everywhere = PartitionSpec(mesh.axis_names), PartitionSpec()

    def on_a_device(networks, variables, key, index):
        labels = None
        if game.num_classes is not None:
            labels = (index[0] * size + jnp.arange(size, dtype=jnp.int32)) % game.num_classes
        key = jax.random.fold_in(key, index[0])
        samples = game.generate(networks, key, size, labels, **options)
        examples = to_uint8(samples) if pictures else samples
        outputs = extractor.apply(variables, examples)
        # Quantised, a NaN would be a number like any other.
        finite = jnp.isfinite(samples).all()
        outputs = {name: jnp.where(finite, x, jnp.float32(np.nan)) for name, x in outputs.items()}
        return {**outputs, IMAGE: examples} if images else outputs

    program = engine.cached(
        ("features", extractor, images, *options.items()),
        lambda: jax.jit(
            jax.shard_map(
                on_a_device,
                mesh=mesh,
                in_specs=(everywhere, everywhere, everywhere, parallel),
                out_specs=parallel,
                check_vma=False,
            )
        ),
    )
    networks = state.networks(ema)
    variables = jax.device_put(extractor.variables, engine.replicated)
    key = jax.jit(lambda: jax.random.key(seed), out_shardings=engine.replicated)()
    sharding = NamedSharding(mesh, parallel)
    for start in range(0, -(-num // size), mesh.size):
        indices = np.arange(start, start + mesh.size, dtype=np.int32)
        index = jax.make_array_from_callback((mesh.size,), sharding, indices.__getitem__)
        outputs = program(networks, variables, key, index)
        yield from _of_this_process(outputs, start * size, num, game.num_classes, dtype)


def _of_this_process(outputs, start, num, classes, dtype) -> Iterator[Features]:
    """The batches that lie on this process's devices; sample `start` is the first of all."""
    shards = {name: x.addressable_shards for name, x in outputs.items()}
    rows = len(outputs["features"])
    for i, shard in enumerate(shards["features"]):
        positions = start + np.arange(rows)[shard.index[0]]
        yield Features(
            {name: parts[i].data for name, parts in shards.items()},
            positions < num,
            None if classes is None else (positions % classes).astype(np.int32),
            dtype,
            positions,
        )


def protocol_of(game: Game, name: str = "", of: str = "") -> Protocol:
    """The protocol by which a game is measured.

    Args:
      game: what is measured must be something that it makes.
      name: of the protocol; the default one where it is empty.
      of: "samples" or "transforms"; empty for what the protocol says, or else for what the game makes.

    >>> from types import SimpleNamespace
    >>> translator = SimpleNamespace(generate=None, transform=len)
    >>> protocol_of(translator).name, protocol_of(translator, "quick").of
    ('reconstruction', 'transforms')
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
        if of == "samples" and game.generate is None:
            of = "transforms"
    if of == "samples" and game.generate is None:
        raise OptionError(
            None,
            None,
            "this game makes pictures of examples only, and no samples; measure transforms",
            {"train.evaluate_of": "transforms"},
        )
    if of == "transforms" and game.transform is None:
        raise OptionError(
            None,
            None,
            "this game makes nothing of examples, so there are no transforms to measure; measure samples by a protocol"
            " of samples",
            {"train.evaluate_of": "samples"},
        )
    default = protocols.DEFAULT if of == "samples" else protocols.DEFAULT_OF_TRANSFORMS
    return protocols.adapted(named or default, of=of)


def make_evaluator(
    source: Source,
    protocol: Protocol | str = "quick",
    *,
    weights: str | Path | None = None,
    num: int = 0,
    fit: bool = False,
    cache: str | Path | None = None,
    progress: Progress | None = None,
    **how: Any,
) -> Evaluator:
    """The evaluator of a protocol against the examples of `source`.

    Args:
      source: the reals, of the protocol's split.
      protocol: a name, or a `Protocol`.
      weights: file of the feature network's weights; fetched where it is None.
      num: generated examples instead of the protocol's number, and as many reals, or all there are. Of transforms, as
        many of both.
      fit: where `num` is not given, ask for no more examples than the source has, instead of refusing.
      cache: folder for the statistics of reals; None for the user's own.
      progress: of fetching weights, as `jaxgan.weights.load` calls it.
      **how: further fields of `Evaluator`.
    """
    if isinstance(protocol, str):
        protocol = protocols.by_name(protocol)
    if len(source.spec.shape) == 1 and protocol.features == "random_conv":
        protocol = protocols.adapted(protocol, features="points")
    most = len(source)
    if num or fit:
        num_fake = num or min(protocol.num_fake, most)
        num_real = None if protocol.num_real is None else min(num or protocol.num_real, most)
        if protocol.of == "transforms":
            num_real = num_fake
        protocol = protocols.adapted(protocol, num_fake=num_fake, num_real=num_real)
    check_counts(protocol)  # before any weights are fetched
    extractor = open_extractor(
        protocol.features, source.spec.shape, weights, protocol.resize, progress
    )
    cache = Path(cache) if cache else cache_folder() / "statistics"
    return Evaluator(protocol, extractor, source, cache, **how)


@dataclasses.dataclass
class Evaluator:
    """Measures states of one run against the same reals, by the same protocol.

    Attributes:
      protocol: what to measure.
      extractor: through which features.
      source: the reals.
      cache: folder in which their statistics are kept between runs; None keeps none.
      stated: what the caller knows of the protocol beside what is known here.
      measured: what the caller knows of the run.
      seed: of the samples.
      ema: whether averaged weights are measured, where they are kept.
      options: of sampling, as `Game.options` names them; the game's own for the others.
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
        if self.protocol.num_real is not None and self.protocol.num_real > len(self.source):
            raise ValueError(
                f"the protocol {self.protocol.name!r} compares with {self.protocol.num_real:,} real examples, but"
                f" {self.source.summary} has only {len(self.source):,}; choose another protocol, or ask for fewer"
                " (`num`), which makes it a protocol of its own"
            )
        for name in set(self.protocol.scores) & set(OF_PAIRS):
            load_measure(name)  # what cannot be had is said now
        num_real = self.protocol.num_real or len(self.source)
        if self.protocol.of == "transforms" and self.protocol.num_fake != num_real:
            raise ValueError(
                f"a transform is made of each real example, but the protocol {self.protocol.name!r} takes"
                f" {self.protocol.num_fake:,} generated and {num_real:,} real ones; ask for one number of both (`num`)"
            )
        self._real: Summary | None = None

    def __call__(self, engine: Engine, state: State, step: int) -> dict[str, Any]:
        """The result for a state, as `jaxgan.metrics.evaluate.evaluate` returns it."""
        ema = self.ema and bool(state.ema)
        num, needed = self.protocol.num_fake, wanted(self._scores, "fake")
        labels = "none" if engine.game.num_classes is None else "balanced"
        how, statistics = (self.extractor, needed, self.seed, ema), BATCH_STATISTICS
        if self.protocol.of == "transforms":
            # pix2pix goes by those of each single picture, others by running averages.
            statistics = "as the model transforms"
            fake = summarise_transforms(engine, state, self.source, num, *how)
            labels = "none" if self.source.spec.num_classes is None else "of the examples"
        else:
            fake = summarise_samples(engine, state, num, *how, **self.options)
        return evaluate(
            self.real(),
            fake,
            self.extractor,
            self.protocol,
            stated={
                "data": self.source.summary,
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

    def _sampling(self, game: Game) -> dict[str, Any]:
        """Statement of the options that samples were drawn with, where there are any."""
        if self.protocol.of == "transforms" or not game.options:
            return {}
        return {"options": tools.complete(self.options, game.options)}

    def real(self) -> Summary | None:
        """What is wanted of the reals; None where no score looks at any. Computed once."""
        needed = wanted(self._scores, "real")
        if needed is not None and self._real is None:
            if self.cache is None:
                self._real = self._summarise_reals(needed)
            else:
                facts = self._facts()
                self._real = statistics.cached(self.cache, facts, needed, self._summarise_reals)
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

    def _summarise_reals(self, needed: Wanted) -> Summary:
        """Each process takes its part, on its own devices."""
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
            needed,
            batch_size=batch_size,
            sharding=NamedSharding(mesh, PartitionSpec("data")),
            offset=sum(sizes[:index]),
        )


def best_of(results: list[dict[str, Any]], protocol: Protocol) -> dict[str, Any]:
    """The result with the best first score of the protocol; the earliest where several are."""
    lower = SCORES[protocol.scores[0]].lower_is_better

    def value(result):
        first = next(iter(scores(result).values()))
        return first if lower else -first

    return min(results, key=value)


def append_evaluation(workdir: str | Path, result: dict[str, Any]) -> None:
    """Adds a result to what is known of a run."""
    with (Path(workdir) / EVALUATIONS).open("a") as file:
        file.write(json.dumps(result) + "\n")


def read_evaluations(workdir: str | Path) -> list[dict[str, Any]]:
    """All results of a run, in the order of their making; a last line that was cut off is left out."""
    return read_json_lines(Path(workdir) / EVALUATIONS)


def resume_evaluations(workdir: Path, step: int, write: bool) -> list[dict[str, Any]]:
    """The results that training has made up to `step`.

    Those of later steps, made after the last checkpoint of a killed run, are dropped from the file (if `write`): the
    resumed run makes them again.
    """
    there = read_evaluations(workdir)
    kept = [r for r in there if not (r["measured"].get("during") and r["measured"]["step"] > step)]
    if write and len(kept) < len(there):
        text = "".join(json.dumps(result) + "\n" for result in kept)
        replace_atomically(workdir / EVALUATIONS, lambda path: path.write_text(text))
    return [result for result in kept if result["measured"].get("during")]
