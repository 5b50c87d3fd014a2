"""Many samples from a trained state, a batch at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator

import jax
import numpy as np

from jaxgan.game import Engine, Game, State
from jaxgan.metrics.images import to_uint8
from jaxgan.tools import Value

BATCH = 100  # samples at a time, of up to 128x128 pixels


def batch_of(game: Game) -> int:
    """How many samples of a game are drawn at a time: fewer of larger pictures, as the memory wants, but at least 4.

    Sample i is drawn in batch i // batch_of(game), whose key folds from the seed: the first n of m samples are the n.
    """
    pixels = math.prod(game.sample_shape[:-1])  # 1 for points
    return max(4, min(BATCH, BATCH * 128**2 // pixels))


def iterate_samples(
    engine: Engine, state: State, num: int, seed: int = 0, ema: bool = True, **options: Value
) -> Iterator[dict[str, np.ndarray]]:
    """Batches {"image", "label" if conditional} of together `num` samples, with balanced labels.

    Pictures come quantised to uint8 [B, H, W, C], points as float32 [B, D]. `options` are of `Game.options`.
    """
    key, classes, size = jax.random.key(seed), engine.game.num_classes, batch_of(engine.game)
    for start in range(0, num, size):
        labels = (
            None if classes is None else np.arange(start, start + size, dtype=np.int32) % classes
        )
        batch_key = jax.random.fold_in(key, start // size)
        samples = np.asarray(engine.sample(state, batch_key, size, labels, ema, **options))
        if len(engine.game.sample_shape) == 3:
            samples = to_uint8(samples)
        batch = {"image": samples[: num - start]}
        if labels is not None:
            batch["label"] = labels[: num - start]
        yield batch


def sample(
    engine: Engine, state: State, num: int, seed: int = 0, ema: bool = True, **options: Value
) -> dict[str, np.ndarray]:
    """{"image": [num, ...], "label": [num] if conditional}: `iterate_samples` in one piece."""
    batches = list(iterate_samples(engine, state, num, seed, ema, **options))
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
