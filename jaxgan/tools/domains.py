"""Translators between domains: what a target means, which data they need, and the sheet of every domain.

A domain is a label, or a set of attributes. A target is a number: of the label to translate to, or of the attribute to
change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.options import OptionError
from jaxgan.spec import Spec
from jaxgan.tools import Made, Tool

MOST_PICTURES = 8  # of a sheet


class Change(NamedTuple):
    """The domain after a change: the label `target`; or attributes of which `target` is inverted.

    Attributes:
      number: number of labels or attributes.
      attributes: whether domains are sets of attributes.
      exclusive: numbers of attributes that exclude each other: as a target, such an attribute is set, and the others of
        them are removed.

    >>> import jax.numpy as jnp
    >>> hair = jnp.array([[1, 0, 1], [1, 0, 1]])  # black, blond, young
    >>> Change(3, attributes=True, exclusive=(0, 1))(hair, jnp.array([1, 2])).tolist()
    [[0, 1, 1], [1, 0, 0]]
    """

    number: int
    attributes: bool = False
    exclusive: tuple[int, ...] = ()

    def __call__(self, domain: jax.Array, target: jax.Array) -> jax.Array:
        """Domains int32 [B], or [B, K] of attributes, after the changes `target`, int32 [B]."""
        if not self.attributes:
            return target
        chosen = jax.nn.one_hot(target, self.number, dtype=jnp.int32)
        exclusive = np.isin(np.arange(self.number), self.exclusive).astype(np.int32)[None]
        one_of_them = jnp.sum(chosen * exclusive, axis=1, keepdims=True)
        inverted = jnp.abs(domain - chosen)
        others = domain * (1 - exclusive) + chosen
        return jnp.where(one_of_them > 0, others, inverted)


def check_domains(model: str, spec: Spec, attributes: bool = True) -> None:
    """Raises unless the data has labels of at least two classes, or attributes if these are supported.

    Raises:
      OptionError: it has not.
    """
    fields = spec.fields
    if attributes and "attributes" in fields:
        spec.require(model, attributes="attributes")
        return
    ways: list[dict[str, Any]] = [{"data.name": "digits", "data.labels": True}]
    ways += [{"data.name": "attributes"}] if attributes else []
    if "label" not in fields or fields["label"].kind != "label":
        what = "labels or attributes" if attributes else "labels"
        raise OptionError(
            None,
            None,
            f"{model} translates between domains, which are the {what} of the data, and these have none",
            *ways,
            lead="; give a folder with one folder for each domain, or choose other data",
        )
    if spec["label"].number == 1:
        raise OptionError(
            None,
            None,
            f"{model} translates between domains, and the data has only one class",
            *ways,
            lead="; give a folder with one folder for each of two or more domains, or choose other data",
        )


# (play, pictures [N, H, W, C]) -> [N, K, H, W, C]
EveryDomain = Callable[[Any, np.ndarray], np.ndarray]


def tool(every_domain: EveryDomain, channels: int) -> Tool:
    """The tool "domains": a row for each picture, with the picture and its translation to every domain.

    Args:
      every_domain: translates pictures to every domain.
      channels: channels of the pictures.
    """

    def make(play: Any, **pictures: np.ndarray) -> Made:
        given = stacked(pictures)
        translated = every_domain(play, given)
        rows = np.concatenate([given[:, None], translated], axis=1)
        return Made(
            rows.reshape(-1, *rows.shape[2:]),
            columns=rows.shape[1],
            arrays={"translations": translated},
        )

    return Tool(
        make,
        "a row for each picture: the picture, and its translation to every domain, or with every attribute changed",
        pictures=("image",),
        optional_pictures=more("image"),
        channels=channels,
    )


def more(name: str) -> tuple[str, ...]:
    """The names of further pictures of one kind.

    >>> more("image")[:2]
    ('image2', 'image3')
    """
    return tuple(f"{name}{i}" for i in range(2, MOST_PICTURES + 1))


def stacked(pictures: dict[str, np.ndarray]) -> np.ndarray:
    """Pictures of one shape in one array, in the order of their names.

    Raises:
      ValueError: their shapes differ.
    """
    names = sorted(pictures, key=lambda name: int("".join(filter(str.isdigit, name)) or 1))
    first, *others = names
    for name in others:
        if pictures[name].shape != pictures[first].shape:
            (height, width, _), (own_height, own_width, _) = (
                pictures[n].shape for n in (first, name)
            )
            raise ValueError(
                f"the picture '{name}' is {own_height}x{own_width}, but '{first}' is {height}x{width}, and the pictures"
                f" of one sheet have one size; resize '{name}' to {height}x{width}."
            )
    return np.stack([pictures[name] for name in names])
