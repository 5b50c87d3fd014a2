"""The classes of pictures: the labels of a dataset.json or of .cls files, or else the names of their folders."""

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from jaxgan.data.encoded import BadLabels, common_folder
from jaxgan.data.source import MOST_LABEL, Column, composed, label_column, listed
from jaxgan.data.splits import level_of_splits

log = logging.getLogger("jaxgan.data")

# The folders a picture lies in, and its file name.
Parts = tuple[str, ...]
# {name of a split: the paths of its pictures}; one split of the name "" if the set is not divided.
Splits = Mapping[str, Sequence[Parts]]
Files = Mapping[Parts, Callable[[], BinaryIO]]

# The file of labels, and the folders and names of pictures, as NVIDIA's dataset tool writes them.
TABLE = "dataset.json"
# The suffix of a file with the label of the picture beside it, as in WebDataset.
BESIDE = ".cls"
SHARD, NUMBERED = re.compile(r"\d{5}"), re.compile(r"img\d{8}\.\w+")


class Table(NamedTuple):
    """What a dataset.json states: its path, and {path of a picture: class}, or None if there are no classes."""

    path: str
    labels: dict[Parts, int] | None


def label_of(where: str, splits: Splits, chosen: Sequence[str], files: Files) -> Column | None:
    """The labels of the pictures of some splits, in the order of the splits; None if they have no classes.

    Classes are numbered over all splits, so a number means the same class in each of them.

    Args:
      where: name of the set in messages.
      splits: all splits of the set.
      chosen: names of some of them.
      files: {path: opens the file}, with all files of the set.

    Raises:
      BadLabels: a dataset.json states labels that are no classes, or not those of all pictures.
    """
    tables = {name: _table(where, paths, files) for name, paths in splits.items()}
    if any(tables[name] is not None for name in chosen):
        return _stated(where, splits, chosen, tables)
    beside = {name: _beside(where, paths, files) for name, paths in splits.items()}
    if any(beside[name] for name in chosen):
        return _stated(where, splits, chosen, beside)
    level = level_of_splits([parts for paths in splits.values() for parts in paths])
    without = {name: paths for name, paths in splits.items() if not tables[name]}
    return _named(where, without, chosen, 0 if level is None else level + 1)


def _stated(
    where: str, splits: Splits, chosen: Sequence[str], tables: Mapping[str, Table | None]
) -> Column | None:
    """The labels that the tables state for the pictures of the chosen splits."""
    labels: list[int] = []
    for name in chosen:
        table = tables[name]
        if table is None or table.labels is None:
            return None
        missing = [parts for parts in splits[name] if parts not in table.labels]
        if missing:
            raise BadLabels(
                f"{where}: {listed(['/'.join(parts) for parts in missing])}"
                f" {'has' if len(missing) == 1 else 'have'} no label in {table.path}; add these labels"
            )
        labels += [table.labels[parts] for parts in splits[name]]
    every = [table.labels for table in tables.values() if table is not None and table.labels]
    return label_column(np.array(labels), 1 + max(max(of.values()) for of in every))


def _beside(where: str, paths: Sequence[Parts], files: Files) -> Table | None:
    """The labels in .cls files beside the pictures, which are named as these up to a dot; None if there are none."""
    labels: dict[Parts, int] = {}
    for parts in paths:
        *folder, name = parts
        stems = (name.rpartition(".")[0], name.partition(".")[0])
        opened = next((files[key] for s in stems if (key := (*folder, s + BESIDE)) in files), None)
        if opened is not None:
            labels[parts] = _of_text(where, "/".join(parts), opened)
    return Table(f"a file {BESIDE} beside it", labels) if labels else None


def _of_text(where: str, name: str, opened: Callable[[], BinaryIO]) -> int:
    """The label in the .cls file of a picture."""
    with opened() as file:
        text = file.read(100).decode("utf-8", "replace").strip()
    try:
        label: Any = int(text)
    except ValueError:
        label = text
    return _class(where, f"its {BESIDE} file", name, label)


def _table(where: str, paths: Sequence[Parts], files: Files) -> Table | None:
    """The dataset.json in a folder that holds all of these pictures, in the innermost one that has it."""
    common = common_folder(paths)
    for depth in range(len(common), -1, -1):
        folder = common[:depth]
        if (*folder, TABLE) in files:
            return _read(where, folder, files[*folder, TABLE])
    return None


