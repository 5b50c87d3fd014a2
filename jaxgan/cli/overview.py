"""The parameters of a network by layer or block, in a table of at most `MOST_ROWS` rows."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from clu import parameter_overview

MOST_ROWS = 25

# Nested dictionaries, lists and tuples of arrays, or of anything else that has a shape.
Tree = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class _Row:
    """A row of the table; clu takes the names of its columns from the fields."""

    layer: str
    shape: str
    parameters: str
    share: str


def parameter_table(params: Tree) -> str:
    """The table of the parameters of a network. It needs shapes only, so nothing is allocated.

    A layer holds arrays only; its shape is that of its largest array. A block holds layers; it is divided into them if
    all blocks can be divided without too many rows, or if it holds most of the parameters.
    """
    params = _named(params)
    total, groups = _count(params), _divided({"": params}, [""])
    while blocks := [name for name, tree in groups.items() if not _is_layer(tree)]:
        largest = max(blocks, key=lambda name: _count(groups[name]))
        if len(parts := _divided(groups, blocks)) <= MOST_ROWS:
            groups = parts
        elif _count(groups[largest]) > total / 2:
            groups = _divided(groups, [largest])
        else:
            break
    names = sorted(groups, key=lambda name: _count(groups[name]), reverse=True)
    others = set(names[MOST_ROWS - 1 :] if len(names) > MOST_ROWS else ())
    rows = [_row(name, tree, total) for name, tree in groups.items() if name not in others]
    if others:
        merged = {name: groups[name] for name in others}
        rows.append(_row(f"{len(others)} smaller ones", merged, total))
    return parameter_overview.make_table(rows)


def _named(tree: Any) -> Any:
    """The tree with mappings in place of lists and tuples, which hold the heads of LPIPS."""
    if isinstance(tree, list | tuple):
        tree = {str(i): part for i, part in enumerate(tree)}
    if not isinstance(tree, Mapping):
        return tree
    return {name: _named(part) for name, part in tree.items()}


def _is_layer(tree: Any) -> bool:
    return not any(isinstance(part, Mapping) for part in _parts(tree).values())


def _parts(tree: Any) -> Tree:
    return tree if isinstance(tree, Mapping) else {"": tree}


def _divided(groups: Tree, names: list[str]) -> dict[str, Any]:
    """The groups with those of these names divided into their parts, block2 in front of block10."""
    divided: dict[str, Any] = {}
    for name, tree in groups.items():
        if name not in names:
            divided[name] = tree
            continue
        parts = sorted(tree, key=lambda part: [*map(_number, re.split(r"(\d+)", part))])
        divided.update({f"{name}/{part}".lstrip("/"): tree[part] for part in parts})
    return divided


def _number(text: str) -> tuple[int, str]:
    return (int(text), "") if text.isdecimal() else (0, text)


def _row(name: str, tree: Any, total: int) -> _Row:
    arrays = parameter_overview.flatten_dict(dict(_parts(tree))).values()
    largest = max(arrays, key=lambda x: (_count(x), len(x.shape)))
    shape = " x ".join(map(str, largest.shape)) or "scalar"
    return _Row(
        name,
        shape if _is_layer(tree) else f"{len(arrays)} arrays",
        f"{_count(tree):>13,}",
        f"{_count(tree) / total:6.1%}",
    )


def _count(tree: Any) -> int:
    return int(parameter_overview.count_parameters(dict(_parts(tree))))
