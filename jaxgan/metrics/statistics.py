"""A cache of the statistics of real examples, keyed by a hash of everything that they depend on.

The key is the SHA-256 of the facts as canonical JSON: the data's fingerprint, split and count, the
features with the checksum of their weights, resize, quantisation and `protocols.NUMBERS`. Different
facts give different files, so no entry is ever stale. The facts are stored with the statistics, for
inspection.
"""

import hashlib
import json
import os
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgan.metrics.moments import Moments
from jaxgan.metrics.summary import Needs, Summary, everywhere


def cached(
    folder: str | Path,
    facts: Mapping[str, Any],
    needs: Needs,
    make: Callable[[Needs], Summary],
) -> Summary:
    """Returns the summary of `make(needs)`, from `folder` if it is cached there under the same facts.

    Args:
      folder: the cache folder, created if needed. If it cannot be written, a warning is issued and nothing is
        cached.
      facts: everything that the statistics depend on, as JSON values.
      needs: the statistics that the caller needs. Other cached statistics under the same facts are kept.
      make: computes a summary if any statistic is missing; its argument is the union of `needs` and the
        cached ones.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     summary = Summary(1, np.dtype(np.uint8), {}, {"features": np.ones((1, 2), np.float32)})
    ...     needs = Needs(arrays=frozenset(["features"]))
    ...     made = [cached(folder, {"of": "a"}, needs, lambda _: summary) for _ in range(2)]
    >>> made[0] is summary, made[1] is summary, (made[1].arrays["features"] == 1).all()
    (True, False, np.True_)
    """
    path = Path(folder) / f"{key(facts)}.npz"
    there = _load(path)
    has = Needs()
    if there is not None:
        has = Needs(frozenset(there.moments), frozenset(there.arrays))
    # `make` is a collective operation, so the cache is used only if every process has all statistics.
    known = needs.moments <= has.moments and needs.arrays <= has.arrays
    if everywhere(there is not None and known):
        assert there is not None
        return there
    if jax.process_count() == 1:
        needs = needs.union(has)
    summary = make(needs)
    try:
        _save(path, facts, summary)
    except OSError as error:
        warnings.warn(
            f"the statistics of the real examples cannot be cached in {folder} ({error.strerror or error}); they"
            " will be computed again next time",
            stacklevel=2,
        )
    return summary


def key(facts: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of the facts.

    >>> key({"a": 1, "b": [2.0]}) == key({"b": [2.0], "a": 1}) != key({"a": 1, "b": [2.5]})
    True
    """
    text = json.dumps(dict(facts), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _save(path: Path, facts: Mapping[str, Any], summary: Summary) -> None:
    entries: dict[str, Any] = {
        "facts": np.array(json.dumps(dict(facts), sort_keys=True)),
        "count": np.array(summary.count),
        "dtype": np.array(summary.dtype.str),
    }
    for name, moments in summary.moments.items():
        entries[f"moments/{name}/mean"] = moments.mean
        entries[f"moments/{name}/scatter"] = moments.scatter
    for name, array in summary.arrays.items():
        entries[f"arrays/{name}"] = array
    if summary.labels is not None:
        entries["labels"] = summary.labels
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **entries)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _load(path: Path) -> Summary | None:
    if not path.exists():
        return None
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            count, moments, arrays = int(file["count"]), {}, {}
            for entry in file.files:
                kind, _, name = entry.partition("/")
                if kind == "arrays":
                    arrays[name] = file[entry]
                elif kind == "moments" and name.endswith("/mean"):
                    name = name.removesuffix("/mean")
                    scatter = file[f"moments/{name}/scatter"]
                    moments[name] = Moments(count, file[entry], scatter)
            labels = file["labels"] if "labels" in file.files else None
            return Summary(count, np.dtype(str(file["dtype"])), moments, arrays, labels)
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        warnings.warn(
            f"the cached statistics {path} cannot be read ({error}); they are computed again",
            stacklevel=3,
        )
        return None
