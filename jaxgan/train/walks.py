"""Scores of a generator's latent spaces: lengths of paths between latents, latents with their classifier's logits.

The spaces are those of the model's tool "interpolation".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.engine import Engine
from jaxgan.game import Game, Play, State
from jaxgan.metrics.features import Extractor
from jaxgan.metrics.images import to_uint8
from jaxgan.metrics.perceptual_path_length import perceptual_path_length
from jaxgan.metrics.protocols import PROTOCOLS, Protocol
from jaxgan.metrics.scores import LATENTS, PATH_LENGTH
from jaxgan.metrics.summary import Summary
from jaxgan.options import OptionError
from jaxgan.tools import compiled
from jaxgan.tools.latents import Walk

TOOL = "interpolation"
BATCH = 16  # pictures per call


def check_space(game: Game, protocol: Protocol) -> None:
    """Raises unless the game has the latent space that the protocol measures."""
    tool = game.tools.get(TOOL)
    if tool is None or tool.walk is None:
        raise ValueError(
            f"the protocol {protocol.name!r} measures a latent space, and this model has no tool '{TOOL}' that names"
            " its spaces; choose a protocol of samples."
        )
    spaces = tool.options["space"].choices or ()
    if protocol.space not in spaces:
        other = protocol.name.replace(f"_{protocol.space}", f"_{spaces[0]}", 1)
        raise OptionError(
            None,
            None,
            f"the protocol {protocol.name!r} measures the latent space {protocol.space}, and this model has only"
            f" {', '.join(map(str, spaces))}",
            *([{"train.protocol": other}] if other in PROTOCOLS else []),
        )


def summarise_walks(
    engine: Engine,
    state: State,
    protocol: Protocol,
    extractor: Extractor,
    seed: int = 0,
    ema: bool = True,
) -> Summary:
    """What the scores in `scores.OF_WALKS` need: the lengths of paths, or latents and logits."""
    check_space(engine.game, protocol)
    game = engine.game
    key = jax.random.key(seed)
    play = Play(game.networks(state, ema), {}, key, game.clock(state.step), 0)
    spaces = game.tools[TOOL].walk
    assert spaces is not None, "check_space raises without one"
    measure = path_lengths if "path_length" in protocol.scores else latents_and_logits
    arrays = measure(spaces(play), protocol, extractor, key)
    return Summary(protocol.num_fake, np.dtype(np.uint8), {}, arrays)


def path_lengths(
    walk: Walk, protocol: Protocol, extractor: Extractor, key: jax.Array
) -> dict[str, np.ndarray]:
    """{"path_length": float32 [num_fake, 1]}, of all paths."""
    space = walk.spaces[protocol.space]
    z, _ = walk.latents.draw(key, 1)

    def embed(z: jax.Array, label: jax.Array | None = None) -> jax.Array:
        return space.embed(walk.networks, z, label)

    def paint(points: jax.Array, label: jax.Array | None = None) -> jax.Array:
        pictures = space.paint(walk.networks, points, label, **walk.plain)
        return faces(pictures) if protocol.crop == "faces" else pictures

    def labels(key: jax.Array, num: int) -> jax.Array:
        label = walk.latents.draw(key, num)[1]
        assert label is not None
        return label

    found = perceptual_path_length(
        paint,
        distance_of(extractor),
        z.shape[1],
        key,
        mapping=None if protocol.space == "z" else embed,
        space=protocol.space,
        sampling=protocol.sampling,
        labels=None if walk.latents.num_classes is None else labels,
        num_samples=protocol.num_fake,
        batch_size=BATCH,
        trim=None,
    )
    return {PATH_LENGTH: found.lengths[:, None].astype(np.float32)}


def latents_and_logits(
    walk: Walk, protocol: Protocol, extractor: Extractor, key: jax.Array
) -> dict[str, np.ndarray]:
    """{"latents": float32 [num_fake, D], "logits": float32 [num_fake, K]}."""
    space, latents, logits = walk.spaces[protocol.space], [], []
    for i in range(-(-protocol.num_fake // BATCH)):
        z, label = walk.latents.draw(jax.random.fold_in(key, i), BATCH)
        points = compiled(space.embed, walk.networks, z, label)
        pictures = compiled(space.paint, walk.networks, points, label, **walk.plain)
        latents.append(np.asarray(points))
        logits.append(np.asarray(extractor(to_uint8(pictures))["logits"]))
    arrays = {LATENTS: latents, "logits": logits}
    return {name: np.concatenate(x)[: protocol.num_fake] for name, x in arrays.items()}


def faces(pictures: jax.Array) -> jax.Array:
    """The middle of portraits [B, H, W, C]: rows from 3/8 to 7/8, columns from 2/8 to 6/8."""
    _, height, width, _ = pictures.shape
    return pictures[:, 3 * height // 8 : 7 * height // 8, width // 4 : 3 * width // 4]


def distance_of(extractor: Any) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """(one, other) pictures in [-1, 1] -> [B]: the extractor's distance, or the squared distance of its features."""
    if hasattr(extractor, "distance"):
        return extractor.distance

    def features(pictures: jax.Array) -> jax.Array:
        # As bytes, but not rounded: rounding would hide the small steps of a path.
        values = (jnp.clip(pictures, -1.0, 1.0) + 1.0) * 127.5
        return extractor.apply(extractor.variables, values)["features"]

    return lambda one, other: jnp.sum(jnp.square(features(one) - features(other)), axis=1)
