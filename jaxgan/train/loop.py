"""The training loop: trains a game on a data source in a workdir, and continues a stopped run."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from clu import metrics as clu_metrics
from jax.experimental import multihost_utils

from jaxgan.data import Batch, Pipeline, Source
from jaxgan.data.pictures import colours
from jaxgan.engine import Engine, Program
from jaxgan.game import REFERENCE, SAMPLES, Game, Metrics, State, purpose_key
from jaxgan.metrics.compare import differences, scores
from jaxgan.metrics.images import to_uint8
from jaxgan.metrics.protocols import OF, PROTOCOLS
from jaxgan.options import check, option, section
from jaxgan.train import guard, memory, report
from jaxgan.train.checkpoint import Checkpoints
from jaxgan.train.evaluation import (
    Evaluator,
    append_evaluation,
    best_of,
    make_evaluator,
    protocol_of,
    resume_evaluations,
)
from jaxgan.train.guard import Diverged, RollBack
from jaxgan.train.loggers import NAMES, Logger, Relay, load
from jaxgan.train.mesh import make_mesh, state_sharding
from jaxgan.train.outputs import (
    balanced,
    class_names,
    given_for,
    made_of_examples,
    make_output,
    transform,
)
from jaxgan.train.progress import Progress
from jaxgan.train.resident import CHOICES, Resident, is_resident
from jaxgan.train.workdir import CHECKPOINTS, lock, recorded, writing

BEST = "best"  # the checkpoint with the best score, if the run is evaluated during training
EXAMPLES = 16  # number of examples from which outputs are shown


@dataclasses.dataclass(frozen=True)
class Options:
    """How long to train, and how often to write each output. All intervals are in rounds of the game (steps)."""

    steps: int = option(1000, "rounds of the whole run", least=1)
    log_every: int = option(10, "rounds between two lines of metrics", least=1)
    sample_every: int = option(
        500,
        "rounds between two grids of samples and of transforms, and plots of the losses",
        least=1,
    )
    checkpoint_every: int = option(500, "rounds between two checkpoints", least=1)
    keep: int = option(2, "number of latest checkpoints to keep", least=1)
    keep_every: int = option(
        0, "rounds; checkpoints at multiples of it are never deleted; 0 for none", least=0
    )
    grid: int = option(64, "samples in a grid", least=1)
    accumulate: int = option(
        1, "micro-batches of one step, for batches that do not fit into memory", least=1
    )
    devices: int = option(0, "number of devices; 0 for all", least=0)
    fsdp: int = option(1, "number of devices that parameters are split over", least=1)
    data_on_device: str = option(
        "auto",
        "keep all examples in the memory of each device, which makes the batches: yes, no, or on GPUs and TPUs if they"
        " have at most 1 GiB (auto); crops (data.jitter) are made on the host only",
        choices=CHOICES,
    )
    data_workers: int = option(
        0,
        "worker processes that read and decode the examples of a set that is not in memory; 0 for threads of this"
        " process",
        least=0,
    )
    evaluate_every: int = option(
        0, "rounds between two evaluations, of which the best state is kept; 0 for none", least=0
    )
    protocol: str = option(
        "quick",
        "protocol of the evaluations; `jaxgan evaluate --protocol list` explains each",
        choices=tuple(PROTOCOLS),
    )
    evaluate_of: str = option(
        "",
        "output that is evaluated; empty for that of the protocol, or what the game makes",
        choices=("", *OF),
    )
    evaluate_num: int = option(
        0, "number of generated examples in an evaluation; 0 for the protocol's number", least=0
    )
    weights: str = option(
        "", "file with the weights of the feature network; empty to download them"
    )
    loggers: tuple[str, ...] = option(
        (),
        "services that follow the run, each a package that must be installed; files are always written",
        choices=NAMES,
        empty=True,
    )
    guard: guard.Options = dataclasses.field(default_factory=guard.Options)


@dataclasses.dataclass
class Result:
    """What `train` returns.

    Attributes:
      state: the final one.
      step: of that state.
      engine: can sample from the state.
      workdir: the folder of the run.
      stopped_by: None after the last step, else the signal that ended the run.
      evaluations: the results of evaluations during training, in order.
      rolled: the roll-backs of the run, in order.
    """

    # Not shown: a notebook shows the value of a cell's last line, and the state holds all weights.
    state: State = dataclasses.field(repr=False)
    step: int
    engine: Engine = dataclasses.field(repr=False)
    workdir: Path
    stopped_by: signal.Signals | None = None
    evaluations: list[dict] = dataclasses.field(default_factory=list)
    rolled: tuple[RollBack, ...] = ()


def make_engine(game: Game, options: Options, seed: int) -> Engine:
    """The engine that plays `game` on the devices of the options."""
    mesh = make_mesh(options.devices, options.fsdp)
    return Engine(game, seed, mesh, state_sharding, options.accumulate)


def train(
    game: Game,
    source: Source,
    workdir: str | Path,
    options: Options | None = None,
    seed: int = 0,
    flip: bool = False,
    jitter: int = 0,
    log: Callable[[str], None] = print,
    evaluator: Evaluator | None = None,
    loggers: Iterable[Logger] = (),
) -> Result:
    """Trains until `options.steps`, from the latest checkpoint in `workdir` if there is one.

    Writes into `workdir`: `checkpoints/`, `metrics.jsonl`, TensorBoard events, `losses.png`; of a game that generates,
    `samples/` (one grid per `sample_every` rounds, always of the same latents) and `samples.png` (the latest); of one
    that transforms, `transforms/` and `transforms.png`: always the same examples beside their transforms.

    On SIGTERM or Ctrl-C the function finishes the round, saves a checkpoint and returns. NaN or infinity in any metric
    raises `Diverged`, which names the metric; a checkpoint is saved only if the metrics and the state are finite. With
    `options.guard` it also stops at other signs, or continues from the latest checkpoint with lower learning rates.

    Args:
      game: from a model's `game(options, spec)`.
      source: the real data; its shape must be the game's.
      workdir: created if missing.
      options: see `Options`.
      seed: of parameters, latents and the order of the data.
      flip: mirror each picture with probability 1/2.
      jitter: enlarge pictures by this many pixels, then crop them back at random.
      log: called with each message for the user.
      evaluator: evaluates every `options.evaluate_every` steps and at the end; if None, one for `options.protocol` and
        `source`. Results go to `evaluations.jsonl` and, as `eval/...`, to the metrics; the state with the best first
        score is kept as a checkpoint in `best/`.
      loggers: loggers of one's own, beside those of `options.loggers`.
    """
    options = options or Options()
    with section("train"):
        check(options)
    guard.check(options.guard, game)
    if options.evaluate_every and evaluator is None:
        evaluator = _evaluator_of(game, source, options)
    workdir, augment = Path(workdir), {"flip": flip, "jitter": jitter}
    open_run = partial(_Run, game, source, workdir, options, seed, augment, evaluator)
    # Raises if the data do not support an option, before anything is written or compiled.
    run = open_run(guard.read(workdir))
    follow = partial(_relay, options, loggers, workdir, log)
    with writing(workdir), lock(workdir), follow() as relay, _Signals(log) as signals:
        while True:
            try:
                return run.go(signals, log, relay)
            except Diverged as error:
                rolled = run.roll_back(error)
                log(f"{error.reason}; rolled back to step {rolled[-1].to:,}")
            finally:
                run.close()
            run = open_run(rolled)


def _relay(options: Options, loggers: Iterable[Logger], workdir: Path, log) -> Relay:
    """The opened loggers of the options and those given; of several processes, the first one has them all."""
    record = recorded(workdir) or {}
    mine = [*map(load, options.loggers), *loggers] if jax.process_index() == 0 else []
    return Relay(mine, workdir, record.get("config", {}), log)


def _evaluator_of(game: Game, source: Source, options: Options) -> Evaluator:
    """The evaluator for the protocol of the options and the examples of `source`."""
    protocol = protocol_of(game, options.protocol, options.evaluate_of)
    weights = options.weights or None
    return make_evaluator(source, protocol, weights=weights, num=options.evaluate_num)


class _Run:
    """A call of `train`, up to its end or to a roll-back: the open files and iterators, and the loop."""

    def __init__(self, game, source, workdir, options, seed, augment, evaluator, rolled):
        self.engine = engine = make_engine(guard.slowed(game, rolled), options, seed)
        engine.check_batches()
        self.source, self.workdir, self.options = source, workdir, options
        self.rolled: tuple[RollBack, ...] = rolled
        self.evaluator = evaluator if options.evaluate_every else None
        self.evaluations: list[dict] = []
        record = recorded(workdir)
        folder = workdir / CHECKPOINTS
        self.checkpoints = Checkpoints(folder, options.keep, options.keep_every, record)
        self.best = Checkpoints(workdir / BEST, keep=1, record=record)
        self.of_examples = made_of_examples(engine.game)
        num = min(EXAMPLES, len(source))
        self.examples = {
            name: dict(given_for(engine.game.outputs[name], source, num)(np.arange(num)))
            for name in self.of_examples
        }
        shard = (jax.process_index(), jax.process_count())
        self.pipelines = [
            Pipeline(source, seed, resolution=stage.resolution, shard=shard, stage=index, **augment)
            for index, stage in enumerate(engine.game.stages)
        ]
        self.resident = [
            is_resident(options.data_on_device, pipeline, engine.platform)
            for pipeline in self.pipelines
        ]
        self.batches: Any = None  # the open iterator of this stage's batches
        self.stage = -1
        self.window = _Window()
        self.warned = False  # of too little memory
        self.metrics: report.Metrics | None = None
        self.chief = jax.process_index() == 0
        self.all_finite = jax.jit(
            lambda state: {
                part: jax.tree.map(_is_finite, getattr(state, part))
                for part in ("params", "opt_state", "variables", "ema")
            },
            out_shardings=engine.replicated,
        )

    def go(self, signals: _Signals, log: Callable[[str], None], relay: Relay) -> Result:
        """Plays from the latest checkpoint on, if there is one."""
        self.relay = relay
        self.engine.on_compiled = partial(self.check_memory, log)
        restored = self.restore()
        step, state = restored or (0, self.engine.init())
        if restored:
            slower = f", learning rates x {guard.factor(self.rolled):g}" if self.rolled else ""
            log(f"resuming {self.workdir} at step {step:,}{slower}")
        if step >= self.options.steps:
            done = f"{step:,} of {self.options.steps:,} steps"
            log(f"{self.workdir} has already trained {done}; to go on, give more train.steps")
            return Result(state, step, self.engine, self.workdir, rolled=self.rolled)
        return self.play(state, step, signals, saved=step if restored else None)

    def check_memory(self, log: Callable[[str], None], program: Program, compiled) -> None:
        """Says once, before it is too late, that a program needs more memory than a device has."""
        if self.warned or math.isinf(memory.limit(self.engine)):
            return  # XLA takes 0.3 s to analyse the programs of vqgan_digits
        need = memory.of_program(self.engine, program, compiled, self.source.spec)
        need += memory.of_examples(self.engine, self.pipelines, self.options.data_on_device)
        what = f"{program.name} of stage {program.stage}"
        if sentence := memory.complaint(self.engine, need, what):
            self.warned = True
            log(sentence)

    def roll_back(self, error: Diverged) -> tuple[RollBack, ...]:
        """Writes down one roll-back more to the latest checkpoint, and returns all; or raises the error."""
        options = self.options.guard
        if options.on_divergence != guard.ROLL_BACK:
            raise error
        if len(self.rolled) >= options.roll_backs:
            count = len(self.rolled)
            raise guard.Diverged(
                f"{error} It was rolled back {count} time{'s'[: count != 1]} already (see"
                f" {self.workdir / guard.FILE}); to allow more, raise train.guard.roll_backs.",
                error.quantity,
                error.reason,
            ) from error
        restored = self.checkpoints.restore(self.engine.state_shape)
        if restored is None:
            raise error
        rolled = (*self.rolled, guard.roll_back(restored[0], error, options.rate))
        if self.chief:
            guard.write(self.workdir, rolled)
        return rolled

    def restore(self) -> tuple[int, State] | None:
        """(step, state) of the latest checkpoint; None if there is none. What follows is compiled meanwhile."""
        step = max(self.checkpoints.steps(), default=0)
        if step < self.options.steps:
            shown = [
                name for name in self.engine.game.outputs if name in (SAMPLES, *self.of_examples)
            ]
            self.engine.compile_ahead(self.source.spec, step, shown)
        return self.checkpoints.restore(self.engine.state_shape)

    def play(self, state: State, step: int, signals: _Signals, saved: int | None) -> Result:
        """Plays from `step` on; `saved` is the step whose checkpoint is on disk already."""
        options, self.saved, before = self.options, saved, None
        if self.chief:
            self.metrics = report.Metrics(self.workdir, step)
        # After a roll-back it counts anew: the checkpoints before have been counted.
        since = self.rolled[-1].to if self.rolled else 0
        rows = report.read_metrics(self.workdir) if options.guard.wins else []
        self.won = guard.wins_in_a_row([row for row in rows if since < row["step"] <= step])
        if self.evaluator is not None:
            self.evaluations = resume_evaluations(self.workdir, step, self.chief)
        shown = self.engine.game.shown
        with Progress(options.steps, step, shown, quiet=not self.chief) as self.progress:
            if step == 0:
                self.sample(state, 0)
            while step < options.steps and not signals.stop():
                self.open_stage(step)
                state, metrics = self.engine.round(state, step, self.batches)
                # One round in the queue keeps the device busy. A longer queue would only hold more batches in its
                # memory, and would deadlock XLA's CPU backend with several virtual devices.
                jax.block_until_ready(before)
                before = metrics
                # The window that ended a round ago is read only now, when the device is busy with the next round.
                self.flush()
                self.window.add(step, metrics)
                step += 1
                if step % options.log_every == 0:
                    self.window.end(step)
                if step % options.sample_every == 0:
                    self.sample(state, step)
                # Before the checkpoint: what a killed run had written of this step is written again, and not left out.
                if options.evaluate_every and step % options.evaluate_every == 0:
                    self.evaluate(state, step)
                due = step % options.checkpoint_every == 0 and step < options.steps
                if due and self.saved != step:
                    self.save(state, step)
                self.progress.advance(step)
            # A signal leaves little time, and may come right after a save.
            if step < options.steps and self.saved != step:
                self.save(state, step)
            if step % options.sample_every:
                self.sample(state, step)
            # The final state is evaluated too: the best one is selected by its score, which is therefore biased.
            if options.evaluate_every and step % options.evaluate_every and step >= options.steps:
                self.evaluate(state, step)
            # The checkpoint of the last step comes last: with it, there is nothing left to write.
            if self.saved != step:
                self.save(state, step)
        # A signal in the last round ends nothing that would not have ended.
        ended = signals.received if step < options.steps else None
        return Result(state, step, self.engine, self.workdir, ended, self.evaluations, self.rolled)

    def open_stage(self, step: int) -> None:
        index, draws = self.engine.game.position(step)
        if index != self.stage:
            self.close_batches()
            if self.stage >= 0:
                self.engine.compile_ahead(self.source.spec, step)
            self.stage = index
            batch_size = self.engine.game.stages[index].batch_size
            examples, workers = self.pipelines[index], self.options.data_workers
            batches: Any
            if self.resident[index]:
                batches = Resident(examples, self.engine).iterate(draws, batch_size)
            else:
                batches = examples.iterate(draws, batch_size, workers=workers)
            self.batches = _Timed(batches)

    def flush(self) -> None:
        """Writes the window that has ended, if one has; stops the run if anything in it is not finite."""
        if self.window.ended is None:
            return
        step, values, bad, rounds, seconds = self.window.take()
        if bad:
            name = _first_bad(bad)
            field = self.bad_field(bad[name])
            cause = f", as the field '{field}' of its real batch is" if field else ""
            reason = f"{name} became NaN or infinite at step {bad[name]:,}{cause}"
            raise self.diverged(name, reason, "Correct the data" if field else "")
        images = self.engine.game.images(step)
        before = self.engine.game.images(step - rounds)
        row = {
            **values,
            "images_per_second": (images - before) / seconds,
            "rounds_per_second": rounds / seconds,
            "data_wait": min(1.0, self.batches.taken() / seconds),
        }
        self.progress.show(step, self.write(step, row))
        if found := guard.beyond(self.options.guard, values):
            raise self.diverged(found[0], f"{found[1]} up to step {step:,}")

    def write(self, step: int, row: dict[str, float]) -> dict[str, float]:
        """Writes metrics, with the kimg of the step, to the files of the run and to its loggers; returns them."""
        row = {"kimg": self.engine.game.images(step) / 1000, **row}
        if self.metrics is not None:
            self.metrics.write(step, row)
            self.relay.metrics(step, row)
        return row

    def bad_field(self, step: int) -> str | None:
        """The field of the real batches of round `step` that is not finite, of this process's rows."""
        index, draw = self.engine.game.position(step)
        stage, (_, start) = self.engine.game.stages[index], self.engine.game.stage_at(step)
        end = stage.draws(step + 1) - stage.draws(start)
        for number in range(draw, end):
            batch = self.pipelines[index].batch(number, stage.batch_size)
            for name, values in batch.items():
                if not np.isfinite(values).all():
                    return name
        return None

    def diverged(self, name: str, reason: str, advice: str = "") -> Diverged:
        self.checkpoints.close()  # lets a save in progress finish
        kept = self.checkpoints.steps()
        good = (
            f"the last good checkpoint is of step {kept[-1]:,}"
            if kept
            else "no checkpoint was saved yet"
        )
        advice = advice or "Lower the learning rates"
        message = (
            f"{reason}; {good}. {advice}, or see what the metrics did before in"
            f" {self.workdir / report.METRICS_FILE}."
        )
        return Diverged(message, name, reason)

    def save(self, state: State, step: int) -> None:
        """Saves a checkpoint, after checking that the run has not diverged."""
        self.window.end(step)
        self.flush()
        self.check_finite(state, step)
        if self.options.guard.wins:
            self.check_wins(state, step)
        self.checkpoints.save(step, state)
        self.saved = step
        self.window.begin()

    def check_finite(self, state: State, step: int) -> None:
        """Raises `Diverged` unless parameters, optimisers, variables and averages are finite."""
        # Finite metrics do not suffice: they were computed before the last update of each player.
        for path, good in jax.tree_util.tree_leaves_with_path(self.all_finite(state)):
            if not good:
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                raise self.diverged(name, f"{name} became NaN or infinite before step {step:,}")

    def check_wins(self, state: State, step: int) -> None:
        """Logs the separation, and raises `Diverged` if the critic has won for too long."""
        value = guard.separation(self.engine, state, self.source)
        self.write(step, {guard.SEPARATION: value})
        self.won = self.won + 1 if value == 1 else 0
        if self.won >= self.options.guard.wins:
            won = f"the critic told all real from all generated examples at {self.won} checkpoints"
            raise self.diverged(guard.SEPARATION, f"{won} up to step {step:,}")

    def sample(self, state: State, step: int) -> None:
        self.window.end(step)
        self.flush()  # so that the plot has all rows, and a diverged run raises `Diverged`
        if step > 0:
            self.check_finite(state, step)
        if SAMPLES in self.engine.game.outputs:
            samples = sample_grid(self.engine, state, self.options.grid)
            classes = class_names(self.engine.game)
            self.save_grid(SAMPLES, step, samples, classes=classes)
        for name in self.of_examples:
            grid = output_grid(self.engine, state, name, self.examples[name])
            self.save_grid(name, step, grid, gap=4)
        if self.chief and step > 0:
            report.save_plot(self.workdir, self.engine.game.shown)
        self.window.begin()

    def save_grid(self, name: str, step: int, pictures: np.ndarray, **how: Any) -> None:
        """Saves a grid in the folder `name`, and a copy of it as the latest one."""
        if self.chief:
            (self.workdir / name).mkdir(exist_ok=True)
            path = self.workdir / name / f"{step:08d}.png"
            report.save_grid(path, pictures, **how)
            report.replace_atomically(
                self.workdir / f"{name}.png", lambda latest: shutil.copyfile(path, latest)
            )
            self.relay.picture(step, name, path)

    def evaluate(self, state: State, step: int) -> None:
        """Evaluates the state, and keeps it if its first score is the best so far."""
        self.window.end(step)
        self.flush()
        self.check_finite(state, step)
        assert self.evaluator is not None
        result = self.evaluator(self.engine, state, step)
        result["measured"]["during"] = "training"
        earlier = [
            r for r in self.evaluations if not differences(r["protocol"], result["protocol"])
        ]
        self.evaluations.append(result)
        if self.chief:
            append_evaluation(self.workdir, result)
        self.write(step, {f"eval/{name}": value for name, value in scores(result).items()})
        if best_of([*earlier, result], self.evaluator.protocol) is result:
            self.best.save(step, state)
            # So that no roll-back goes back behind the state that is kept as the best.
            if self.options.guard.on_divergence == guard.ROLL_BACK and step < self.options.steps:
                self.save(state, step)
        self.window.begin()

    def close_batches(self) -> None:
        if self.batches is not None:
            self.batches.close()
            self.batches = None

    def close(self) -> None:
        """Closes everything, also after an error in closing something."""
        with contextlib.ExitStack() as stack:
            if self.metrics is not None:
                stack.callback(self.metrics.close)
            stack.callback(self.best.close)
            stack.callback(self.checkpoints.close)
            stack.callback(self.close_batches)
            stack.callback(self.engine.stop_compiling)


