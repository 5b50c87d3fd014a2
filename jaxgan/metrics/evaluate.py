"""From two streams of examples to scores, stamped with the protocol that made them."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxgan import __version__
from jaxgan.metrics.features import Extractor
from jaxgan.metrics.frechet import frechet_distance
from jaxgan.metrics.images import QUANTISATION
from jaxgan.metrics.moments import Moments
from jaxgan.metrics.precision_recall import precision_recall


class Summary(NamedTuple):
    """What is kept of a stream of examples."""

    moments: Moments
    features: np.ndarray | None  # float32 [N, D], only where a score needs them
    dtype: np.dtype  # of the examples


def evaluate(
    real_batches: Iterable,
    fake_batches: Iterable,
    extractor: Extractor,
    num_real: int,
    num_fake: int,
    nearest_k: int | None = 3,
    *,
    batch_size: int = 256,
    sharding: jax.sharding.NamedSharding | None = None,
    **stated: Any,
) -> dict[str, Any]:
    """The Fréchet distance and improved precision and recall of fakes against reals.

    Args:
      real_batches, fake_batches: iterables of batches of any sizes: dicts with "image", or arrays;
        uint8 [B, H, W, C] for pictures, float32 [B, D] for points. Read no further than needed.
      extractor: the features; its name becomes part of every score's.
      num_real, num_fake: exactly how many of each are used, the first ones; fewer is an error.
      nearest_k: neighbour of precision and recall; None leaves them out, and then nothing of size
        N x D is held.
      batch_size: of the extractor's one compiled program; a last partial batch is padded and
        masked, never dropped.
      sharding: how batches lie on the devices; its first axis must divide `batch_size`.
      **stated: what only the caller knows (split="train", ema=True, ...), stated in the protocol.

    Returns:
      {"fd_NAME": float, "precision_NAME": float, "recall_NAME": float, "protocol": dict}, ready for
      JSON. Two results are comparable only where their protocols agree.

    >>> from jaxgan.metrics.features import points
    >>> x = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
    >>> result = evaluate([x], [x + np.float32([3, 4])], points((2,)), 500, 500, split="test")
    >>> round(result["fd_points"], 3), result["protocol"]["split"]
    (25.0, 'test')
    """
    _check_counts(num_real, num_fake, nearest_k)
    keep = nearest_k is not None
    how = {"keep_features": keep, "batch_size": batch_size, "sharding": sharding}
    protocol = _protocol(extractor, num_real, num_fake, nearest_k)
    if clash := sorted(protocol.keys() & stated.keys()):
        raise ValueError(f"the protocol states {', '.join(clash)} by itself; give it another name")
    real = summarise(real_batches, extractor, num_real, "real", **how)
    fake = summarise(fake_batches, extractor, num_fake, "fake", **how)
    if real.dtype != fake.dtype:
        raise ValueError(
            f"reals are {real.dtype} and fakes are {fake.dtype}: quantise both by the same rule"
        )
    protocol["quantisation"] = QUANTISATION if real.dtype == np.uint8 else "none"

    name = extractor.name
    distance = frechet_distance(
        real.moments.mean, real.moments.covariance(), fake.moments.mean, fake.moments.covariance()
    )
    scores = {f"fd_{name}": distance}
    if keep:
        nearest = precision_recall(real.features, fake.features, nearest_k)
        scores |= {f"precision_{name}": nearest.precision, f"recall_{name}": nearest.recall}
    return scores | {"protocol": protocol | stated}


def summarise(
    batches: Iterable,
    extractor: Extractor,
    num: int,
    kind: str,
    *,
    keep_features: bool,
    batch_size: int = 256,
    sharding: jax.sharding.NamedSharding | None = None,
) -> Summary:
    """The moments, and where asked the features, of the first `num` examples of a stream.

    Args:
      kind: what the examples are called in errors ("real", "fake").
      keep_features: whether to hold the features themselves, N x D, beside their moments.
      (the others as in `evaluate`)
    """
    moments = Moments.empty(extractor.dim)
    kept = np.empty((num, extractor.dim), np.float32) if keep_features else None
    waiting = None  # a batch runs on the device while the one before it is summed on the host
    dtype = None
    for batch, mask in _rebatch(batches, num, kind, batch_size):
        dtype = batch.dtype
        features = extractor(_place(batch, sharding))
        if features.shape != (batch_size, extractor.dim):
            raise ValueError(
                f"features {extractor.name!r} say dim = {extractor.dim}, but gave an array "
                f"{list(features.shape)} for {batch_size} examples"
            )
        if waiting is not None:
            moments = _add(moments, kept, *waiting, kind)
        waiting = features, mask
    moments = _add(moments, kept, *waiting, kind)
    return Summary(moments, kept, dtype)


def _add(moments: Moments, kept: np.ndarray | None, features, mask, kind: str) -> Moments:
    features = np.asarray(features)
    if not np.isfinite(features[mask]).all():
        raise ValueError(f"the features of the {kind} examples contain NaN or Inf")
    if kept is not None:
        kept[moments.count : moments.count + mask.sum()] = features[mask]
    return moments.merge(Moments.of(features, mask))


def _rebatch(
    batches: Iterable, num: int, kind: str, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the first `num` examples as (batch [batch_size, ...], mask [batch_size])."""
    held, count, taken = [], 0, 0
    for batch in batches:
        images = np.asarray(batch["image"] if isinstance(batch, dict) else batch)[: num - taken]
        if held and (images.shape[1:] != held[0].shape[1:] or images.dtype != held[0].dtype):
            raise ValueError(
                f"the {kind} batches differ: {held[0].dtype} {list(held[0].shape[1:])} and then "
                f"{images.dtype} {list(images.shape[1:])}"
            )
        held.append(images)
        count, taken = count + len(images), taken + len(images)
        if count >= batch_size or taken == num:
            held = [np.concatenate(held)]
        while count >= batch_size:
            yield held[0][:batch_size], np.ones(batch_size, bool)
            held, count = [held[0][batch_size:]], count - batch_size
        if taken == num:
            break
    if taken < num:
        raise ValueError(
            f"num_{kind} asks for {num} {kind} examples, but there were only {taken}; give more "
            "or ask for fewer, and compare only scores of equal numbers"
        )
    if count:
        padding = np.zeros((batch_size - count, *held[0].shape[1:]), held[0].dtype)
        yield np.concatenate([held[0], padding]), np.arange(batch_size) < count


