"""Configs: plain data that states the model, the data and how long to train.

A config is a Python file whose `get_config()` returns a dict of three sections and a seed. Each section overrides the
defaults of a class `Options`:

    def get_config():
        return {
            "model": {"name": "sngan", ...},   # jaxgan.models.<name>.Options
            "data": {"name": "digits", ...},   # jaxgan.data.<name>.Options
            "train": {"steps": 1000, ...},     # jaxgan.train.Options
            "seed": 0,
        }

Its docstring states paper, data, expected result, cost and command.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import importlib.util
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from jaxgan import data, models, options
from jaxgan import train as training
from jaxgan.engine import Engine
from jaxgan.game import Game, State
from jaxgan.metrics import protocols
from jaxgan.spec import Spec

SECTIONS = ("model", "data", "train")
# {section of a module: (the names of all such modules, the options of one by name)}
_MODULES: dict[str, tuple[Callable[[], Iterable[str]], Callable[[str], Any]]] = {
    "model": (models.names, lambda name: models.load(name).Options),
    "data": (lambda: data.SOURCES, data.options_of),
}
DEFAULT = "sngan_digits"  # the config that is trained if none is named


@dataclasses.dataclass(frozen=True)
class Config:
    """A complete config.

    Attributes:
      model: the `Options` of a module of `jaxgan.models`.
      data: the `Options` of a module of `jaxgan.data`.
      train: how long to train, and what to write.
      seed: of parameters, latents and the order of the data.
    """

    model: Any
    data: data.DataOptions
    train: training.Options
    seed: int = options.option(
        0, "seed of parameters, latents and the order of the data", least=0, most=2**32 - 1
    )

    @property
    def model_name(self) -> str:
        """The module of the model."""
        return _name(self.model)

    @property
    def data_name(self) -> str:
        """The module of the data source."""
        return _name(self.data)

    def to_dict(self) -> dict:
        """{"model": {"name": ..., option: value}, "data": ..., "train": ..., "seed": ...}, which JSON can hold."""
        sections = options.to_dict(self)
        for section, name in (("model", self.model_name), ("data", self.data_name)):
            sections[section] = {"name": name, **sections[section]}
        return sections

    @property
    def defaults(self) -> dict:
        """`to_dict` with the default of every option."""
        return Config(type(self.model)(), type(self.data)(), training.Options()).to_dict()


def _name(of: Any) -> str:
    return type(of).__module__.rpartition(".")[2]


@dataclasses.dataclass
class Run:
    """A config, and the game that it describes."""

    config: Config
    spec: Spec
    game: Game

    @property
    def train_options(self) -> training.Options:
        """How long to train, and what to write."""
        return self.config.train

    @property
    def record(self) -> dict:
        """The record of the run that is kept in its workdir, without the identity of its data."""
        return {"config": self.config.to_dict(), "spec": self.spec.to_dict()}

    def claim(self, workdir: str | Path, source: data.Source) -> None:
        """Makes `workdir` the folder of this run on `source`; see `jaxgan.train.workdir.claim`."""
        parts = training.workdir.of_data(source), training.workdir.of_process()
        record = {**self.record, **parts[0], **parts[1]}
        training.workdir.claim(workdir, record, self.config.defaults)

    def train(
        self,
        source: data.Source,
        workdir: str | Path,
        log: Callable[[str], None] = print,
        evaluator: training.Evaluator | None = None,
        loggers: Iterable[training.loggers.Logger] = (),
    ) -> training.Result:
        """Trains in `workdir`, which must be new or hold this run; see `jaxgan.train.train`.

        `evaluator` is the result of `self.evaluator(source)`, if that was called before.
        `loggers` are some of one's own.
        """
        self.check_data(source)
        self.prepare(workdir)
        self.claim(workdir, source)
        if evaluator is None and self.train_options.evaluate_every:
            evaluator = self.evaluator(source)
        return training.train(
            self.game,
            source,
            workdir,
            self.train_options,
            seed=self.config.seed,
            log=log,
            evaluator=evaluator,
            loggers=loggers,
            **self.augmentation,
        )

    @property
    def augmentation(self) -> dict[str, Any]:
        """The arguments `flip` and `jitter` of `jaxgan.data.Pipeline`; empty for data without pictures."""
        names = ("flip", "jitter")
        return {
            name: getattr(self.config.data, name)
            for name in names
            if hasattr(self.config.data, name)
        }

    def check_data(self, source: data.Source) -> None:
        """Raises if the data do not support an option; before anything is written or compiled."""
        with options.section("data"):
            pipeline = data.Pipeline(source, self.config.seed, **self.augmentation)
        training.resident.check_choice(self.train_options.data_on_device, pipeline.jitter)
        training.guard.check(self.train_options.guard, self.game)
        for name in self.train_options.loggers:
            training.loggers.load(name)

    def prepare(self, workdir: str | Path) -> None:
        """Reads the pretrained weights that a new run needs, if the model has a function `prepare(options)`.

        A missing file thus raises a ValueError or an OSError before anything is written or compiled. A run that has a
        checkpoint in `workdir` needs no such files.
        """
        model = models.load(self.config.model_name)
        if not hasattr(model, "prepare"):
            return
        if not training.Checkpoints(Path(workdir) / training.loop.CHECKPOINTS).steps():
            with options.section("model"):
                model.prepare(self.config.model)

    @property
    def protocol(self) -> protocols.Protocol:
        """The protocol of evaluations during training."""
        train = self.train_options
        return training.evaluation.protocol_of(self.game, train.protocol, train.evaluate_of)

    def evaluator(self, source: data.Source) -> training.Evaluator:
        """The evaluator for training on `source`, by the protocol of the options."""
        train, protocol = self.train_options, self.protocol
        if protocol.split != self.config.data.split:
            source = open_data(self.config, split=protocol.split)
        return training.make_evaluator(
            source,
            protocol,
            weights=train.weights or None,
            num=train.evaluate_num,
            fit=train.protocol in protocols.DEFAULTS,
            measured={"model": self.config.model_name},
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
            raise FileNotFoundError(f"there is no config file {path}.")
        return path
    if name_or_file not in names():
        close = difflib.get_close_matches(name_or_file, names(), 1)
        hint = f"did you mean '{close[0]}'?" if close else "see them with: jaxgan list."
        raise ValueError(
            f"there is no config '{name_or_file}'; {hint} (Give your own file by its path, which ends in .py.)"
        )
    return folder() / f"{name_or_file}.py"


def load(name_or_file: str, overrides: Iterable[str] = ()) -> Config:
    """The config of that name or file, with all defaults filled in.

    Args:
      name_or_file: a name from `names()`, or the path of a file.
      overrides: "section.key=value" (or "seed=value").

    >>> config = load("sngan_digits", ["train.steps=100"])
    >>> config.model_name, config.train.steps
    ('sngan', 100)
    """
    path = _path(name_or_file)
    spec = importlib.util.spec_from_file_location(f"_jaxgan_config_{path.stem}", path)
    assert spec is not None, "`_path` ends in .py, which Python can load"
    assert spec.loader is not None, "likewise"
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
    return complete(given, dict(map(_split, overrides)), str(path))


def _split(override: str) -> tuple[str, str]:
    key, equals, value = override.partition("=")
    if not equals:
        raise ValueError(f"{key} has no value; give {key}=VALUE.")
    return key, value


def complete(
    given: Mapping[str, Any], changes: Mapping[str, str], origin: str, fixed: Iterable[str] = ()
) -> Config:
    """The config of a file, with defaults for the options that it leaves out.

    If `changes` select another model or data source than the file, options that only the file's one has are dropped.

    Args:
      given: nested, as the file holds it.
      changes: {dotted name: value}, which take precedence.
      origin: the file, for messages.
      fixed: sections whose model or data source messages shall not advise to change, beside those that `changes` do.
    """
    sections: dict[str, Any] = {}
    flat, changes = options.flatten(given), dict(changes)
    fixed = {*fixed, *(section for section in _MODULES if f"{section}.name" in changes)}
    for section, default in (("model", ""), ("data", data.NAME.default)):
        find = _MODULES[section][1]
        own = flat.pop(f"{section}.name", default)
        chosen = changes.pop(f"{section}.name", own)
        with options.section("", origin if chosen is own else ""):
            cls = find(chosen)
        if chosen != own != "":
            only = options.declared(find(own)).keys() - options.declared(cls).keys()
            dropped = {(section, name) for name in only}
            flat = {k: v for k, v in flat.items() if tuple(k.split(".")[:2]) not in dropped}
        sections[section] = cls()
    config = Config(**sections, train=training.Options())
    try:
        with options.section("", origin):
            config = options.override(config, {k: v for k, v in flat.items() if k not in changes})
        return options.override(config, changes)
    except options.UnknownOption as error:
        raise _explained(error, config, fixed) from None


def _explained(
    error: options.UnknownOption, config: Config, fixed: Iterable[str]
) -> options.UnknownOption:
    """The error with the models or data sources that have the option; those of `fixed` sections are not to change."""
    error = error.changed(known=("model.name", "data.name", *error.known))
    section, _, name = error.option.partition(".")
    if section not in _MODULES:
        return error
    return error.changed(
        module={"model": config.model_name, "data": config.data_name}[section],
        owners=tuple(owner for owner in _MODULES[section][0]() if has_option(section, owner, name)),
        chooser="" if section in fixed else f"{section}.name",
    )


def has_option(section: str, module: str, name: str) -> bool:
    """Whether a model or data source has an option of that name, relative to the section.

    >>> has_option("data", "mixture2d", "modes"), has_option("data", "digits", "modes")
    (True, False)
    """
    return name in {row.name for row in options.describe(_MODULES[section][1](module)())}


def open_data(
    config: Config, progress: data.Progress = lambda done, total: None, **changes: Any
) -> data.Source:
    """The data source that the config describes, with `changes` of its options."""
    with options.section("data"):
        return data.open_source(config.data, progress, **changes)


def make_run(config: Config, spec: Spec) -> Run:
    """The game that the config describes, for data of that spec."""
    options.check(config)
    with options.section("model"):
        return Run(config, spec, models.load(config.model_name).game(config.model, spec))


def of_workdir(workdir: str | Path, overrides: Iterable[str] = ()) -> Config:
    """The config of the run that a workdir holds; `overrides` as of `load`, except of the names of model and source.

    Raises:
      OptionError: an override names another model or data source than the run's.
    """
    given, changes = training.workdir.read(workdir)["config"], dict(map(_split, overrides))
    for section, what in (("model", "model"), ("data", "data source")):
        key, own = f"{section}.name", given[section].get("name")
        if own is not None and changes.get(key, own) != own:
            raise options.OptionError(
                key,
                changes[key],
                f"the run in {workdir} is of {own}, and a run keeps its {what}; choose another workdir",
                {key: own},
                lead=f", or keep {own}",
            )
    return complete(given, changes, f"{workdir}/{training.workdir.RECORD}", fixed=_MODULES)


def reopen(workdir: str | Path) -> Run:
    """The run that a workdir holds; needs neither the config's file nor the data."""
    spec = training.workdir.read(workdir)["spec"]
    return make_run(of_workdir(workdir), Spec.from_dict(spec))


def restore(
    workdir: str | Path, step: int | None = None, *, best: bool = False, devices: int = 1
) -> tuple[Run, Engine, int, State]:
    """(run, engine, step, state) of a workdir's checkpoint.

    Args:
      workdir: of a training run.
      step: of the checkpoint; the latest if None.
      best: restore the checkpoint with the best score in training instead.
      devices: number of devices of the engine, 0 for all. One is enough for a batch of a hundred samples.
    """
    run = reopen(workdir)
    engine = training.make_engine(run.game, training.Options(devices=devices), run.config.seed)
    folder = Path(workdir) / (training.loop.BEST if best else training.loop.CHECKPOINTS)
    restored = training.Checkpoints(folder).restore(engine.state_shape, step)
    if restored is None and best:
        raise FileNotFoundError(
            f"{workdir} has no best checkpoint, since it was not evaluated during training (train.evaluate_every is 0);"
            " use the latest one."
        )
    if restored is None:
        command = f"jaxgan train --workdir {shlex.quote(str(workdir))}"
        raise FileNotFoundError(f"{workdir} has no checkpoint yet; train it first: {command}")
    return run, engine, *restored
