"""Tools of generators with a latent space: walks through it for any of them; for those with styles also truncation,
style mixing, and the search for a picture.

A *style* generator maps a latent z to a style w and gives one to each of its layers (StyleGAN and its successors).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan import weights
from jaxgan.nets.features import lpips
from jaxgan.options import Option, OptionError
from jaxgan.tools import Made, Tool

Networks = Mapping[str, Any]

BATCH = 8  # pictures at a time


class Space(NamedTuple):
    """A space to walk through.

    Attributes:
      embed: (networks, z [N, latent_dim], label int32 [N] or None) -> points [N, D].
      paint: (networks, points [N, D], label, **options) -> pictures [N, H, W, C].
      sphere: its points lie near a sphere, and so do those between them.
    """

    embed: Callable[..., jax.Array]
    paint: Callable[..., jax.Array]
    sphere: bool


class Styles(NamedTuple):
    """A style generator. Its noise maps are the collection "noise" of the player "generator".

    Attributes:
      latent_dim: of z.
      num_styles: layers that take a w.
      num_classes: None if it is unconditional.
      sample_shape: of a picture.
      map: (networks, z [N, latent_dim], label int32 [N] or None) -> w [N, D].
      paint: (networks, w [N, num_styles, D]) -> pictures [N, H, W, C], with the constant noise.
      mean: networks -> the mean of w, [D].
    """

    latent_dim: int
    num_styles: int
    num_classes: int | None
    sample_shape: tuple[int, ...]
    map: Callable[..., jax.Array]
    paint: Callable[..., jax.Array]
    mean: Callable[[Networks], jax.Array]


def truncate(w: jax.Array, mean: jax.Array, psi: float | jax.Array, layers: int) -> jax.Array:
    """mean + psi (w - mean) in the first so many layers: less varied pictures, and better ones, the smaller psi.

    Args:
      w: [N, num_styles, D].
      mean: of w, [D].
      psi: 1 changes nothing, 0 gives the mean picture; one number, or one for each of the N.
      layers: those from there on are left.

    Source: Karras et al., A Style-Based Generator Architecture for Generative Adversarial Networks (2019), Appendix B.
    """
    psi = jnp.broadcast_to(jnp.asarray(psi, w.dtype), w.shape[:1])[:, None, None]
    mean = mean[None, None]
    changed = (jnp.arange(w.shape[1]) < layers)[None, :, None]
    return jnp.where(changed, mean + psi * (w - mean), w)


def mix(one: jax.Array, other: jax.Array, layers: jax.Array) -> jax.Array:
    """Styles of `other` in the layers that are marked, and of `one` in all others.

    Args:
      one, other: w, [N, D].
      layers: boolean [N, num_styles].

    Returns:
      [N, num_styles, D].

    Source: as for `truncate`, Section 3.1.
    """
    return jnp.where(layers[:, :, None], other[:, None], one[:, None])


def walk(points: np.ndarray, frames: int, loop: bool = True, sphere: bool = False) -> np.ndarray:
    """From each point to the next (and back to the first if `loop`) in so many equal steps: [N, D] -> [F, D].

    On straight lines, or along great circles if `sphere`: between normally distributed vectors, whose length hardly
    varies, a straight line leads through the inside of their sphere, where the generator never was.

    >>> walk(np.array([[0.0], [1.0]]), 2)[:, 0].tolist()
    [0.0, 0.5, 1.0, 0.5]
    """
    points = np.asarray(points)
    ends = np.roll(points, -1, axis=0)
    if not loop:
        points, ends = points[:-1], ends[:-1]
    t = (np.arange(frames, dtype=points.dtype) / points.dtype.type(frames))[None, :, None]
    a, b = points[:, None], ends[:, None]
    start, end = 1 - t, t
    if sphere:
        lengths = np.linalg.norm(a, axis=2, keepdims=True) * np.linalg.norm(
            b, axis=2, keepdims=True
        )
        cosine = np.sum(a * b, axis=2, keepdims=True) / np.maximum(lengths, 1e-12)
        angle = np.arccos(np.clip(cosine, -1, 1))
        # The limit of angle 0 is the straight line.
        sine = np.where(angle < 1e-3, 1, np.sin(angle))
        start = np.where(angle < 1e-3, start, np.sin((1 - t) * angle) / sine)
        end = np.where(angle < 1e-3, end, np.sin(t * angle) / sine)
    path = (start * a + end * b).reshape(-1, points.shape[1])
    return path if loop else np.concatenate([path, ends[-1:]])


def in_batches(function: Callable[..., jax.Array], *arrays: jax.Array) -> np.ndarray:
    """`function` of the rows of the arrays, [N, ...] each, `BATCH` at a time: one program whatever the number."""
    num, made = len(arrays[0]), []
    for start in range(0, num, BATCH):
        # The last rows once more where a batch is not full.
        rows = np.minimum(np.arange(start, start + BATCH), num - 1)
        made.append(np.asarray(function(*(array[rows] for array in arrays))))
    return np.concatenate(made)[:num]


def interpolation(
    spaces: Mapping[str, Space],
    latent_dim: int,
    num_classes: int | None = None,
    painting: Mapping[str, Option] | None = None,
) -> Tool:
    """A film of a walk between random latents.

    Args:
      spaces: by name, the default first.
      latent_dim: of z.
      num_classes: None if the generator is unconditional.
      painting: the options that every space's `paint` takes beside.
    """
    painting = dict(painting or {})
    options = {
        "space": Option(
            next(iter(spaces)), "space in which the steps are equal", choices=tuple(spaces)
        ),
        "points": Option(6, "random latents that the walk passes", least=2),
        "frames": Option(24, "frames from one latent to the next", least=1),
        "loop": Option(True, "return to the first latent at the end"),
        **painting,
    }

    def make(play, space, points, frames, loop, label=-1, **given):
        chosen = spaces[space]
        networks = play.networks
        z, labels = _latents(play.key, points, latent_dim, num_classes, label)
        path = walk(jax.jit(chosen.embed)(networks, z, labels), frames, loop, chosen.sphere)
        paint = jax.jit(partial(chosen.paint, **given))
        if labels is None:
            pictures = in_batches(lambda x: paint(networks, x, None), path)
        else:
            # Of the point that each frame comes from.
            labels = np.asarray(labels)[np.arange(len(path)) // frames]
            pictures = in_batches(partial(paint, networks), path, labels)
        return Made(np.clip(pictures, -1.0, 1.0), film=True, arrays={space: path})

    return Tool(make, "a walk between random latents, as a film", _with_label(options, num_classes))


PROJECTION = {
    "steps": Option(1000, "steps of the search", least=1),
    "learning_rate": Option(0.1, "largest learning rate of the search", above=0),
    "every_layer": Option(False, "search a w for each layer and not one for all"),
    "noise": Option(True, "search the noise maps as well"),
    "noise_weight": Option(1e5, "weight of the noise maps' correlations", least=0),
    "distance": Option(
        "pixels",
        "what is made small: the mean squared error of pixels, or LPIPS",
        choices=("pixels", *(f"lpips_{backbone}" for backbone in lpips.BACKBONES)),
    ),
    "weights": Option("", "file with the weights of LPIPS's network; empty fetches them"),
    "heads": Option("", "file with the weights of LPIPS's heads; empty fetches them"),
}


def style_tools(styles: Styles) -> dict[str, Tool]:
    """truncation, mixing, interpolation and projection of a style generator."""
    cut = truncation_options(0.7, styles.num_styles)
    half = max(1, styles.num_styles // 2)
    tools = {
        "truncation": Tool(
            lambda networks, key, **options: _truncation(styles, networks, key, **options),
            "each row a latent, each column a truncation",
            {
                "rows": Option(4, "latents", least=1),
                "truncations": Option(
                    (0.0, 0.25, 0.5, 0.75, 1.0),
                    "truncation of each column: 0 is the mean picture, 1 none",
                    kind=tuple[float, ...],
                ),
                "layers": cut["truncation_layers"],
            },
        ),
        "mixing": Tool(
            lambda networks, key, **options: _mixing(styles, networks, key, **options),
            "pictures of the first column with the styles of the first row in some layers",
            {
                "rows": Option(4, "latents that are mixed into", least=1),
                "columns": Option(6, "latents whose styles are taken", least=1),
                "layers": Option(
                    f"0-{half - 1}",
                    f"layers whose styles are taken, from 0 to {styles.num_styles - 1}: one, or a range FIRST-LAST",
                ),
                **cut,
            },
        ),
    }
    tools = {
        name: Tool(tool.make, tool.help, _with_label(tool.options, styles.num_classes))
        for name, tool in tools.items()
    }

    def paint(networks, w, truncation, truncation_layers):
        w = jnp.broadcast_to(w[:, None], (w.shape[0], styles.num_styles, w.shape[1]))
        return styles.paint(
            networks, truncate(w, styles.mean(networks), truncation, truncation_layers)
        )

    spaces = {
        "w": Space(styles.map, lambda networks, w, label, **cut: paint(networks, w, **cut), False),
        "z": Space(
            lambda networks, z, label: z,
            lambda networks, z, label, **cut: paint(
                networks, styles.map(networks, z, label), **cut
            ),
            True,
        ),
    }
    return {
        **tools,
        "interpolation": interpolation(spaces, styles.latent_dim, styles.num_classes, cut),
        "projection": Tool(
            lambda networks, key, **given: _projection(styles, networks, key, **given),
            "the latent whose picture is most like the given one",
            PROJECTION,
            pictures=("image",),
        ),
    }


def truncation_options(truncation: float, num_styles: int) -> dict[str, Option]:
    """The options of `truncate`, with such a default."""
    return {
        "truncation": Option(
            truncation, "share of the distance from the mean style that is kept; 1 changes nothing"
        ),
        "truncation_layers": Option(
            num_styles, "layers that are truncated, from the coarsest on", least=0, most=num_styles
        ),
    }


def label_option(num_classes: int) -> Option:
    """The option of which class is made."""
    return Option(
        -1, "class of all pictures; -1 draws one for each", least=-1, most=num_classes - 1
    )


def _with_label(options: Mapping[str, Option], num_classes: int | None) -> dict[str, Option]:
    """With the option "label" where there are classes."""
    return dict(options) if num_classes is None else {**options, "label": label_option(num_classes)}


def _latents(key, num, latent_dim, num_classes, label):
    z_key, label_key = jax.random.split(key)
    z = jax.random.normal(z_key, (num, latent_dim))
    if num_classes is None:
        return z, None
    if label >= 0:
        return z, jnp.full((num,), label, jnp.int32)
    return z, jax.random.randint(label_key, (num,), 0, num_classes)


def _paint(styles: Styles, networks: Networks, w: jax.Array) -> np.ndarray:
    paint = jax.jit(styles.paint)
    return np.clip(in_batches(lambda w: paint(networks, w), w), -1.0, 1.0)


def _truncation(styles, networks, key, rows, truncations, layers, label=-1) -> Made:
    psi = np.asarray(truncations, np.float32)
    z, labels = _latents(key, rows, styles.latent_dim, styles.num_classes, label)
    w = jnp.repeat(jax.jit(styles.map)(networks, z, labels), len(psi), axis=0)
    w = jnp.broadcast_to(w[:, None], (w.shape[0], styles.num_styles, w.shape[1]))
    w = truncate(w, styles.mean(networks), jnp.tile(jnp.asarray(psi), rows), layers)
    return Made(_paint(styles, networks, w), columns=len(psi), arrays={"w": np.asarray(w)})


def _mixing(
    styles, networks, key, rows, columns, layers, truncation, truncation_layers, label=-1
) -> Made:
    marked = _layers(layers, styles.num_styles)
    z, labels = _latents(key, rows + columns, styles.latent_dim, styles.num_classes, label)
    w = jax.jit(styles.map)(networks, z, labels)
    # First the row of sources, over an empty corner, then each row's source and its mixtures.
    row, column = np.divmod(np.arange((rows + 1) * (columns + 1)), columns + 1)
    own = np.where(row > 0, row - 1, rows + column - 1)
    other = np.where((row > 0) & (column > 0), rows + column - 1, own)
    mixed = mix(w[own], w[other], jnp.broadcast_to(marked, (len(own), len(marked))))
    mixed = truncate(mixed, styles.mean(networks), truncation, truncation_layers)
    pictures = _paint(styles, networks, mixed)
    pictures[0] = 1.0
    return Made(pictures, columns=columns + 1, arrays={"w": np.asarray(mixed)})


def _layers(text: str, num: int) -> np.ndarray:
    """ "2-5" or "3" as booleans [num]."""
    first, _, last = text.partition("-")
    try:
        low, high = int(first), int(last or first)
    except ValueError:
        low, high = 1, 0
    if not 0 <= low <= high < num:
        raise OptionError(
            "layers",
            text,
            f"it must be a range of the layers from 0 to {num - 1}",
            {"layers": f"0-{num - 1}"},
        )
    return (low <= np.arange(num)) & (np.arange(num) <= high)


def _projection(
    styles,
    networks,
    key,
    image,
    steps,
    learning_rate,
    every_layer,
    noise,
    noise_weight,
    distance,
    weights,
    heads,
) -> Made:
    """Searches w, and the noise maps, whose picture is nearest to the given one.

    w starts at the mean; the steps are Adam's, with noise in w of 0.05 deviations times the square of what is left of
    the first three quarters. The noise maps are kept normal by the penalty of `_correlation`, or else they paint the
    picture. Source: StyleGAN2, Appendix D.
    """
    if image.shape != tuple(styles.sample_shape):
        raise ValueError(
            f"the picture 'image' has shape {tuple(image.shape)}, but this generator makes"
            f" {tuple(styles.sample_shape)}; crop or resize it first."
        )
    away, network = _distance(distance, weights, heads)
    target = jnp.asarray(image)[None]
    z_key, step_key = jax.random.split(key)
    z, labels = _latents(z_key, 10_000, styles.latent_dim, styles.num_classes, -1)
    w = jax.jit(styles.map)(networks, z, labels)
    mean = jnp.mean(w, axis=0)
    deviation = jnp.sqrt(jnp.mean(jnp.sum(jnp.square(w - mean[None]), axis=1)))
    start = jnp.broadcast_to(mean, (styles.num_styles if every_layer else 1, mean.shape[0]))
    maps = networks["generator"]["noise"]
    found = {"w": jnp.array(start), "noise": jax.tree.map(_normal, maps) if noise else maps}
    adam = optax.scale_by_adam()

    def paint(networks, found):
        generator = {**networks["generator"], "noise": found["noise"]}
        w = jnp.broadcast_to(found["w"], (styles.num_styles, found["w"].shape[1]))
        return styles.paint({**networks, "generator": generator}, w[None])

    def loss(found, networks, network, target, shift):
        picture = paint(networks, {**found, "w": found["w"] + shift})
        value = away(network, picture, target)
        if noise:
            value += noise_weight * sum(map(_correlation, jax.tree.leaves(found["noise"])))
        return value

    @jax.jit
    def step(found, moments, networks, network, target, t, key):
        shift = jax.random.normal(key, found["w"].shape)
        shift = shift * 0.05 * deviation * jnp.square(jnp.maximum(0.0, 1.0 - t / 0.75))
        gradient = jax.grad(loss)(found, networks, network, target, shift)
        # Optax raises a float to an int32 count, which a program under strict promotion may not.
        with jax.numpy_dtype_promotion("standard"):
            updates, moments = adam.update(gradient, moments)
        # Up over a twentieth of the steps, down by a cosine over the last quarter.
        ramp = 0.5 - 0.5 * jnp.cos(jnp.pi * jnp.minimum(1.0, (1.0 - t) / 0.25))
        rate = learning_rate * ramp * jnp.minimum(1.0, t / 0.05)
        moved = jax.tree.map(lambda x, u: x - rate * u, found, updates)
        maps = jax.tree.map(_normal, moved["noise"]) if noise else found["noise"]
        return {"w": moved["w"], "noise": maps}, moments

    moments = adam.init(found)
    for i in range(steps):
        t = np.float32((i + 1) / (steps + 1))
        key = jax.random.fold_in(step_key, i)
        found, moments = step(found, moments, networks, network, target, t, key)
    picture = jnp.clip(jax.jit(paint)(networks, found), -1.0, 1.0)
    numbers = {
        "distance": float(away(network, picture, target)),
        "psnr": float(-10.0 * jnp.log10(jnp.mean(jnp.square(picture - target) / 4.0) + 1e-12)),
    }
    named = jax.tree_util.tree_leaves_with_path(found["noise"])
    arrays = {"/".join(["noise", *(part.key for part in path)]): leaf for path, leaf in named}
    return Made(
        np.concatenate([target, picture]),
        columns=2,
        numbers=numbers,
        arrays={
            "w": np.broadcast_to(found["w"], (styles.num_styles, mean.shape[0])),
            **{name: np.asarray(leaf) for name, leaf in arrays.items()},
        },
    )


def _normal(noise: jax.Array) -> jax.Array:
    """A noise map brought back to mean 0 and variance 1."""
    noise = noise - jnp.mean(noise)
    return noise * jax.lax.rsqrt(jnp.mean(jnp.square(noise)) + 1e-8)


def _correlation(noise: jax.Array) -> jax.Array:
    """Squared correlations of a noise map's neighbours, at its own and all halved sizes down to 8 (Appendix D)."""
    total = jnp.zeros(())
    while True:
        for axis in (0, 1):
            total += jnp.square(jnp.mean(noise * jnp.roll(noise, 1, axis)))
        if noise.shape[0] <= 8:
            return total
        h, w = noise.shape
        # The mean of four, times two: of unit variance again if they were independent.
        noise = 2.0 * noise.reshape(h // 2, 2, w // 2, 2).mean(axis=(1, 3))


def _distance(name: str, file: str, heads: str):
    """((the variables of a network, one, other) -> how far apart two pictures are, those variables)."""
    if name == "pixels":
        return lambda _, x, y: jnp.mean(jnp.square(x - y)), ()
    backbone = name.removeprefix("lpips_")
    tensors, lines = (
        weights.load(published, given or None)[0]
        for published, given in zip(lpips.FILES[backbone], (file, heads), strict=True)
    )

    def away(variables, x, y):
        return lpips.lpips(variables, _for_lpips(x), _for_lpips(y), backbone)[0]

    return away, lpips.convert(tensors, lines, backbone)


def _for_lpips(x: jax.Array) -> jax.Array:
    """With three channels, and of 64 to 256 pixels: 256 is what the paper reduces to."""
    if x.shape[-1] == 1:
        x = jnp.repeat(x, 3, axis=-1)
    while x.shape[1] > 256:
        b, h, w, c = x.shape
        x = x.reshape(b, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))
    if x.shape[1] < 64:
        x = jnp.repeat(jnp.repeat(x, 64 // x.shape[1], axis=1), 64 // x.shape[2], axis=2)
    return x