def _place(batch: np.ndarray, sharding: jax.sharding.NamedSharding | None):
    if sharding is None:
        return batch
    try:
        sharding.shard_shape(batch.shape)
    except ValueError as error:
        raise ValueError(
            f"batch_size = {len(batch)} cannot be split over the devices as {sharding.spec} on "
            f"{dict(sharding.mesh.shape)}"
        ) from error
    return jax.device_put(batch, sharding)


def _check_counts(num_real: int, num_fake: int, nearest_k: int | None) -> None:
    least = 2 if nearest_k is None else max(2, nearest_k + 1)
    for kind, num in (("real", num_real), ("fake", num_fake)):
        if num < least:
            needs = "a covariance" if nearest_k is None else f"nearest_k = {nearest_k}"
            raise ValueError(f"num_{kind} = {num} is too few: {needs} needs at least {least}")


def _protocol(extractor: Extractor, num_real: int, num_fake: int, nearest_k: int | None) -> dict:
    """Everything known here that fixes the numbers; the caller's statements join it."""
    notes = [
        f"num_{kind} = {num} is below dim + 1 = {extractor.dim + 1}: the covariance is "
        "rank-deficient and the Fréchet distance strongly biased"
        for kind, num in (("real", num_real), ("fake", num_fake))
        if num < extractor.dim + 1
    ]
    return {
        "num_real": num_real,
        "num_fake": num_fake,
        "features": extractor.name,
        "features_dim": extractor.dim,
        "features_checksum": getattr(extractor, "checksum", "not stated"),
        "resize": getattr(extractor, "resize", "none"),
        "nearest_k": nearest_k,
        "notes": notes,
        "jaxgan": __version__,
    }
