"""`jaxgan train`: trains a config into a workdir."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from jaxgan.cli import processes
from jaxgan.cli.errors import flags, sentence, user_errors
from jaxgan.cli.explain import lines

if TYPE_CHECKING:  # importing these takes a second, which `jaxgan --help` does not need
    from jaxgan.config import Config, Run
    from jaxgan.data import Source
    from jaxgan.engine import Engine


# What is in XLA's message: the first of accelerators and of compilers, the second of CPUs.
OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "Out of memory")


def add_arguments(parser) -> None:
    parser.add_argument(
        "--config",
        help="a name from `jaxgan list` or a .py file; default: the config of the run in --workdir, else sngan_digits",
    )
    parser.add_argument(
        "--workdir",
        help="folder of the run (default runs/CONFIG); an existing run is continued",
    )
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="print the whole config, the networks, their cost and memory, without training",
    )
    processes.add_arguments(parser)
    parser.epilog = (
        "Every value of the config can be set: --config.train.steps=100 --config.model.batch_size=32"
        " --config.data.path=pictures/. They are listed below for the config that --config names."
    )


def explain(name: str | None, workdir: str | None, named: dict) -> list[str]:
    """The options of a config, by section."""
    from jaxgan import config

    return explain_sections("train", name, workdir, named, (*config.SECTIONS, "seed"))


def explain_sections(
    command: str, name: str | None, workdir: str | None, named: dict, sections: tuple[str, ...]
) -> list[str]:
    """The options of some sections of a config, with the flags of a command."""
    from jaxgan import data, models, options

    flag = flags(command)
    with user_errors(command):
        chosen = {key: named.get(f"config.{key}") for key in ("model.name", "data.name")}
        changes = [f"{key}={value}" for key, value in chosen.items() if value]
        cfg, name = open_config(name, workdir, changes)
    names = {"model.name": models.name_option(), "data.name": data.NAME}
    values = {"model.name": cfg.model_name, "data.name": cfg.data_name}
    rows = [
        row._replace(value=values[row.name], default=values[row.name])
        for row in options.describe(names)
    ]
    rows += options.describe(cfg)
    found = [f"options of {name}, which trains {cfg.model_name} on {cfg.data_name}:"]
    for section in sections:
        inside = [row for row in rows if row.name.partition(".")[0] == section]
        found += ["", f"{section}:", *lines(inside, flag)]
    return found


def open_config(name: str | None, workdir: str | None, overrides: list[str]):
    """(the config, what it is called): the one named, else that of the run in `workdir`, else the default one."""
    from jaxgan import config, train

    if name is None and workdir is not None and train.workdir.holds_run(workdir):
        return config.of_workdir(workdir, overrides), f"the run in {workdir}"
    name = name or config.DEFAULT
    return config.load(name, overrides), f"the config {name}"


@contextlib.contextmanager
def leftovers(given: Mapping[str, str]):
    """Context in which errors that advise another model or data source name the options to leave out with it.

    Args:
      given: the options of the config in the command, {dotted name: value}.
    """
    from jaxgan import config, options

    try:
        yield
    except options.OptionError as error:
        advised = {
            key: value for fix in error.fixes for key, value in fix.items() if key.endswith(".name")
        }

        def lacks(key: str) -> bool:
            section, _, name = key.partition(".")
            module = advised.get(f"{section}.name", "")
            return bool(module) and name != "name" and not config.has_option(section, module, name)

        extra = [f"--config.{key}" for key in given if lacks(key)]
        if not extra:
            raise
        leave = f"leave out {' and '.join(extra)}"
        lead = f"{error.lead} and {leave}" if error.lead else f"; {leave} and choose other data"
        raise error.changed(lead=lead) from None


def prepare(cfg: Config) -> tuple[Run, Source, Engine]:
    """(run, data, engine) of a config; raises before anything is written or compiled if it cannot be trained."""
    from jaxgan import config, train

    source = config.open_data(cfg)
    run = config.make_run(cfg, source.spec)
    engine = train.make_engine(run.game, run.train_options, cfg.seed)
    engine.check_batches()
    run.check_data(source)
    if run.train_options.evaluate_every:
        _ = run.protocol  # raises if it cannot evaluate this game
    return run, source, engine


def run(args) -> int:
    from pathlib import Path

    import jax

    from jaxgan import config, data, train
    from jaxgan.cli import dry_run

    with user_errors("train"), leftovers(args.named["config"]):
        overrides = [f"{k}={v}" for k, v in args.named["config"].items()]
        cfg, _ = open_config(args.config, args.workdir, overrides)
        workdir = Path(args.workdir or f"runs/{Path(args.config or config.DEFAULT).stem}")
        if not args.dry_run:
            train.workdir.check_config(workdir, cfg.to_dict(), cfg.defaults)
        prepared, source, engine = prepare(cfg)
        if args.dry_run:
            dry_run.show(prepared, engine, source)
            if args.config or not args.workdir:  # the command takes no run
                print(dry_run.elsewhere(args.config or config.DEFAULT, overrides))
            return 0
        prepared.prepare(workdir)
        measures = prepared.train_options.evaluate_every > 0
        evaluator = prepared.evaluator(source) if measures else None
        prepared.claim(workdir, source)
    ways_out = train.memory.ways_out(engine, getattr(cfg.model, "remat", None))
    del engine
    # One of several processes tells how the run goes. All of them report errors.
    say = log if jax.process_index() == 0 else lambda sentence: None
    for line in opening(prepared, source, workdir):
        say(line)
    try:
        result = prepared.train(source, workdir, say, evaluator)
    except train.Diverged as error:
        log(f"stopped: {error}")
        return 1
    except (OSError, data.BadData, data.WorkerDied) as error:
        log(sentence(error, "train"))
        return 2
    except jax.errors.JaxRuntimeError as error:
        if not any(words in str(error) for words in OUT_OF_MEMORY):
            raise
        log(
            f"a device ran out of memory; --dry_run prints what training needs; to need less, set {ways_out}."
        )
        return 2
    if result.stopped_by is not None:
        say(f"stopped at step {result.step:,} with a checkpoint; run the same command to continue")
        return 128 + result.stopped_by
    for line in scored(result, prepared.train_options.protocol):
        say(line)
    say(ending(prepared.game, source.spec.size, result.step, workdir))
    return 0


def opening(prepared: Run, source: Source, workdir) -> list[str]:
    """The first messages of a run: what is trained, where, and how far it goes."""
    import jax

    count = jax.process_count()
    together = f" in {count} processes" if count > 1 else ""
    told = [
        f"{prepared.config.model_name} on {source.summary}",
        f"workdir {workdir}, {jax.device_count()} x {jax.devices()[0].device_kind}{together}",
    ]
    stages, steps = prepared.game.stages, prepared.train_options.steps
    reached = prepared.game.stage_at(steps - 1)[0] + 1
    if reached < len(stages):
        told.append(
            f"trains {reached} of {len(stages)} stages; the last starts at step {stages[-2].until:,}: set"
            " --config.train.steps above that to reach it"
        )
    return told


def ending(game, examples: int, step: int, workdir) -> str:
    """The last message of a run: where its files are, and which commands can follow for this game and data."""
    from jaxgan import train

    shown, commands, folder = [], [], shlex.quote(str(workdir))
    if "samples" in game.outputs:
        shown.append(f"Samples: {workdir}/samples.png")
        commands.append(f"jaxgan sample --workdir {folder} --num 64 --out samples.png")
    others = train.outputs.made_of_examples(game)
    shown += [f"{name.capitalize()}: {workdir}/{name}.png" for name in others]
    if game.tools:
        commands.append(f"jaxgan make list --workdir {folder}")
    single = " --protocol single_image" if examples == 1 else ""
    commands.append(f"jaxgan evaluate --workdir {folder}{single}")
    if "samples" in game.outputs and examples > 1:
        commands.append(f"jaxgan diagnose --workdir {folder}")
    commands.append(f"tensorboard --logdir {folder}")
    shown += [f"losses: {workdir}/losses.png", f"numbers: {workdir}/{train.report.METRICS_FILE}"]
    next_lines = "".join(f"\n  {command}" for command in commands)
    return f"done: {step:,} steps. {', '.join(shown)}\nnext:{next_lines}"


def scored(result, protocol: str) -> list[str]:
    """A line with the best and the last score; empty if the run was not evaluated during training."""
    from jaxgan.metrics.compare import differences, scores
    from jaxgan.metrics.protocols import by_name
    from jaxgan.train.evaluation import best_of

    if not result.evaluations:
        return []
    last = result.evaluations[-1]
    alike = [r for r in result.evaluations if not differences(r["protocol"], last["protocol"])]
    best = best_of(alike, by_name(protocol))
    name = next(iter(scores(last)))
    return [
        f"{name}: best {best[name]:.6g} at step {best['measured']['step']:,} (kept in {result.workdir}/best), last"
        f" {last[name]:.6g} at step {last['measured']['step']:,}"
    ]


def log(sentence: str) -> None:
    print(f"jaxgan: {sentence}", file=sys.stderr, flush=True)
