"""Many samples from a trained state, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import numpy as np

from jaxgan.game import Engine, State
from jaxgan.metrics.images import to_uint8
from jaxgan.tools import Option

# Sample i is drawn in batch i // BATCH, whose key folds from the seed: the first n of m samples are the n samples.
BATCH = 100


def iterate_samples(
    engine: Engine, state: State, num: int, seed: int = 0, ema: bool = True, **options: Option
) -> Iterator[dict[str, np.ndarray]]:
    """Batches {"image", "label" if conditional} of together `num` samples, with balanced labels.

    Pictures come quantised to uint8 [B, H, W, C], points as float32 [B, D]. `options` are of `Game.options`.
    """
    key, classes = jax.random.key(seed), engine.game.num_classes
    for start in range(0, num, BATCH):
        labels = (
            None if classes is None else np.arange(start, start + BATCH, dtype=np.int32) % classes
        )
        batch_key = jax.random.fold_in(key, start // BATCH)
        samples = np.asarray(engine.sample(state, batch_key, BATCH, labels, ema, **options))
        if len(engine.game.sample_shape) == 3:
            samples = to_uint8(samples)
        batch = {"image": samples[: num - start]}
        if labels is not None:
            batch["label"] = labels[: num - start]
        yield batch


def sample(
    engine: Engine, state: State, num: int, seed: int = 0, ema: bool = True, **options: Option
) -> dict[str, np.ndarray]:
    """{"image": [num, ...], "label": [num] if conditional}: `iterate_samples` in one piece."""
    batches = list(iterate_samples(engine, state, num, seed, ema, **options))
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
