"""The record of a run in its folder, `config.json`: it is compared with the config whenever the run continues."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import errno
import importlib.metadata
import json
import os
import platform
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from jax.experimental import multihost_utils

from jaxgan import data
from jaxgan.data.lock import LOCK, hold
from jaxgan.options import PLACES, OptionError, declared, flatten
from jaxgan.spec import Field, Spec
from jaxgan.train import guard, schema
from jaxgan.train.checkpoint import Checkpoints
from jaxgan.train.report import replace_atomically

RECORD = "config.json"
CHECKPOINTS = "checkpoints"

# Options of train that may change when a run continues: how long to train, what to write, and what follows from
# divergence. All others are fixed.
FREE = (
    "steps",
    "log_every",
    "sample_every",
    "checkpoint_every",
    "keep",
    "keep_every",
    "grid",
    "devices",
    "fsdp",
    "data_on_device",
    "data_workers",
    "evaluate_every",
    "protocol",
    "evaluate_of",
    "evaluate_num",
    "weights",
    *(f"guard.{field.name}" for field in dataclasses.fields(guard.Options)),
)

# Of the record: the identity of the data, and their description.
FINGERPRINT, SUMMARY = "data_fingerprint", "data"
# Of the record: the versions and the devices of its last start.
ENVIRONMENT = "environment"


def lock(workdir: str | Path) -> contextlib.AbstractContextManager[None]:
    """While entered, no other process can train in `workdir`, which is created if missing; see `jaxgan.data.lock`.

    Raises:
      InUse: another process holds the lock.
    """
    # The processes of one run on several hosts share the folder.
    name = LOCK if jax.process_count() == 1 else f"{LOCK}-{jax.process_index()}"
    return hold(workdir, "trains in it", "choose another workdir", name)


# What a device without room, or one that was mounted read-only, answers.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


@contextlib.contextmanager
def writing(workdir: str | Path) -> Iterator[None]:
    """Makes one sentence of an error of the system in writing to `workdir`, whoever raised it."""
    try:
        yield
    except OSError as error:
        named = error.filename if isinstance(error.filename, str) else workdir
        inside = Path(os.path.abspath(named)).is_relative_to(os.path.abspath(workdir))
        if error.errno not in (*NO_ROOM, *READ_ONLY) or not inside:
            raise
        steps = Checkpoints(Path(workdir) / CHECKPOINTS).steps()
        goes_on = f"which continues from step {steps[-1]:,}" if steps else "which starts anew"
        way = "make room there" if error.errno in NO_ROOM else "make it writable"
        raise OSError(
            f"cannot write to the workdir {workdir} ({error.strerror}); {way}, and run the same again, {goes_on}."
        ) from error


def of_data(source: data.Source) -> dict[str, str]:
    """The part of a record that states the data: their identity, and a line for a person."""
    return {FINGERPRINT: source.identity, SUMMARY: source.summary}


def of_process() -> dict[str, dict[str, str]]:
    """The part of a record that states what the run is trained with, for a person."""
    devices = jax.devices()
    libraries = ("jax", "jaxlib", "flax", "optax")
    return {
        ENVIRONMENT: {
            "Python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in libraries},
            "devices": f"{len(devices)} x {devices[0].device_kind}",
        }
    }


def claim(workdir: str | Path, record: dict, defaults: dict | None = None) -> None:
    """Makes `workdir` the folder of the run that `record` describes: {"config": {section: {key: value}}, ...}.

    A run of an earlier version lacks the options that are new since. They are at their `defaults`, {section: {key:
    value}}, with which a new option changes nothing.

    If the record in the folder and this one both state a fingerprint of the data (`of_data`), the data must be the
    same, wherever they are stored. Otherwise the config must name the same place, and the numbers of examples and
    classes must agree.

    Raises:
      ValueError: it holds a run of another config, or of other data.
      InUse: another process trains in it.
      OSError: it cannot be written to.
    """
    workdir = Path(workdir)
    if workdir.is_file():
        raise FileExistsError(
            f"cannot write to the workdir {workdir} (it is a file); choose another workdir."
        )
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=workdir):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(
            f"cannot write to the workdir {workdir} ({reason}); choose another workdir."
        ) from None
    with lock(workdir):
        _claim(workdir, record, defaults or {})
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("claimed")  # all may read the record now


def check_config(workdir: str | Path, config: dict, defaults: dict | None = None) -> None:
    """Raises a ValueError if `workdir` holds a run of another config: `claim` without the data, whose place may differ.

    Args:
      workdir: the folder of a run, or one that does not exist.
      config: {section: {key: value}}, as in the record of a run.
      defaults: see `claim`.
    """
    if holds_run(workdir):
        there = _completed(read(workdir), defaults or {})
        _check_config(Path(workdir), there, {"config": config}, may_move=True)


def _claim(workdir: Path, record: dict, defaults: dict) -> None:
    if holds_run(workdir):
        there = _completed(read(workdir), defaults)
        _check_config(workdir, there, record, FINGERPRINT in there and FINGERPRINT in record)
        _check_data(workdir, there, record)
    if jax.process_index():
        return
    text = json.dumps(schema.stamped(record), indent=2)
    replace_atomically(workdir / RECORD, lambda path: path.write_text(text + os.linesep))


def _completed(record: dict, defaults: dict) -> dict:
    """The record of a run with the defaults of the options that it lacks, in sections of the same model or source."""
    config = dict(record["config"])
    for section, values in defaults.items():
        found = config.get(section)
        if isinstance(values, dict) and found and found.get("name") == values.get("name"):
            config[section] = {**values, **found}
    return {**record, "config": config}


def _check_config(workdir: Path, there: dict, here: dict, may_move: bool) -> None:
    """Raises unless a run of the config `here` can continue one of `there`; the place of the data may differ or not."""
    places = {f"data.{name}" for name in PLACES}
    free = {f"train.{name}" for name in FREE} | (places if may_move else set())
    one, other = flatten(there["config"]), flatten(here["config"])
    different = [
        key
        for key in sorted(one.keys() | other.keys())
        if one.get(key) != other.get(key) and key not in free
    ]
    # Of another model or data source, the name says enough: its options are others too.
    renamed = {"model.name", "data.name"} & set(different)
    for name in renamed:
        section = name.partition(".")[0]
        different = [key for key in different if key == name or key.partition(".")[0] != section]
    if not different:
        return
    moved = ""
    if places >= set(different):
        moved = (
            " (The run is of an earlier version and states no fingerprint of its data, so moved data cannot be told"
            " from others. Continue it once with the data in their former place, which adds one.)"
        )
    listed = [f"{key} is {one.get(key)!r} there and {other.get(key)!r} here" for key in different]
    problem = (
        f"{workdir} holds a run of another config ({'; '.join(listed[:5])}); choose another workdir"
    )
    if moved or renamed or len(different) > 5 or not one.keys() >= set(different):
        raise ValueError(f"{problem} or the same config.{moved}")
    former = {key: _tuples(one.get(key)) for key in different}
    raise OptionError(None, None, problem, former, lead=", or the same config")


def _tuples(value: Any) -> Any:
    """A value of a record as an option has it."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _check_data(workdir: Path, there: dict, here: dict) -> None:
    """Raises if the data of two records are known to differ."""
    if FINGERPRINT in there and FINGERPRINT in here:
        same = there[FINGERPRINT] == here[FINGERPRINT]
    else:
        same = _counts(there["spec"]) == _counts(here["spec"])
    if same:
        return
    place, now = (record["config"]["data"].get("path") for record in (there, here))
    was = there.get(SUMMARY, f"{there['spec']['size']:,} examples")
    what = here.get(SUMMARY, f"{here['spec']['size']:,} examples")
    raise OptionError(
        None,
        None,
        f"{workdir} holds a run on other data ({was}) than these ({what}), and a run continues only on the data that"
        f" it began with; choose another workdir, or {'give' if place != now else 'restore'} the former data",
        *([{"data.path": place}] if place and place != now else []),
    )


