"""Tools of a translator with styles: the players "generator" (picture, style), "mapping" (latent, domain) and
"style_encoder" (picture, domain).

    references      a sheet: sources in rows, references in columns
    domains         a picture in every domain, in several styles of latents
    interpolation   a film between styles of latents or of references
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import draws
from jaxgan.network import Network
from jaxgan.options import Option, OptionError
from jaxgan.spec import Field, Spec
from jaxgan.tools import Made, Tool, compiled
from jaxgan.tools.domains import more, stacked


def painted(networks: Mapping[str, Network], x: jax.Array, style: jax.Array) -> jax.Array:
    """Pictures in a style, in [-1, 1]."""
    return jnp.clip(networks["generator"](x, style), -1.0, 1.0)


def tools(latent_dim: int, spec: Spec) -> dict[str, Tool]:
    """The tools of a translator.

    Args:
      latent_dim: components of the latent.
      spec: of the data, with labels.
    """
    made, channels = StyleTools(latent_dim, spec.shape, spec["label"]), spec.shape[2]
    first = made.names[0]
    return {
        "references": Tool(
            made.references,
            "a sheet: each source (image, image2, ...) in a row, in the style of each reference in a column",
            {
                "domains": Option(
                    (),
                    f"domain of each reference, or one for all ({made.listed}); there is no default",
                    kind=tuple[int | str, ...],
                    empty=True,
                )
            },
            pictures=("image", "reference"),
            optional_pictures=(*more("image"), *more("reference")),
            channels=channels,
        ),
        "domains": Tool(
            made.domains,
            "the picture in every domain, a row for each, in several styles of latents",
            {"columns": Option(6, "styles of each domain", least=1)},
            pictures=("image",),
            channels=channels,
        ),
        "interpolation": Tool(
            made.interpolation,
            "a film of the picture in one domain, from style to style: of random latents, or of two or more references",
            {
                "domain": Option(first, f"the domain ({made.listed})", kind=int | str),
                "points": Option(4, "number of random latents, without references", least=2),
                "frames": Option(12, "frames from one style to the next", least=1),
            },
            pictures=("image",),
            optional_pictures=("reference", *more("reference")),
            channels=channels,
        ),
    }


@dataclasses.dataclass(frozen=True)
class StyleTools:
    """The functions of the tools.

    Attributes:
      latent_dim: components of the latent.
      shape: shape of the pictures.
      label: the field of the domains.
    """

    latent_dim: int
    shape: tuple[int, ...]
    label: Field

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the domains, or their numbers."""
        return self.label.names or tuple(map(str, range(self.label.number or 0)))

    @property
    def listed(self) -> str:
        return ", ".join(self.names[:10]) + ", ..." * (len(self.names) > 10)

    def references(self, play: Any, *, domains: tuple[int | str, ...], **pictures) -> Made:
        sources, given = self._both(pictures)
        if not domains or len(domains) not in (1, len(given)):
            raise OptionError(
                "domains",
                domains,
                f"each of the {len(given)} references needs its domain, one of {self.listed}",
                {"domains": (self.names[0],) * len(given)},
            )
        numbers = [self.number("domains", domain) for domain in domains]
        domain = np.resize(np.array(numbers, np.int32), len(given))
        style = compiled(_encoded, play.networks, given, domain)
        rows = len(sources)
        x, s = np.repeat(sources, len(given), axis=0), jnp.tile(style, (rows, 1))
        made = np.asarray(compiled(painted, play.networks, x, s)).reshape(
            rows, len(given), *self.shape
        )
        empty = np.ones((1, *self.shape), np.float32)
        head = np.concatenate([empty, given])[None]
        sheet = np.concatenate([head, np.concatenate([sources[:, None], made], axis=1)])
        return Made(
            sheet.reshape(-1, *self.shape),
            columns=len(given) + 1,
            arrays={"translations": made, "styles": np.asarray(style)},
        )

    def domains(self, play: Any, image: np.ndarray, *, columns: int) -> Made:
        sources, _ = self._both({"image": image})
        number = len(self.names)
        latent = np.asarray(draws.normal(play.rng("latent"), (columns, self.latent_dim)))
        domain = np.repeat(np.arange(number, dtype=np.int32), columns)
        style = compiled(_mapped, play.networks, np.tile(latent, (number, 1)), domain)
        x = np.repeat(sources, number * columns, axis=0)
        made = np.asarray(compiled(painted, play.networks, x, style))
        made = made.reshape(number, columns, *self.shape)
        beside = np.repeat(sources[:, None], number, axis=0)
        sheet = np.concatenate([beside, made], axis=1)
        return Made(
            sheet.reshape(-1, *self.shape),
            columns=columns + 1,
            arrays={"z": latent, "styles": np.asarray(style)},
        )

    def interpolation(
        self, play: Any, *, domain: int | str, points: int, frames: int, **pictures: np.ndarray
    ) -> Made:
        sources, given = self._both(pictures)
        number = self.number("domain", domain)
        if len(given) == 1:
            raise OptionError(
                None,
                None,
                "a film from style to style needs two references or more, or none for those of random latents",
                {"pictures.reference2": "FILE"},
            )
        num = len(given) or points
        domains = np.full(num, number, np.int32)
        if len(given):
            style = compiled(_encoded, play.networks, given, domains)
        else:
            latent = draws.normal(play.rng("latent"), (num, self.latent_dim))
            style = compiled(_mapped, play.networks, latent, domains)
        path = between(np.asarray(style), frames)
        x = np.repeat(sources, len(path), axis=0)
        made = np.asarray(compiled(painted, play.networks, x, path))
        return Made(made, film=True, arrays={"styles": path})

    def number(self, option: str, domain: int | str) -> int:
        """The number of a domain from its name or number.

        Raises:
          OptionError: there is no such domain.
        """
        if domain in self.names:
            return self.names.index(str(domain))
        if isinstance(domain, int) and 0 <= domain < len(self.names):
            return domain
        close = difflib.get_close_matches(str(domain), self.names, 1) or [self.names[0]]
        raise OptionError(
            option,
            domain,
            f"there is no such domain among {self.listed}",
            {option: close[0]},
        )

    def _both(self, pictures: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(the sources, the references), [N, H, W, C] each; the second may be empty."""
        for name, picture in pictures.items():
            if picture.shape != self.shape:
                (height, width, _), (own_height, own_width, _) = self.shape, picture.shape
                raise ValueError(
                    f"the picture '{name}' is {own_height}x{own_width}, but the networks were trained on"
                    f" {height}x{width}; resize it to that."
                )
        sides = [
            {name: x for name, x in pictures.items() if name.startswith(side)}
            for side in ("image", "reference")
        ]
        empty = np.zeros((0, *self.shape), np.float32)
        sources, references = (stacked(side) if side else empty for side in sides)
        return sources, references


def between(points: np.ndarray, frames: int) -> np.ndarray:
    """A path through points [N, D], straight from each to the next in `frames` steps: [(N - 1) frames + 1, D].

    >>> between(np.array([[0.0], [4.0], [0.0]], np.float32), 2)[:, 0].tolist()
    [0.0, 2.0, 4.0, 2.0, 0.0]
    """
    share = np.arange((len(points) - 1) * frames + 1, dtype=np.float32) / np.float32(frames)
    start = np.minimum(share.astype(int), len(points) - 2)
    share = (share - start)[:, None].astype(np.float32)
    return (1 - share) * points[start] + share * points[start + 1]


def _encoded(networks: Mapping[str, Network], x: jax.Array, domain: jax.Array) -> jax.Array:
    return networks["style_encoder"](x, domain)


def _mapped(networks: Mapping[str, Network], latent: jax.Array, domain: jax.Array) -> jax.Array:
    return networks["mapping"](latent, domain)
