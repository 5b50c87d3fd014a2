"""`jaxgan train --dry_run`: prints a config, its networks, their cost and memory, without training."""

from __future__ import annotations

import math
import shlex

import jax
import yaml
from rich import box
from rich.console import Console
from rich.table import Table

from jaxgan.cli.overview import parameter_table
from jaxgan.config import Run
from jaxgan.data import Pipeline, Source
from jaxgan.engine import Engine, Program
from jaxgan.schedules import Ema, PowerEma
from jaxgan.train.resident import is_resident, num_bytes

MEASURED = 3  # up to this many stages are all compiled; of more, only the first and the last


def elsewhere(name: str, overrides: list[str]) -> str:
    """The command that prints the cost of a config on other devices, with a line before it."""
    changes = f" --set {shlex.join(overrides)}" if overrides else ""
    return (
        "for the cost on another TPU or GPU, from a checkout of jaxgan:\n"
        f"  python benchmarks/compile_for.py {shlex.quote(name)} --platform tpu --topology v5e:2x2{changes}"
    )


def as_yaml(config: dict) -> str:
    """A config as YAML: a line for each option, lists on one line."""

    class Dumper(yaml.SafeDumper):
        pass

    Dumper.add_representer(
        list,
        lambda dumper, x: dumper.represent_sequence("tag:yaml.org,2002:seq", x, flow_style=True),
    )
    return yaml.dump(config, Dumper=Dumper, sort_keys=False, width=math.inf, allow_unicode=True)


def show(run: Run, engine: Engine, source: Source) -> None:
    """Prints config, data, players, parameters by layer, stages, turns, operations of a round, and memory."""
    console = Console()
    print(as_yaml(run.config.to_dict()))
    console.print(f"data: {source.summary}")
    count, kind = engine.mesh.size, engine.mesh.devices.flat[0].device_kind
    console.print(f"devices: {count} x {kind}\n")
    console.print(_players(engine))
    for table, names in _parameters(engine).items():
        print(f"\nparameters of {', '.join(names)}\n{table}")
    print()
    measured = _measured(len(engine.game.stages))
    console.print(_stages(engine, source, measured))
    if len(measured) < len(engine.game.stages):
        console.print(
            f"Only the first and the last of {len(engine.game.stages)} stages are compiled here to find their cost."
        )
    console.print(
        f"state (parameters, optimisers, averages): {_size(_bytes(engine.state_shape))} in all"
    )
    pipeline = Pipeline(source, run.config.seed, **run.augmentation)
    if is_resident(run.train_options.data_on_device, pipeline, engine.platform):
        console.print(f"data on each device: {_size(num_bytes(pipeline))}")


def _measured(stages: int) -> set[int]:
    """The stages whose programs are compiled."""
    return set(range(stages)) if stages <= MEASURED else {0, stages - 1}


def _players(engine: Engine) -> Table:
    state = engine.state_shape
    players = Table(title="players")
    for column in ("player", "parameters", "state", "optimiser", "average"):
        players.add_column(column, justify="left" if column == "player" else "right")
    for name, player in engine.game.players.items():
        players.add_row(
            name,
            f"{_count(state.params[name]):,}",
            f"{_count(state.variables[name]):,}",
            "none: frozen" if player.optimizer is None else _size(_bytes(state.opt_state[name])),
            _average(player.average),
        )
    return players


def _average(average) -> str:
    """The moving average of a player, in words.

    >>> _average(Ema(10.0, 0.05)), _average(PowerEma(0.1))
    ('half-life 10 kimg, at most 5 % of the images seen', 'power function of width 0.1')
    """
    if isinstance(average, PowerEma):
        return f"power function of width {average.sigma_rel:g}"
    if not isinstance(average, Ema):
        return "none" if average is None else "of its own kind"
    half_life = average.half_life_kimg
    words = ["half-life on a schedule" if callable(half_life) else f"half-life {half_life:g} kimg"]
    words += [f"at most {100 * average.ramp_up:g} % of the images seen"] if average.ramp_up else []
    words += [f"from {average.start_kimg:g} kimg on"] if average.start_kimg else []
    return ", ".join(words)


def _parameters(engine: Engine) -> dict[str, list[str]]:
    """{table of parameters: the players it applies to}; SinGAN has many players of the same shapes."""
    tables: dict[str, list[str]] = {}
    for name, params in engine.state_shape.params.items():
        if _count(params):
            tables.setdefault(parameter_table(params), []).append(name)
    return tables


def _stages(engine: Engine, source: Source, measured: set[int]) -> Table:
    count = engine.mesh.size
    each = "" if count == 1 else f" (work and memory of one of {count} devices)"
    # Fits 80 columns: names are not cut, the other texts are wrapped.
    turns = Table(title=f"stages{each}", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("stage", "rounds", "batch of\nreal images", "turn", "moves", "played"):
        turns.add_column(column, no_wrap=column in ("stage", "turn", "moves"), overflow="fold")
    for column in ("GFLOP\na round", "temporary\nmemory"):
        turns.add_column(column, justify="right", no_wrap=True)
    programs = {(p.stage, p.name): p for p in engine.programs(source.spec)}
    start = 0
    for index, stage in enumerate(engine.game.stages):
        shape = "x".join(map(str, engine.batch_shape(stage, source.spec)["image"].shape[1:]))
        end = "the end" if stage.until is None else f"{stage.until - 1:,}"
        about = (str(index), f"{start:,} to {end}", f"{stage.batch_size} x {shape}")
        for turn in stage.turns:
            flops, temporary = math.nan, math.nan
            if index in measured:
                flops, temporary = _cost(programs[index, turn.name])
            turns.add_row(
                *about,
                turn.name,
                ",\n".join(turn.players),
                f"{turn.repeat} x" + ("" if turn.every == 1 else f" in every {turn.every} rounds"),
                "?" if math.isnan(flops) else f"{flops / 1e9:,.2f}",
                _size(temporary),
            )
            about = ("", "", "")
        start = start if stage.until is None else stage.until
    return turns


def _cost(program: Program) -> tuple[float, float]:
    """(floating-point operations in an average round, bytes of temporary memory), both for one device, as XLA
    counts them; NaN if the backend reports none."""
    compiled = program.lower().compile()
    flops = (compiled.cost_analysis() or {}).get("flops", math.nan)
    memory = compiled.memory_analysis()
    return flops * program.plays, math.nan if memory is None else memory.temp_size_in_bytes


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
