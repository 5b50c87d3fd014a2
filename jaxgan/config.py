"""Configs: plain data that says which model plays on which data for how long.

A config is a Python file whose `get_config()` returns a dict of three sections, each overriding defaults that live
with their owner, and a seed:

    def get_config():
        return {
            "model": {"name": "sngan", ...},   # jaxgan.models.<name>.Options
            "data": {"name": "digits", ...},   # jaxgan.data.DataOptions
            "train": {"steps": 1000, ...},     # jaxgan.train.Options
            "seed": 0,
        }

Its docstring is the record of the experiment: paper, expected result, cost, command.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from jaxgan import data, models
from jaxgan import train as training
from jaxgan.engine import Engine
from jaxgan.game import DataSpec, Game, State
from jaxgan.metrics import protocols

SECTIONS = ("model", "data", "train")


@dataclasses.dataclass
class Run:
    """A config made real: the game it describes and the options of the loop."""

    config: ConfigDict
    spec: DataSpec
    game: Game
    train_options: training.Options

    @property
    def record(self) -> dict:
        """What a workdir remembers of the run."""
        return {"config": self.config.to_dict(), "spec": self.spec._asdict()}

    def train(
        self,
        source: data.Source,
        workdir: str | Path,
        say: Callable[[str], None] = print,
        evaluator: training.Evaluator | None = None,
    ) -> training.Result:
        """Trains in `workdir`, which must be new or hold this very run, and see `jaxgan.train.train`.

        `evaluator` is the one from `self.evaluator(source)`, if that was called before.
        """
        self.prepare(workdir)
        training.workdir.claim(workdir, self.record)
        if evaluator is None and self.train_options.evaluate_every:
            evaluator = self.evaluator(source)
        return training.train(
            self.game,
            source,
            workdir,
            self.train_options,
            seed=self.config.seed,
            flip=self.config.data.flip,
            jitter=self.config.data.jitter,
            say=say,
            evaluator=evaluator,
        )

    def prepare(self, workdir: str | Path) -> None:
        """Reads the files that the networks of a new run start from, if the model has a `prepare(options)` for that.

        So what cannot be had is a ValueError or an OSError before anything is written or compiled. A run that has a
        checkpoint in `workdir` needs no such files.
        """
        model, options = _model(self.config)
        if not hasattr(model, "prepare"):
            return
        if not training.Checkpoints(Path(workdir) / training.loop.CHECKPOINTS).steps():
            model.prepare(options)

    @property
    def protocol(self) -> protocols.Protocol:
        """By which the run is measured as it trains."""
        options = self.train_options
        return training.evaluation.protocol_of(self.game, options.protocol, options.evaluate_of)

    def evaluator(self, source: data.Source) -> training.Evaluator:
        """What measures the run as it trains on `source`, by the protocol of its options."""
        options, protocol = self.train_options, self.protocol
        if protocol.split != self.config.data.split:
            given = data.DataOptions(**self.config.data)
            source = data.open_source(dataclasses.replace(given, split=protocol.split))
        return training.make_evaluator(
            source,
            protocol,
            weights=options.weights or None,
            num=options.evaluate_num,
            fit=options.protocol in protocols.DEFAULTS,
            measured={"model": self.config.model.name},
        )


def folder() -> Path:
    """Where the configs are: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def names() -> tuple[str, ...]:
    """The configs that come with jaxgan."""
    return tuple(sorted(path.stem for path in folder().glob("*.py")))


def describe(name: str) -> str:
    """The first line of a config's docstring."""
    docstring = ast.get_docstring(ast.parse(_path(name).read_text())) or ""
    return docstring.split("\n")[0]


def _path(name_or_file: str) -> Path:
    if name_or_file.endswith(".py") or "/" in name_or_file:
        path = Path(name_or_file)
        if not path.is_file():
            raise FileNotFoundError(f"there is no config file {path}; check --config.")
        return path
    if name_or_file not in names():
        close = difflib.get_close_matches(name_or_file, names(), 1)
        hint = f"did you mean '{close[0]}'?" if close else "see them with: jaxgan list."
        raise ValueError(
            f"there is no config '{name_or_file}'; {hint} (A file of your own is given with its .py ending.)"
        )
    return folder() / f"{name_or_file}.py"


