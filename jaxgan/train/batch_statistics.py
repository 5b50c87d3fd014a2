"""The batch statistics of fresh batches in the mode of training, read off a game's own turns."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.game import Engine, State, purpose_key

COLLECTION = "batch_stats"

# {layer: (mean [C], variance [C])}, as `jaxgan.metrics.drift` compares them
Statistics = dict[str, tuple[np.ndarray, np.ndarray]]


def running_statistics(state: State, player: str, ema: bool = True) -> Statistics:
    """A player's running batch statistics by layer; empty for a network without batch normalisation."""
    network = state.networks(ema)[player]
    return _layers(network.get(COLLECTION, {}))


def fresh_statistics(
    engine: Engine, state: State, step: int, player: str, batches: Iterable, ema: bool = True
) -> list[Statistics]:
    """The statistics that each batch has by itself in a turn of `player`, with its weights held still.

    A turn gives r' = a r + (1 - a) s for running statistics r, the batch's s and a momentum a that only
    the network knows. What it normalises by in training is s, not r; so the same turn played from
    r = 0 and from r = 1 gives a and then s, without another word from the network.

    Args:
      engine, state: of a game; the state is read, not donated.
      step: whose stage's turns are meant.
      player: whose statistics.
      batches: real batches, one for each set of statistics; a turn takes its size from them.
      ema: use the player's averaged weights where they are kept, as sampling does.

    Returns:
      One for each batch; empty if no turn of the player advances batch statistics.
    """
    if COLLECTION not in state.variables[player]:
        return []
    stage = engine.game.stages[engine.game.stage_at(step)[0]]
    turns = [turn for turn in stage.turns if player in turn.players]
    if not turns:
        return []
    weights = {**state.params, player: state.networks(ema)[player]["params"]}

    # Weights are arguments: as constants, XLA would compute with them while it compiles.
    @jax.jit
    def statistics(weights, variables, batch, key):
        def advanced(fill: float):
            running = variables[player][COLLECTION]
            start = jax.tree.map(lambda x: jnp.full_like(x, fill), running)
            filled = {**variables, player: {**variables[player], COLLECTION: start}}
            return turns[0].loss(weights, filled, batch, key).variables[player][COLLECTION]

        # r' of zeros is (1 - a) s, and the two differ by a.
        return jax.tree.map(
            lambda low, high: low / (1 - (high - low)), advanced(0.0), advanced(1.0)
        )

    keys = (purpose_key(engine.run_key, "batch statistics", i) for i in itertools.count())
    return [
        _layers(statistics(weights, state.variables, batch, key))
        for batch, key in zip(batches, keys, strict=False)
    ]


def _layers(tree) -> Statistics:
    """{"mean", "var"} dicts of a Flax collection as (mean, var) by the path to them."""
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        *names, kind = (part.key for part in path)
        found.setdefault("/".join(names), {})[kind] = np.asarray(leaf)
    return {name: (leaves["mean"], leaves["var"]) for name, leaves in found.items()}
