"""Batch statistics of fresh batches in training mode, computed by the turns of a game."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.engine import Engine
from jaxgan.game import State, purpose_key
from jaxgan.network import BATCH_STATS, Network, separate_momentum

# {layer: (mean [C], variance [C])}, as `jaxgan.metrics.drift` compares them
Statistics = dict[str, tuple[np.ndarray, np.ndarray]]


def running_statistics(network: Network) -> Statistics:
    """A network's running batch statistics by layer; empty without batch normalisation."""
    return _layers(network.state.get(BATCH_STATS, {}))


def fresh_statistics(
    engine: Engine, state: State, step: int, player: str, batches: Iterable, ema: bool = True
) -> list[Statistics]:
    """The statistics of each batch in a turn of `player`, with fixed weights.

    In training a network normalises by the statistics of its batch, not by the running ones. A turn is evaluated with
    running statistics of 0 and of 1; its two updates of them determine the statistics of the batch, whatever the
    momentum of the layers (`separate_momentum`).

    Args:
      engine, state: of a game; the state is read, not donated.
      step: selects the stage whose turn is evaluated.
      player: name of the player.
      batches: real batches, one for each set of statistics; they set the batch size of the turn.
      ema: use the player's averaged weights where they are kept, as sampling does.

    Returns:
      One for each batch; empty if no turn of the player advances batch statistics.
    """
    if BATCH_STATS not in state.variables[player]:
        return []
    stage = engine.game.stages[engine.game.stage_at(step)[0]]
    turns = [turn for turn in stage.turns if player in turn.players]
    if not turns:
        return []
    weights = {**state.params, player: engine.game.networks(state, ema)[player].params}

    # Weights are arguments: XLA would fold constants at compile time.
    @jax.jit
    def statistics(weights, variables, batch, key):
        def updated(fill: float):
            running = jax.tree.map(lambda x: jnp.full_like(x, fill), variables[player][BATCH_STATS])
            filled = {**variables, player: {**variables[player], BATCH_STATS: running}}
            play = engine.play(state, batch, key, weights, filled)
            turns[0].loss(play)
            return play.moved[player][BATCH_STATS]

        return separate_momentum(updated(0.0), updated(1.0))

    keys = (purpose_key(engine.run_key, "batch statistics", i) for i in itertools.count())
    return [
        _layers(statistics(weights, state.variables, batch, key))
        for batch, key in zip(batches, keys, strict=False)
    ]


def _layers(tree) -> Statistics:
    """{"mean", "var"} dicts of a Flax collection as (mean, var) by the path to them."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        *names, kind = (part.key for part in path)
        found.setdefault("/".join(names), {})[kind] = np.asarray(leaf)
    return {name: (leaves["mean"], leaves["var"]) for name, leaves in found.items()}
