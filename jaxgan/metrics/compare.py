"""Two results side by side, if they may be."""

from collections.abc import Mapping
from typing import Any, NamedTuple

# What a protocol says without fixing any number.
FREE = ("jaxgan",)
# What results meant that were made before they said so.
UNSAID = {"of": "samples"}


class Comparison(NamedTuple):
    """One score of two results: `difference` is b - a."""

    score: str
    a: float
    b: float
    difference: float


def compare(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Comparison]:
    """The scores that two results share, side by side.

    Args:
      a, b: what `evaluate` returned, or the same read from JSON.

    Raises:
      ValueError: one is no result, or their protocols differ; it names the first differences. The
        same score under two protocols is two different quantities.

    >>> one = {"fid": 3.0, "protocol": {"num_fake": 50_000}}
    >>> compare(one, one | {"fid": 2.5})
    [Comparison(score='fid', a=3.0, b=2.5, difference=-0.5)]
    """
    for name, result in (("A", a), ("B", b)):
        if not isinstance(result, Mapping) or not isinstance(result.get("protocol"), Mapping):
            raise ValueError(
                f"{name} is no result of jaxgan evaluate: it states no protocol; evaluate again to get one"
            )
    one, two = UNSAID | dict(a["protocol"]), UNSAID | dict(b["protocol"])
    different = [
        f"{key} is {one.get(key)!r} in A and {two.get(key)!r} in B"
        for key in sorted(one.keys() | two.keys())
        if key not in FREE and one.get(key) != two.get(key)
    ]
    if different:
        raise ValueError(
            f"the protocols differ, so the scores cannot be compared: {'; '.join(different[:5])}"
            f"{'; ...' if len(different) > 5 else ''}. Evaluate both under one protocol."
        )
    shared = [name for name in scores(a) if name in b]
    if not shared:
        raise ValueError("A and B have no score in common; evaluate both under one protocol")
    return [Comparison(name, a[name], b[name], b[name] - a[name]) for name in shared]


def scores(result: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a result, without what is said about them."""
    return {
        name: value
        for name, value in result.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
