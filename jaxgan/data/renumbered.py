"""A source whose classes are numbered as those of another set."""

from collections.abc import Iterable

import numpy as np

from jaxgan.data.source import Batch, Source, digest
from jaxgan.spec import Field, Spec


class Renumbered(Source):
    """The examples of a source, with its labels numbered by the names of other classes.

    Args:
      source: has a label with names.
      label: has all of these names, in another order or among others.
    """

    def __init__(self, source: Source, label: Field):
        self._source = source
        self._numbers = np.array([label.names.index(name) for name in source.classes], np.int32)
        self.spec = Spec({**source.spec.fields, "label": label}, len(source))
        self.summary, self.broken = source.summary, source.broken
        self.in_memory = source.in_memory

    def fingerprint(self) -> str:
        return digest([self._source.fingerprint(), self._numbers])

    def contents(self) -> Iterable[np.ndarray | str]:
        return self._source.contents()

    def gather(self, indices: np.ndarray) -> Batch:
        batch = self._source.gather(indices)
        return {**batch, "label": self._numbers[batch["label"]]}
