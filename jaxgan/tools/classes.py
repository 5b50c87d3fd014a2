"""Tools of class-conditional generators with a latent and an embedding of the label.

The player "generator" is a module with `embed` (label int32 [N] -> [N, E]) and `paint` (latent [N, L], embedding
[N, E] -> pictures [N, H, W, C]); the embedding may be any point between those of labels.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.network import Network
from jaxgan.options import Option, OptionError
from jaxgan.sampling import TRUNCATION, truncated_normal
from jaxgan.tools import Made, Tool
from jaxgan.tools.latents import in_batches

MOST_ROWS = 10  # classes of a sheet, unless they are given


def tools(latent_dim: int, num_classes: int, names: tuple[str, ...] = ()) -> dict[str, Tool]:
    """The tools "classes" and, if there are at least two classes, "between_classes".

    Args:
      latent_dim: components of the latent.
      num_classes: number of classes.
      names: of the classes, for help texts; may be empty.
    """
    named = [f"{i} {name}" for i, name in enumerate(names) if name != str(i)][:MOST_ROWS]
    listed = f" ({', '.join(named)}{', ...' * (len(names) > MOST_ROWS)})" if named else ""
    last = num_classes - 1
    sheet = {
        "classes": Tool(
            partial(_sheet, latent_dim, num_classes),
            "a sheet with a class in each row",
            {
                "classes": Option(
                    (),
                    f"the classes{listed}; if empty, up to {MOST_ROWS} spread over all",
                    kind=tuple[int, ...],
                    least=0,
                    most=last,
                    empty=True,
                ),
                "columns": Option(8, "samples of each class", least=1),
                "same_latents": Option(False, "use the same latents in each row"),
                "truncation": TRUNCATION,
            },
        ),
    }
    if num_classes < 2:
        return sheet
    walk = {
        "between_classes": Tool(
            partial(_between, latent_dim, num_classes),
            "a walk from one class to another in each row, with a constant latent",
            {
                "start": Option(0, f"class of the first column{listed}", least=0, most=last),
                "end": Option(last, "class of the last column", least=0, most=last),
                "rows": Option(4, "latents", least=1),
                "columns": Option(8, "equal steps between the embeddings", least=2),
                "truncation": TRUNCATION,
            },
        ),
    }
    return sheet | walk


@jax.jit
def _paint(generator: Network, latent: jax.Array, embedding: jax.Array) -> jax.Array:
    return jnp.clip(generator(latent, embedding, method="paint"), -1.0, 1.0)


def _embeddings(generator: Network, labels: np.ndarray) -> np.ndarray:
    return np.asarray(generator(jnp.asarray(labels, jnp.int32), method="embed"))


def _sheet(
    latent_dim: int, num_classes: int, play, classes, columns, same_latents, truncation
) -> Made:
    generator = play.networks["generator"]
    if not classes:
        classes = np.linspace(0, num_classes - 1, min(num_classes, MOST_ROWS)).astype(int).tolist()
    rows = len(classes)
    drawn = truncated_normal(
        play.key, columns if same_latents else rows * columns, latent_dim, truncation
    )
    latent = jnp.tile(drawn, (rows, 1)) if same_latents else drawn
    labels = np.repeat(np.asarray(classes, np.int32), columns)
    pictures = in_batches(partial(_paint, generator), latent, _embeddings(generator, labels))
    return Made(pictures, columns=columns, arrays={"z": np.asarray(latent), "label": labels})


def _between(
    latent_dim: int, num_classes: int, play, start, end, rows, columns, truncation
) -> Made:
    if start == end:
        raise OptionError(
            "end",
            end,
            "a walk needs two different classes",
            {"end": (start + 1) % num_classes},
        )
    generator = play.networks["generator"]
    latent = np.repeat(truncated_normal(play.key, rows, latent_dim, truncation), columns, axis=0)
    first, last = _embeddings(generator, np.array([start, end]))
    share = np.tile(np.linspace(0, 1, columns, dtype=np.float32), rows)[:, None]
    embedding = (1 - share) * first + share * last
    pictures = in_batches(partial(_paint, generator), latent, embedding)
    return Made(pictures, columns=columns, arrays={"z": latent, "embedding": embedding})
