"""`jaxgan train --dry_run`: prints a config, its networks, their cost and memory, without training."""

from __future__ import annotations

import math
import shlex
from typing import NamedTuple

import jax
import yaml
from rich import box
from rich.console import Console
from rich.table import Table

from jaxgan.cli.overview import parameter_table
from jaxgan.config import Run
from jaxgan.data import Pipeline, Source
from jaxgan.engine import Engine, Program
from jaxgan.game import SAMPLES
from jaxgan.schedules import Ema, PowerEma
from jaxgan.spec import Spec
from jaxgan.train import memory
from jaxgan.train.outputs import made_of_examples

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
    """Prints config, data, players, parameters by layer, state, stages, turns, operations of a round, and memory."""
    console = Console()
    print(as_yaml(run.config.to_dict()))
    console.print(f"data: {source.summary}")
    count, kind = engine.mesh.size, engine.mesh.devices.flat[0].device_kind
    console.print(f"devices: {count} x {kind}\n")
    console.print(_players(engine))
    for table, names in _parameters(engine).items():
        print(f"\nparameters of {', '.join(names)}\n{table}")
    print()
    console.print(_state(engine))
    measured = _measured(len(engine.game.stages))
    costs = _costs(engine, source.spec, measured)
    console.print(_stages(engine, source, costs))
    if len(measured) < len(engine.game.stages):
        console.print(
            f"Only the first and the last of {len(engine.game.stages)} stages are compiled here to find their cost."
        )
    for line in _peak(run, engine, source, costs):
        console.print(line)


def _peak(run: Run, engine: Engine, source: Source, costs: Costs) -> list[str]:
    """Sentences on the memory that training needs on each device."""
    augmentation, choice = run.augmentation, run.train_options.data_on_device
    pipelines = [
        Pipeline(source, run.config.seed, resolution=stage.resolution, **augmentation)
        for stage in engine.game.stages
    ]
    examples = memory.of_examples(engine, pipelines, choice)
    lines = [f"data on each device: {memory.words(examples)}"] if examples else []
    known = {key: cost for key, cost in costs.items() if not math.isnan(cost.memory)}
    if not known:
        return [*lines, "memory of a device: unknown, since the compiler does not report it"]
    (stage, name), largest = max(known.items(), key=lambda item: item[1].memory)
    need, what = largest.memory + examples, f"{name} of stage {stage}"
    without = "; without what a CPU's convolutions need besides" if engine.platform == "cpu" else ""
    lines.append(f"memory of a device: at most {memory.words(need)} (during {what}{without})")
    complaint = memory.complaint(engine, need, what, getattr(run.config.model, "remat", None))
    return [*lines, complaint] if complaint else lines


def _measured(stages: int) -> set[int]:
    """The stages whose programs are compiled."""
    return set(range(stages)) if stages <= MEASURED else {0, stages - 1}


def _players(engine: Engine) -> Table:
    state = engine.state_shape
    players = Table(title="players")
    for column in ("player", "parameters", "state", "average"):
        players.add_column(column, justify="left" if column == "player" else "right")
    for name, player in engine.game.players.items():
        players.add_row(
            name,
            f"{_count(state.params[name]):,}",
            f"{_count(state.variables[name]):,}",
            _average(player.average),
        )
    return players


def _state(engine: Engine) -> Table:
    """The bytes of the state: of the parts of each player, and of all."""
    split = engine.mesh.shape.get("fsdp", 1) > 1
    table = Table(title=f"state on {'one of ' * (engine.mesh.size > 1)}{_devices(engine)}")
    sizes = memory.of_state(engine)
    for column in ("player", *(memory.PARTS[part] for part in sizes), "in all"):
        table.add_column(column, justify="left" if column == "player" else "right")

    def cell(found: list[memory.Size]) -> str:
        if not found:
            return "-"
        whole, device = (sum(column) for column in zip(*found, strict=True))
        return f"{memory.words(device)}{f' of {memory.words(whole)}' if split else ''}"

    for name, player in engine.game.players.items():
        own = [[found[name]] if name in found else [] for found in sizes.values()]
        cells = list(map(cell, own))
        if player.optimizer is None:
            cells[list(sizes).index("opt_state")] = "none: frozen"
        table.add_row(name, *cells, cell([size for column in own for size in column]))
    if len(engine.game.players) > 1:
        of_part = [list(found.values()) for found in sizes.values()]
        table.add_row(
            "all", *map(cell, of_part), cell([size for column in of_part for size in column])
        )
    return table


def _devices(engine: Engine) -> str:
    count = engine.mesh.size
    return f"{count} device{'s'[: count > 1]}"


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


class Cost(NamedTuple):
    """What a program costs one device, as XLA counts it; NaN where the backend reports nothing.

    Attributes:
      flops: floating-point operations in an average round.
      temporary: bytes of its intermediate results.
      memory: bytes of the device while it runs, see `memory.of_program`.
    """

    flops: float = math.nan
    temporary: float = math.nan
    memory: float = math.nan


Costs = dict[tuple[int, str], Cost]


def _costs(engine: Engine, spec: Spec, stages: set[int]) -> Costs:
    """{(stage, name): its cost} of the programs that training runs in these stages; they are compiled."""
    outputs = {name for name in engine.game.outputs if name == SAMPLES}
    shown = outputs | set(made_of_examples(engine.game))
    return {
        (program.stage, program.name): _cost(engine, program, spec)
        for program in engine.programs(spec)
        if program.stage in stages
        and (program.name not in engine.game.outputs or program.name in shown)
    }


def _stages(engine: Engine, source: Source, costs: Costs) -> Table:
    count = engine.mesh.size
    each = "" if count == 1 else f" (work and memory of one of {count} devices)"
    # Fits 80 columns: names are not cut, the other texts are wrapped.
    turns = Table(title=f"stages{each}", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("stage", "rounds", "batch of\nreal images", "turn", "moves", "played"):
        turns.add_column(column, no_wrap=column in ("stage", "turn", "moves"), overflow="fold")
    for column in ("GFLOP\na round", "temporary\nmemory"):
        turns.add_column(column, justify="right", no_wrap=True)
    start = 0
    for index, stage in enumerate(engine.game.stages):
        shape = "x".join(map(str, engine.batch_shape(stage, source.spec)["image"].shape[1:]))
        end = "the end" if stage.until is None else f"{stage.until - 1:,}"
        about = (str(index), f"{start:,} to {end}", f"{stage.batch_size} x {shape}")
        for turn in stage.turns:
            cost = costs.get((index, turn.name), Cost())
            turns.add_row(
                *about,
                turn.name,
                ",\n".join(turn.players),
                f"{turn.repeat} x" + ("" if turn.every == 1 else f" in every {turn.every} rounds"),
                "?" if math.isnan(cost.flops) else f"{cost.flops / 1e9:,.2f}",
                memory.words(cost.temporary),
            )
            about = ("", "", "")
        start = start if stage.until is None else stage.until
    return turns


def _cost(engine: Engine, program: Program, spec: Spec) -> Cost:
    compiled = program.lower().compile()
    flops = (compiled.cost_analysis() or {}).get("flops", math.nan)
    analysis = compiled.memory_analysis()
    return Cost(
        flops * program.plays,
        math.nan if analysis is None else analysis.temp_size_in_bytes,
        memory.of_program(engine, program, compiled, spec),
    )


def _count(tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