def _read(where: str, folder: Parts, opened: Callable[[], BinaryIO]) -> Table | None:
    """The table of a dataset.json; None if it states nothing about labels, as files of other programs."""
    path = "/".join((*folder, TABLE))
    try:
        with opened() as file:
            stated = json.loads(file.read().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BadLabels(
            f"{where}: {path} is not valid JSON ({error}), so the labels are not known; copy the file again"
        ) from error
    if not isinstance(stated, dict) or "labels" not in stated:
        return None
    if stated["labels"] is None:
        return Table(path, None)
    rows = stated["labels"]
    if not isinstance(rows, list) or not all(map(_is_row, rows)):
        raise BadLabels(
            f'{where}: the labels of {path} are no list of names and labels, such as [["00000/img00000000.png", 3]];'
            " correct these"
        )
    labels: dict[Parts, int] = {}
    for name, label in rows:
        key = (*folder, *composed(name).replace("\\", "/").split("/"))
        if labels.setdefault(key, _class(where, path, name, label)) != label:
            raise BadLabels(
                f"{where}: {path} states two labels for {name}, {labels[key]} and {label}; remove one of these labels"
            )
    return Table(path, labels)


def _is_row(row: Any) -> bool:
    return isinstance(row, list) and len(row) == 2 and isinstance(row[0], str)


def _class(where: str, path: str, name: str, label: Any) -> int:
    """The label of a picture, if it is the number of a class."""
    if isinstance(label, int) and not isinstance(label, bool) and 0 <= label <= MOST_LABEL:
        return label
    what = f"a vector of {len(label)} numbers" if isinstance(label, list) else json.dumps(label)
    most = f" to {MOST_LABEL}" if isinstance(label, int) and label > MOST_LABEL else ""
    raise BadLabels(
        f"{where}: the label of {name} in {path} is {what}, but a class is a whole number from 0{most}: correct the"
        " labels"
    )


def _named(where: str, splits: Splits, chosen: Sequence[str], start: int) -> Column | None:
    """The labels by names of folders, from position `start` of the paths on; None unless the chosen splits consist of
    such folders, and there are several."""
    levels = {name: level for name, level in _levels(splits, start).items() if level is not None}
    if not levels.keys() >= set(chosen):
        return None
    folders = {name: [parts[levels[name]] for parts in splits[name]] for name in levels}
    names = sorted(set().union(*folders.values()))
    if len(names) < 2:
        return None
    labels = [name for split in chosen for name in folders[split]]
    if absent := sorted(set(names) - set(labels)):
        text = "%s: %s has no pictures of classes that other splits have: %s"
        log.warning(text, where, ", ".join(chosen), listed(absent))
    index = {name: i for i, name in enumerate(names)}
    return label_column(np.array([index[name] for name in labels]), names=tuple(names))


def _levels(splits: Splits, start: int) -> dict[str, int | None]:
    """{split: the position of the class in the paths of its pictures, from `start` on, or None}.

    It is that of the first folders below which there are several, but not deeper than a folder that is a class of
    another split: a split may have only one of the classes.
    """
    first = {name: _first_of_several(paths, start) for name, paths in splits.items()}
    names = {
        parts[level]
        for name, level in first.items()
        if level is not None and not _are_shards(splits[name], level)
        for parts in splits[name]
    }
    found: dict[str, int | None] = {}
    for name, paths in splits.items():
        end = min(map(len, paths)) - 1
        stop = end - 1 if first[name] is None else first[name]
        assert stop is not None, "as above"
        known = [k for k in range(start, stop + 1) if names & {parts[k] for parts in paths}]
        found[name] = known[0] if known else None
    return found


def _first_of_several(paths: Sequence[Parts], start: int) -> int | None:
    """The first position from `start` on at which the paths have several folders; None if there is none."""
    for level in range(start, min(map(len, paths)) - 1):
        if len({parts[level] for parts in paths}) > 1:
            return level
    return None


def _are_shards(paths: Sequence[Parts], level: int) -> bool:
    """Whether the folders at a position are parts of one set as NVIDIA's dataset tool writes them."""
    return all(
        len(parts) == level + 2 and SHARD.fullmatch(parts[level]) and NUMBERED.fullmatch(parts[-1])
        for parts in paths
    )
