"""`jaxgan train --dry_run`: what a config amounts to, before anything is trained."""

from __future__ import annotations

import math

import jax
from rich.console import Console
from rich.table import Table

from jaxgan.config import Run
from jaxgan.data import Source
from jaxgan.game import Engine


def show(run: Run, engine: Engine, source: Source) -> None:
    """Prints config, data, players, turns, floating-point operations of a round, and memory."""
    console = Console()
    console.print(
        run.config.to_yaml().strip() if hasattr(run.config, "to_yaml") else str(run.config)
    )
    console.print(f"\ndata: {source.summary}")
    devices = engine.mesh.devices.flat
    console.print(f"devices: {len(devices)} x {devices[0].device_kind}\n")

    state = engine.state_shape
    players = Table(title="players")
    for column in ("player", "parameters", "state", "EMA half-life"):
        players.add_column(column, justify="left" if column == "player" else "right")
    for name, player in run.game.players.items():
        players.add_row(
            name,
            f"{_count(state.params[name]):,}",
            f"{_count(state.variables[name]):,}",
            f"{player.ema_half_life_kimg:g} kimg" if name in state.ema else "-",
        )
    console.print(players)

    for index, stage in enumerate(run.game.stages):
        turns = Table(title=f"stage {index}: batches of {stage.batch_size} real images")
        for column in ("turn", "moves", "plays", "in rounds", "GFLOP a round", "temporary memory"):
            turns.add_column(column)
        batch = {
            key: jax.ShapeDtypeStruct((stage.batch_size, *value.shape), value.dtype)
            for key, value in source[0].items()
        }
        for turn in stage.turns:
            flops, temporary = engine.cost(index, turn, batch)
            turns.add_row(
                turn.name,
                ", ".join(turn.players),
                str(turn.repeat),
                "all" if turn.every == 1 else f"every {turn.every}",
                "?" if math.isnan(flops) else f"{flops / 1e9:,.2f}",
                _size(temporary),
            )
        console.print(turns)
    console.print(f"state (parameters, optimisers, averages): {_size(_bytes(state))} in all")


def _count(tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _bytes(tree) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _size(num: float) -> str:
    if math.isnan(num):
        return "?"
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if num < 1024 or unit == "GiB":
            return f"{num:,.0f} {unit}" if unit == "bytes" else f"{num:,.1f} {unit}"
        num /= 1024
    raise AssertionError
