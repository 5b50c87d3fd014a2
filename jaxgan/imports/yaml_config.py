"""Reads the config that a program keeps beside its checkpoints, a YAML file, as values by name."""

from __future__ import annotations

from typing import Any

import yaml

SUFFIXES = (".yaml", ".yml")
_MOST = 10_000  # values; an alias may contain a mapping many times, or inside itself


def settings(data: bytes, where: str) -> dict[str, Any]:
    """{"model.params.n_embed": 1024, ...}: names of nested mappings are joined by dots, lists stay values.

    Raises:
      ValueError: it is no YAML mapping of plain values; the message names `where`.

    >>> settings(b"model: {target: Net, sizes: [1, 2]}", "config.yaml")
    {'model.target': 'Net', 'model.sizes': [1, 2]}
    """
    try:
        tree = yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeError, ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{where} cannot be read: it is no YAML file ({reason})") from error
    if not isinstance(tree, dict):
        raise ValueError(f"{where} holds no settings; give the config of the run.")
    found: dict[str, Any] = {}
    below: list[tuple[str, Any]] = [("", tree)]
    for _ in range(_MOST):
        if not below:
            return found
        path, node = below.pop()
        if isinstance(node, dict):
            inside = [(f"{path}.{key}" if path else str(key), value) for key, value in node.items()]
            below += reversed(inside)
        else:
            found[path] = node
    raise ValueError(f"{where} holds more than {_MOST:,} settings; give the config of the run.")