def _counts(spec: dict) -> tuple:
    """What the spec says of the data: the number of examples, and of classes or attributes."""
    return spec["size"], {name: field["number"] for name, field in spec["fields"].items()}


def holds_run(workdir: str | Path) -> bool:
    """Whether there is a record in the folder, or in one of its checkpoints."""
    return (Path(workdir) / RECORD).exists() or _of_checkpoints(workdir) is not None


def read(workdir: str | Path) -> dict:
    """The record of a run: of its folder, or, if that is missing or damaged, of its latest checkpoint that has one.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it is damaged, and no checkpoint has one.
      NewerSchema: a later version of jaxgan wrote it.
    """
    path = Path(workdir) / RECORD
    try:
        record = _parsed(path)
    except (FileNotFoundError, ValueError) as error:
        kept = _of_checkpoints(workdir)
        if kept is None:
            raise error from None
        there = "damaged" if path.exists() else "missing"
        warnings.warn(
            f"{path} is {there}; the copy in its latest checkpoint is used.", stacklevel=2
        )
        record = kept
    schema.check(str(path), record, "choose another workdir")
    return {
        **record,
        "config": migrate(record["config"]),
        "spec": migrate_spec(record["spec"]),
    }


def recorded(workdir: str | Path) -> dict:
    """What the folder's record states, for its checkpoints; empty if there is none (training without a config)."""
    path = Path(workdir) / RECORD
    return _parsed(path) if path.exists() else {}


