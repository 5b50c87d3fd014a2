"""The number of the format of a run's files, which `config.json` and each checkpoint state.

    0   no number: the versions before there was one
    1   the record of the run is also in each checkpoint

A folder of an earlier format is read: `jaxgan.train.workdir.migrate` converts its config, and the state has the same
form in all of them. One of a later format is refused. A change of the form of the state, or of the record beyond what
`migrate` can tell by its content, raises `SCHEMA` and converts, or refuses, the earlier ones here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jaxgan

SCHEMA = 1
KEY, VERSION = "schema", "jaxgan"


class NewerSchema(OSError):
    """Files of a format that only a later version of jaxgan can read."""


def stamped(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with the number of this format and this version of jaxgan."""
    stamp = {KEY: SCHEMA, VERSION: jaxgan.__version__}
    return {**stamp, **{key: value for key, value in record.items() if key not in stamp}}


def is_later(record: Mapping[str, Any]) -> bool:
    """Whether a record is of a format that this version cannot read; without a number it is of format 0."""
    number = record.get(KEY, 0)
    return not (isinstance(number, int) and number <= SCHEMA)


def check(what: str, record: Mapping[str, Any], otherwise: str) -> None:
    """Raises `NewerSchema` if the record is of a later format.

    Args:
      what: names the file, at the beginning of the sentence.
      record: as of `stamped`.
      otherwise: what can be done with this version of jaxgan, at the end of the sentence.
    """
    if not is_later(record):
        return
    raise NewerSchema(
        f"{what} is of format {record[KEY]}, written by jaxgan {record.get(VERSION, '(unknown)')}, and this is jaxgan"
        f" {jaxgan.__version__}, which reads formats up to {SCHEMA}; install that version of jaxgan, or {otherwise}."
    )
