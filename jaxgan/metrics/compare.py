"""Comparison of two results with the same protocol."""

from collections.abc import Mapping
from typing import Any, NamedTuple

# Entries of a protocol that may differ between comparable results: its name stands for the other entries.
FREE = ("jaxgan", "name")
# Defaults for entries that the protocols of older results lack.
UNSAID = {"of": "samples"}
# The entries that state the data in words, with its path, and by its contents (`Source.identity`).
DATA, FINGERPRINT = "data", "data_fingerprint"


class Comparison(NamedTuple):
    """One score of two results.

    Attributes:
      score: its name.
      a, b: its values.
      difference: b - a.
      better: "a" or "b"; empty if they are equal, if the score has no better direction, or if A does not state it, as
        results of earlier versions.
    """

    score: str
    a: float
    b: float
    difference: float
    better: str = ""


def compare(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Comparison]:
    """Compares the scores that two results have in common.

    Data are the same if their fingerprints agree, whatever their paths. Results of earlier versions state no
    fingerprint; then the descriptions of the data must agree.

    Args:
      a, b: results of `evaluate`, or the same read from JSON.

    Raises:
      ValueError: one of them is not a result, or the protocols differ; the message names the first
        differences. One score under two protocols is two different quantities.

    >>> one = {"fid": 3.0, "better": {"fid": "lower"}, "protocol": {"num_fake": 50_000}}
    >>> compare(one, one | {"fid": 2.5})
    [Comparison(score='fid', a=3.0, b=2.5, difference=-0.5, better='b')]
    """
    for name, result in (("A", a), ("B", b)):
        if not isinstance(result, Mapping) or not isinstance(result.get("protocol"), Mapping):
            raise ValueError(
                f"{name} is not a result of jaxgan evaluate: it has no protocol; evaluate again to get one"
            )
    different = differences(a["protocol"], b["protocol"])
    if different:
        raise ValueError(
            f"the protocols differ, so the scores cannot be compared: {'; '.join(different[:5])}"
            f"{'; ...' if len(different) > 5 else ''}. Evaluate both under one protocol."
        )
    shared = [name for name in scores(a) if name in b]
    if not shared:
        raise ValueError("A and B have no score in common; evaluate both under one protocol")
    return [
        _comparison(name, a[name], b[name], a.get("better", {}).get(name, "")) for name in shared
    ]


def _comparison(name: str, a: float, b: float, direction: str) -> Comparison:
    better = ""
    if direction and (a < b or a > b):  # neither, for equal numbers and NaN
        better = "a" if (a < b) == (direction == "lower") else "b"
    return Comparison(name, a, b, b - a, better)


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """The differences of two protocols for which results are not comparable, each as a clause; none if they agree.

    >>> differences({"data": "folder a", "data_fingerprint": "1f"}, {"data": "folder b", "data_fingerprint": "1f"})
    []
    """
    one, two = (UNSAID | _flat(protocol) for protocol in (a, b))
    free, found = {*FREE, FINGERPRINT}, []
    if FINGERPRINT in one and FINGERPRINT in two:
        free.add(DATA)
        if one[FINGERPRINT] != two[FINGERPRINT]:
            text = f"{DATA} is {one.get(DATA)!r} in A and other examples, {two.get(DATA)!r}, in B"
            found.append(text)
    return found + [
        f"{key} is {one.get(key)!r} in A and {two.get(key)!r} in B"
        for key in sorted(one.keys() | two.keys())
        if key not in free and one.get(key) != two.get(key)
    ]


def _flat(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """The protocol with "options.truncation" for an entry of a nested dictionary."""
    flat: dict[str, Any] = {}
    for key, value in protocol.items():
        nested = (
            {f"{key}.{name}": x for name, x in value.items()}
            if isinstance(value, Mapping)
            else {key: value}
        )
        flat |= nested
    return flat


def scores(result: Mapping[str, Any]) -> dict[str, float]:
    """The scores of a result, without its protocol, measurements and notes."""
    return {
        name: value
        for name, value in result.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