def _parsed(path: Path) -> dict:
    """The record in a file, as it was written."""
    if not path.exists():
        raise FileNotFoundError(
            f"{path.parent} holds no run (there is no {RECORD} in it); give the workdir of a training run."
        )
    try:
        record = json.loads(path.read_text())
    except ValueError as error:  # not JSON, or not even text
        line = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "it"
        raise ValueError(
            f"{path} is damaged ({line} is not valid JSON); restore it or train into another workdir."
        ) from None
    if not _is_record(record):
        raise ValueError(
            f"{path} is not the record of a run; restore it or train into another workdir."
        )
    return record


def _is_record(record: Any) -> bool:
    # What a later version writes may have other parts.
    later = isinstance(record, dict) and schema.is_later(record)
    return later or (isinstance(record, dict) and {"config", "spec"} <= record.keys())


def _of_checkpoints(workdir: str | Path) -> dict | None:
    """The record that the latest of the checkpoints holds; None if none holds one."""
    checkpoints = Checkpoints(Path(workdir) / CHECKPOINTS)
    for step in reversed(checkpoints.steps()):
        with contextlib.suppress(Exception):  # of a damaged checkpoint, anything
            record = checkpoints.record(step)
            if _is_record(record):
                return record
    return None


def migrate(config: dict) -> dict:
    """Converts a config that an earlier version may have written to the format of this version.

    Up to version 0.1.0 every config held the options of all data sources, and lists of numbers were text: "1,2,2", or
    "16,256:14" for values by resolution.
    """
    model, source = dict(config.get("model", {})), dict(config.get("data", {}))
    for name in ("batch_size", "learning_rate"):
        if isinstance(model.get(name), str):
            model[name] = _by_resolution(model[name])
    for name in ("channel_multiples", "attention_resolutions"):
        if isinstance(model.get(name), str):
            model[name] = [int(part) for part in model[name].split(",") if part.strip()]
    if source.get("name") in data.SOURCES:
        known = declared(data.options_of(source["name"]))
        source = {k: v for k, v in source.items() if k not in _SHARED or k in known}
    return {**config, "model": model, "data": source}


def migrate_spec(spec: dict) -> dict:
    """Converts a description of the data that an earlier version may have written to `Spec.to_dict`'s.

    Up to version 0.1.0 it held the shape of the examples, the number of classes, and the shape of a condition.
    """
    if "fields" in spec:
        return spec
    shape, condition = tuple(spec["shape"]), spec.get("condition")
    fields = {"image": Field("image" if len(shape) == 3 else "points", shape)}
    if spec.get("num_classes") is not None:
        fields["label"] = Field("label", number=spec["num_classes"])
    if condition is not None:
        fields["condition"] = Field("image", tuple(condition))
    return Spec(fields, spec["size"]).to_dict()


# Options of data that every config held, whatever its source.
_SHARED = (
    *("path", "resolution", "channels", "labels", "flip", "jitter", "strict", "direction"),
    *("modes", "layout", "std", "tfds_name", "max_side", "data_dir"),
)


def _by_resolution(text: str) -> Any:
    """Text such as "16,256:14" as [[4, 16], [256, 14]], since 4 pixels is the smallest size; "16" as 16."""
    pairs = [part.rpartition(":")[::2] for part in text.split(",")]
    table = [[int(start or 4), ast.literal_eval(value)] for start, value in pairs]
    return table[0][1] if len(table) == 1 and table[0][0] <= 4 else table
