"""The outputs of trained networks, as arrays and as features.

`jaxgan.engine.Engine` computes the rows of an output on all devices. This module supplies the fields that outputs need,
such as labels, and returns the rows as arrays or as summaries of their features.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.data import Source
from jaxgan.engine import Chunk, Engine
from jaxgan.game import REFERENCE, SAMPLES, TARGET, TRANSFORMS, Game, Output, State
from jaxgan.metrics.features import Extractor
from jaxgan.metrics.images import to_uint8
from jaxgan.metrics.paired import MEASURES
from jaxgan.metrics.paired import load as load_measure
from jaxgan.metrics.segmentation import counts_of_labels
from jaxgan.metrics.segmenter import AGREEMENT, LABEL_MAP
from jaxgan.metrics.summary import IMAGE, Features, Needs, Summary, collect, summarise
from jaxgan.spec import Batch
from jaxgan.tools import Value

Given = Callable[[np.ndarray], Batch]  # row numbers -> the fields of these rows


def class_names(game: Game) -> tuple[str, ...]:
    """The names of the classes of a conditional game, or their numbers; () of an unconditional game."""
    if game.num_classes is None:
        return ()
    return game.spec["label"].names or tuple(map(str, range(game.num_classes)))


def balanced(game: Game) -> Given:
    """For samples: labels 0, 1, ... in turn, or nothing for an unconditional game."""
    classes = game.num_classes
    return lambda rows: {} if classes is None else {"label": (rows % classes).astype(np.int32)}


def of_class(game: Game, label: int) -> Given:
    """For samples: the same label for every row.

    Raises:
      ValueError: the game has no such class.
    """
    classes = game.num_classes
    if classes is None:
        raise ValueError("the model is not conditioned on labels, so no label can be chosen.")
    if not 0 <= label < classes:
        raise ValueError(f"there is no label {label}; labels go from 0 to {classes - 1}.")
    return lambda rows: {"label": np.full(len(rows), label, np.int32)}


def made_of_examples(game: Game) -> list[str]:
    """The outputs that training shows in addition to the samples: pictures made from examples, such as transforms."""
    return [
        name
        for name, output in game.outputs.items()
        if name != SAMPLES
        and len(output.shape) == 3
        and set(output.needs) <= game.spec.fields.keys() | output.fields.keys()
    ]


def examples(source: Source, num: int) -> Given:
    """For transforms: `num` examples spread over a source."""
    indices = source.spread_indices(num)
    return lambda rows: source.gather(indices[rows])


def given_for(output: Output, source: Source, num: int, per_example: int = 1) -> Given:
    """For outputs made from examples: `num` rows, each `per_example` of them from one example spread over a source.

    An output that needs a target or a reference (`Output.fields`) is given them too, see `translations`.
    """
    if TARGET in output.fields:
        return translations(output, source, num, per_example)
    indices = source.spread_indices(-(-num // per_example))
    return lambda rows: source.gather(indices[rows // per_example])


# Examples among which references are looked for, for each domain.
REFERENCES = 200


def translations(output: Output, source: Source, num: int, per_example: int = 1) -> Given:
    """Examples spread over a source, each with a domain to translate it to.

    Example i has the target (its label + 1 + i modulo K - 1) modulo K: every domain but its own, in turn. If domains
    are attributes, attribute i modulo K is the target. If more examples are needed than there are, they are used again,
    with the next target. A reference is an example of the target domain, another one for
    each row, drawn from examples that are spread over the source too.

    Args:
      output: needs `TARGET`, and perhaps `REFERENCE`.
      source: has labels or attributes.
      num: number of rows.
      per_example: number of consecutive rows with the same example and target.

    Raises:
      ValueError: there are references for one domain only.
    """
    indices = source.spread_indices(min(-(-num // per_example), len(source)))
    number = output.fields[TARGET].number
    assert number is not None, "labels have one"
    pool = {} if REFERENCE not in output.fields else _by_label(source, REFERENCES * number)
    # Of a domain without any example there is no reference.
    known = np.array(sorted(pool) if pool else range(number))
    if pool and len(known) < 2:
        raise ValueError(
            f"{source.summary} has examples of one domain only among {REFERENCES * number:,}, so there are no"
            " references of others; give data with examples of every domain."
        )

    def given(rows: np.ndarray) -> dict[str, np.ndarray]:
        of_example = rows // per_example
        again, position = np.divmod(of_example, len(indices))
        batch = dict(source.gather(indices[position]))
        if "attributes" not in output.needs:
            target = _others(batch["label"], of_example + again, known)
        else:
            target = ((of_example + again) % number).astype(np.int32)
        batch[TARGET] = target
        if pool:
            chosen = [
                pool[int(domain)][np.random.default_rng(row).integers(len(pool[int(domain)]))]
                for domain, row in zip(target, rows, strict=True)
            ]
            batch[REFERENCE] = source.gather(np.array(chosen))["image"]
        return batch

    return given


def _others(label: np.ndarray, turn: np.ndarray, known: np.ndarray) -> np.ndarray:
    """For each label another one of `known`, these in turn: int32 [B]."""
    position = np.searchsorted(known, label)
    inside = known[np.minimum(position, len(known) - 1)] == label
    after = position + inside + turn % (len(known) - inside)
    return known[after % len(known)].astype(np.int32)


def _by_label(source: Source, num: int) -> dict[int, np.ndarray]:
    """{label: indices of examples of it}, among `num` examples spread over the source, or all if there are fewer."""
    indices = source.spread_indices(min(num, len(source)))
    parts = np.array_split(indices, -(-len(indices) // 256))
    labels = np.concatenate([source.gather(part)["label"] for part in parts])
    return {int(label): indices[labels == label] for label in np.unique(labels)}


def iterate_samples(
    engine: Engine,
    state: State,
    num: int,
    seed: int = 0,
    ema: bool = True,
    label: int | None = None,
    **options: Value,
) -> Iterator[dict[str, np.ndarray]]:
    """Batches {"image", "label" if conditional}, `num` samples in all, of one label or with labels 0, 1, ... in turn.

    The first n of m samples are the same as n samples. Pictures are quantised to uint8 [B, H, W, C], points are float32
    [B, D]. `options` are those of the output "samples".
    """
    given = balanced(engine.game) if label is None else of_class(engine.game, label)
    start = 0
    made = engine.make(state, SAMPLES, engine.key(seed), num, given, ema=ema, **options)
    for samples in made:
        rows = np.arange(start, start + len(samples))
        yield {"image": stored(samples), **given(rows)}
        start += len(samples)


def sample(
    engine: Engine, state: State, num: int, *args: Any, **kwargs: Any
) -> dict[str, np.ndarray]:
    """{"image": [num, ...], "label": [num] if conditional}: the batches of `iterate_samples`, concatenated."""
    if num < 1:
        raise ValueError(f"num is {num}; ask for at least one sample.")
    batches = list(iterate_samples(engine, state, num, *args, **kwargs))
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def transform(
    engine: Engine,
    state: State,
    batch: Batch,
    key: jax.Array,
    ema: bool = True,
    output: str = TRANSFORMS,
    **options: Value,
) -> np.ndarray:
    """An output made from each example of a batch: float32 [N, *shape], pictures in [-1, 1]."""
    return make_output(
        engine,
        state,
        output,
        key,
        len(batch["image"]),
        lambda rows: {name: x[rows] for name, x in batch.items()},
        ema=ema,
        **options,
    )


def make_output(engine: Engine, state: State, *args: Any, **kwargs: Any) -> np.ndarray:
    """The batches of `Engine.make`, concatenated."""
    return np.concatenate(list(engine.make(state, *args, **kwargs)))


def stored(made):
    """Rows in the format of a data source: pictures as uint8, points unchanged."""
    return to_uint8(made) if made.ndim == 4 else made


@dataclasses.dataclass(frozen=True)
class RowFeatures:
    """For `Engine.chunks`: computes the features of rows, and measures of each pair of a row and its example.

    Attributes:
      extractor: has a method `apply(variables, batch)`.
      images: also return the rows themselves.
      measures: names in `metrics.paired.MEASURES`.
      ignored: labels that the agreement of label maps leaves out.
    """

    extractor: Any
    images: bool
    measures: tuple[str, ...] = ()
    ignored: tuple[int, ...] = ()

    @property
    def weights(self) -> dict[str, Any]:
        """The argument `weights` of `Engine.chunks`."""
        measures = {name: load_measure(name) for name in self.measures}
        return {"features": self.extractor.variables, **measures}

    def __call__(self, made, given: Batch, weights) -> dict[str, jax.Array]:
        rows = stored(made)
        outputs = dict(self.extractor.apply(weights["features"], rows))
        if LABEL_MAP in outputs:
            found, labels = outputs.pop(LABEL_MAP), self.extractor.labels
            outputs[AGREEMENT] = counts_of_labels(found, given[LABEL_MAP], labels, self.ignored)
        for name in self.measures:
            outputs[name] = MEASURES[name].of(weights[name], rows, given["image"])[:, None]
        # Quantisation would turn NaN into a valid number.
        finite = jnp.isfinite(made).all()
        outputs = {name: jnp.where(finite, x, jnp.float32(np.nan)) for name, x in outputs.items()}
        return {**outputs, IMAGE: rows} if self.images else outputs


def summarise_output(
    engine: Engine,
    state: State,
    output: str,
    num: int,
    given: Given,
    extractor: Extractor,
    needs: Needs,
    seed: int = 0,
    ema: bool = True,
    ignored: tuple[int, ...] = (),
    **options: Value,
) -> Summary:
    """The requested statistics of the first `num` rows of an output.

    The output, its features and the measures of each row are one program, on all devices of the engine. Features
    without `apply` are computed batch by batch outside this program, for samples in a single process only.
    """
    if hasattr(extractor, "apply"):
        measures = tuple(sorted(needs.arrays & MEASURES.keys()))
        features = RowFeatures(extractor, IMAGE in needs.arrays, measures, ignored)
        chunks = engine.chunks(
            state,
            output,
            engine.key(seed),
            num,
            given,
            ema=ema,
            then=features,
            weights=features.weights,
            **options,
        )
        shape = engine.game.outputs[output].shape
        dtype = np.dtype(np.uint8 if len(shape) == 3 else np.float32)
        return collect((_features(chunk, dtype) for chunk in chunks), extractor, "fake", needs)
    if output != SAMPLES or jax.process_count() > 1:
        raise ValueError(
            f"{extractor.name!r} has no `apply(variables, batch)`, which is needed to evaluate {output} in"
            f" {jax.process_count()} process(es)"
        )
    samples = iterate_samples(engine, state, num, seed, ema, None, **options)
    size = engine.chunk_rows(output)
    return summarise(samples, extractor, num, "fake", needs, batch_size=size)


def _features(chunk: Chunk, dtype: np.dtype) -> Features:
    given = chunk.given
    # A translation is an example of its target domain.
    targets = TARGET in given and "attributes" not in given
    label = given[TARGET] if targets else given.get("label")
    return Features(chunk.made, chunk.known, label, dtype, chunk.rows)