def sample_grid(engine: Engine, state: State, num: int) -> np.ndarray:
    """`num` samples, of the same latents at every step; the labels of a conditional game are 0, 1, ... in turn."""
    key = purpose_key(engine.run_key, "grid", 0)
    return make_output(engine, state, SAMPLES, key, num, balanced(engine.game))


def output_grid(engine: Engine, state: State, output: str, examples: Batch) -> np.ndarray:
    """Each example's condition and label map (if it has any), the example, its reference (if there is one) and its row
    of the output, side by side.

    Label maps are shown in the colours of `jaxgan.data.pictures.colours`. An output of another size than the examples
    is shown alone. Returns uint8 [N, H, W, C].
    """
    key = purpose_key(engine.run_key, output, 0)
    pictures = to_uint8(transform(engine, state, examples, key, output=output))
    if pictures.shape != examples["image"].shape:
        return pictures
    shown = [examples["condition"]] if "condition" in examples else []
    shown += [colours()[np.asarray(examples["label_map"]) & 255]] if "label_map" in examples else []
    shown += [examples[name] for name in ("image", REFERENCE) if name in examples]
    return report.side_by_side(*shown, pictures)


class _Timed:
    """An iterator of batches that measures how long its caller has waited for them."""

    def __init__(self, batches):
        self.batches, self.seconds = batches, 0.0

    def __next__(self) -> Batch:
        began = time.monotonic()
        batch = next(self.batches)
        self.seconds += time.monotonic() - began
        return batch

    def taken(self) -> float:
        """The seconds of waiting since the last call."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds

    def close(self) -> None:
        self.batches.close()


class Running(NamedTuple):
    """One metric since the last log, on the device: its mean, and the first step at which it was not finite, or -1."""

    mean: clu_metrics.Average
    bad_step: jax.Array


class _Window:
    """The metrics since the last log, kept on the device until they are read."""

    def __init__(self):
        self.running: dict[str, dict[str, Running]] = {}  # by turn: lazy turns have fewer values
        self.rounds = 0
        self.ended: tuple | None = None
        self.begin()

    def begin(self) -> None:
        """Counts the seconds from now on, after work that is not of a round: samples, a checkpoint, an evaluation."""
        self.since = time.monotonic()

    def add(self, step: int, metrics: dict[str, Metrics]) -> None:
        """Adds the metrics of round `step`."""
        for turn, values in metrics.items():
            before = self.running.get(turn)
            now = np.int32(step)
            self.running[turn] = (
                _first(values, now) if before is None else _merge(before, values, now)
            )
        self.rounds += 1

    def end(self, step: int) -> None:
        """Closes the window before round `step`; `take` reads it."""
        if self.rounds:
            assert self.ended is None, "a window was ended before the one before it was read"
            self.ended = (step, self.running, self.rounds)
            self.running, self.rounds = {}, 0

    def take(self) -> tuple[int, dict[str, float], dict[str, int], int, float]:
        """(step, means, first bad steps, rounds, seconds) of the ended window; waits for the device."""
        assert self.ended is not None, "a window is read after it was ended"
        step, running, rounds = self.ended
        self.ended = None
        metrics = {name: metric for turn in running.values() for name, metric in turn.items()}
        # Not `compute()`, which divides a float by an integer: an error under strict promotion.
        means = {name: float(m.mean.total) / int(m.mean.count) for name, m in metrics.items()}
        bad = {
            name: int(metric.bad_step) for name, metric in metrics.items() if metric.bad_step >= 0
        }
        now = time.monotonic()
        seconds, self.since = max(now - self.since, 1e-9), now
        return step, means, bad, rounds, seconds


def _is_finite(x: jax.Array) -> jax.Array:
    # A key is neither.
    return jnp.isfinite(x).all() if jnp.issubdtype(x.dtype, jnp.number) else jnp.bool_(True)


def _first_bad(bad: dict[str, int]) -> str:
    """The first bad metric: of the earliest step, in it of the turn played first, and values before gradient norms."""
    step = min(bad.values())
    names = [name for name, at in bad.items() if at == step]
    turn = names[0].split("/")[0]
    return min(
        (name for name in names if name.split("/")[0] == turn),
        key=lambda name: "/grad_norm" in name,
    )


@jax.jit
def _first(values: Metrics, step: jax.Array) -> dict[str, Running]:
    return {
        name: Running(
            clu_metrics.Average.from_model_output(value),
            jnp.where(jnp.isfinite(value), jnp.int32(-1), step),
        )
        for name, value in values.items()
    }


@jax.jit
def _merge(before: dict[str, Running], values: Metrics, step: jax.Array) -> dict[str, Running]:
    now = _first(values, step)
    return {
        name: Running(
            metric.mean.merge(now[name].mean),
            jnp.where(metric.bad_step >= 0, metric.bad_step, now[name].bad_step),
        )
        for name, metric in before.items()
    }


class _Signals:
    """Context in which the first SIGTERM or Ctrl-C is recorded; a second one has its usual effect.

    Several processes must end before the same round, or they would wait for each other for ever. There, JAX's
    preemption service receives SIGTERM, or a scheduler's notice, on behalf of all of them, and agrees on the round;
    Ctrl-C has its usual effect.
    """

    def __init__(self, log):
        self.log = log
        self.received: signal.Signals | None = None
        self.handlers = {}
        served = jax.config.jax_enable_preemption_service  # type: ignore[attr-defined, unused-ignore]
        self.together = jax.process_count() > 1 and served
        self.rounds = 0

    def stop(self) -> bool:
        """Whether to end the run before this round; called once before each round."""
        self.rounds += 1  # not the step, which a roll-back sets back
        if self.together and multihost_utils.reached_preemption_sync_point(self.rounds):
            self.received = signal.SIGTERM
            self.log(f"{self.received.name}: saving a checkpoint")
        return self.received is not None

    def __enter__(self):
        # The main thread is the only one that can set handlers.
        if threading.current_thread() is threading.main_thread() and not self.together:
            for number in (signal.SIGTERM, signal.SIGINT):
                self.handlers[number] = signal.signal(number, self.handle)
        return self

    def handle(self, number, frame):
        self.received = signal.Signals(number)
        self.restore()
        self.log(f"{self.received.name}: ending the round and saving a checkpoint")

    def restore(self):
        for number, handler in self.handlers.items():
            # None is a handler that was not set by Python, which cannot set it again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self.handlers = {}

    def __exit__(self, *error):
        self.restore()