def load(name_or_file: str, overrides: Iterable[str] = ()) -> ConfigDict:
    """The config called so, complete with every default, and locked.

    Args:
      name_or_file: a name from `names()`, or the path of a file.
      overrides: "section.key=value" (or "seed=value").

    >>> config = load("sngan_digits", ["train.steps=100"])
    >>> config.model.name, config.train.steps
    ('sngan', 100)
    """
    path = _path(name_or_file)
    spec = importlib.util.spec_from_file_location(f"_jaxgan_config_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        given = module.get_config()
    except Exception as error:
        raise ValueError(
            f"the config {path} cannot be read ({type(error).__name__}: {error})."
        ) from error
    if not isinstance(given, dict):
        raise ValueError(
            f"get_config() of {path} returns {type(given).__name__}; it must return a dict of model, data and train."
        )
    changes = dict(_split(override) for override in overrides)
    # Which options a model has depends on its name, so that comes first.
    name = changes.get("model.name", training.workdir.flatten(given).get("model.name", ""))
    return _complete(given, changes, name, str(path))


def _split(override: str) -> tuple[str, str]:
    key, equals, value = override.partition("=")
    if not equals:
        raise ValueError(f"--config.{key} has no value; write --config.{key}=VALUE.")
    return key, value


def _complete(given: dict, changes: dict[str, str], model: str, origin: str) -> ConfigDict:
    defaults = {
        "model": {"name": model, **_defaults(models.load(model).Options)},
        "data": _defaults(data.DataOptions),
        "train": _defaults(training.Options),
        "seed": 0,
    }
    known = [f"{s}.{k}" for s in SECTIONS for k in defaults[s]] + ["seed"]
    flat = training.workdir.flatten(defaults)
    for key, value in [*training.workdir.flatten(given).items(), *changes.items()]:
        where = (
            f"--config.{key}" if key in changes and value is changes[key] else f"{key} in {origin}"
        )
        if key not in known:
            raise ValueError(f"there is no {where}; {_nearest(key, known)}")
        flat[key] = _coerce(where, value, flat[key])
    if not 0 <= flat["seed"] < 2**32:
        raise ValueError(
            f"the seed is {flat['seed']}; it must be a whole number from 0 to 2^32 - 1."
        )
    sections = {s: {k: flat[f"{s}.{k}"] for k in defaults[s]} for s in SECTIONS}
    return ConfigDict({**sections, "seed": flat["seed"]}).lock()


def _nearest(key: str, known: list[str]) -> str:
    # A right name in a wrong section is the commonest slip.
    last = key.rsplit(".", 1)[-1]
    same = [k for k in known if k.rsplit(".", 1)[-1] == last]
    section = key.split(".")[0]
    inside = [k for k in known if k.startswith(f"{section}.")]
    close = same or [
        f"{section}.{k}"
        for k in difflib.get_close_matches(last, [k.split(".")[1] for k in inside], 1)
    ]
    close = close or ([] if inside else difflib.get_close_matches(key, known, 1))
    if close:
        return f"did you mean '{close[0]}'?"
    return f"there are {', '.join(inside or known)}."


def _defaults(options: type) -> dict[str, Any]:
    return dataclasses.asdict(options())


def _coerce(where: str, value: Any, default: Any) -> Any:
    """`value` as the type of `default`, from text or from a Python value."""
    wanted = type(default)
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    try:
        if wanted is bool:
            return {"true": True, "1": True, "false": False, "0": False}[str(value).lower()]
        if wanted is int and not isinstance(value, bool) and float(value) == int(float(value)):
            return (
                int(value)
                if isinstance(value, str) and value.lstrip("+-").isdigit()
                else int(float(value))
            )
        if wanted is float and not isinstance(value, bool):
            return float(value)
        if wanted is str and isinstance(value, str):
            return value
    except (ValueError, KeyError, TypeError, OverflowError):
        pass
    raise ValueError(f"{where} is {value!r}, but it must be {words[wanted]} (such as {default!r}).")


def open_data(config: ConfigDict, progress=lambda done, total: None) -> data.Source:
    """The data source that the config describes."""
    return data.open_source(data.DataOptions(**config.data), progress)


def make_run(config: ConfigDict, spec: DataSpec) -> Run:
    """The game that the config describes, for data of that spec."""
    model, options = _model(config)
    train_options = training.Options(**config.train)
    training.loop.check_options(train_options)
    return Run(config, spec, model.game(options, spec), train_options)


def _model(config: ConfigDict) -> tuple[ModuleType, Any]:
    """(module, its `Options`) of the model that the config names."""
    model = models.load(config.model.name)
    options = {key: value for key, value in config.model.items() if key != "name"}
    return model, model.Options(**options)


def reopen(workdir: str | Path) -> Run:
    """The run that a workdir holds; needs neither the config's file nor the data."""
    record = training.workdir.read(workdir)
    config, spec = record["config"], record["spec"]
    origin = f"{workdir}/{training.workdir.RECORD}"
    config = _complete(config, {}, config["model"]["name"], origin)
    shapes = {key: tuple(spec[key]) for key in ("shape", "condition") if spec.get(key) is not None}
    return make_run(config, DataSpec(**{**spec, **shapes}))


def restore(
    workdir: str | Path, step: int | None = None, *, best: bool = False, devices: int = 1
) -> tuple[Run, Engine, int, State]:
    """(run, engine, step, state) of a workdir's checkpoint.

    Args:
      workdir: of a training run.
      step: of the checkpoint; the latest if None.
      best: the one that scored best in training, instead.
      devices: how many the engine uses, 0 for all. One is enough for a batch of a hundred samples.
    """
    run = reopen(workdir)
    engine = training.make_engine(run.game, training.Options(devices=devices), run.config.seed)
    folder = Path(workdir) / (training.loop.BEST if best else training.loop.CHECKPOINTS)
    restored = training.Checkpoints(folder).restore(engine.state_shape, step)
    if restored is None and best:
        raise FileNotFoundError(
            f"{workdir} keeps no best checkpoint, since it was not measured while training; train with"
            " --config.train.evaluate_every=N, or leave out --best."
        )
    if restored is None:
        raise FileNotFoundError(f"{workdir} has no checkpoint yet; train it first.")
    return run, engine, *restored
