"""Tools of generators with a latent space: interpolation and projection for all of them, truncation and style mixing
for those with styles.

A *style* generator maps a latent z to a style w, which is an input of each of its layers (StyleGAN and its successors).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan import draws, weights
from jaxgan.nets.features import lpips
from jaxgan.network import Network, PyTree
from jaxgan.options import Option, OptionError
from jaxgan.tools import Made, Tool, compiled

Networks = Mapping[str, Network]  # {player: Network}
Prior = Callable[[jax.Array, int], jax.Array]  # (key, num) -> z [num, latent_dim]

BATCH = 8  # number of pictures per call


def normal(latent_dim: int) -> Prior:
    """Standard normal latents.

    >>> normal(3)(jax.random.key(0), 2).shape
    (2, 3)
    """
    return lambda key, num: draws.normal(key, (num, latent_dim))


class Latents(NamedTuple):
    """The latents of a game.

    Attributes:
      prior: distribution of the latents.
      num_classes: number of classes of the labels; None for an unconditional generator.
    """

    prior: Prior
    num_classes: int | None = None

    def draw(self, key: jax.Array, num: int, label: int = -1) -> tuple[jax.Array, jax.Array | None]:
        """(z [num, latent_dim], labels int32 [num] or None); a label below 0 draws one for each latent."""
        z_key, label_key = jax.random.split(key)
        z = self.prior(z_key, num)
        if self.num_classes is None:
            return z, None
        if label >= 0:
            return z, jnp.full((num,), label, jnp.int32)
        return z, draws.randint(label_key, (num,), 0, self.num_classes)

    def options(self, **options: Option) -> dict[str, Option]:
        """The options, with "label" added if there are classes."""
        if self.num_classes is None:
            return options
        return {**options, "label": label_option(self.num_classes)}


def label_option(num_classes: int) -> Option:
    """The option that selects the class."""
    return Option(
        -1, "class of all pictures; -1 draws a class for each", least=-1, most=num_classes - 1
    )


class Space(NamedTuple):
    """A space of inputs of a generator: latents, or features that it computes from latents.

    Attributes:
      embed: (networks, z [N, latent_dim], label int32 [N] or None) -> points [N, D].
      paint: (networks, points [N, D], label, **options) -> pictures [N, H, W, C].
      sphere: whether the points lie close to a sphere, so that interpolations follow great circles.
    """

    embed: Callable[..., jax.Array]
    paint: Callable[..., jax.Array]
    sphere: bool


class Walk(NamedTuple):
    """The latent spaces of trained networks.

    Attributes:
      networks: {player: Network}.
      latents: those of the game.
      spaces: {name: Space}.
      plain: options with which every `paint` makes the pictures of its points unchanged.
    """

    networks: Networks
    latents: Latents
    spaces: Mapping[str, Space]
    plain: Mapping[str, int | float] = {}


class Styles(NamedTuple):
    """A game with a style generator, the player "generator".

    Its module must have the methods

        style   (z [N, latent_dim], label int32 [N] or None) -> w [N, D]
        paint   w [N, num_styles, D], or [N, D] for all layers -> pictures [N, H, W, C], with constant noise

    and its collection "average" must hold the mean of w, {"style": [D]}. If it has a collection "noise", this must hold
    the constant noise maps, which a projection can optimise.

    Attributes:
      latent_dim: dimension of z.
      num_styles: number of layers that take a w.
      num_classes: number of classes; None for an unconditional generator.
      sample_shape: shape of a picture.
      prior: distribution of z; None for standard normal.
    """

    latent_dim: int
    num_styles: int
    num_classes: int | None
    sample_shape: tuple[int, ...]
    prior: Prior | None = None

    @property
    def latents(self) -> Latents:
        return Latents(self.prior or normal(self.latent_dim), self.num_classes)


def every_layer(w: jax.Array, num_styles: int) -> jax.Array:
    """One style for all layers: w [N, D] -> [N, num_styles, D]."""
    return jnp.broadcast_to(w[:, None], (w.shape[0], num_styles, w.shape[1]))


def truncate(w: jax.Array, mean: jax.Array, psi: float | jax.Array, layers: int) -> jax.Array:
    """mean + psi (w - mean) in the first `layers` layers: a smaller psi gives less varied and better pictures.

    Args:
      w: [N, num_styles, D].
      mean: mean of w, [D].
      psi: 1 changes nothing, 0 gives the mean picture; one number, or one for each of the N.
      layers: number of truncated layers.

    Source: Karras et al., A Style-Based Generator Architecture for Generative Adversarial Networks (2019), Appendix B.
    """
    psi = jnp.broadcast_to(jnp.asarray(psi, w.dtype), w.shape[:1])[:, None, None]
    mean = mean[None, None]
    changed = (jnp.arange(w.shape[1]) < layers)[None, :, None]
    return jnp.where(changed, mean + psi * (w - mean), w)


def mix(one: jax.Array, other: jax.Array, layers: jax.Array) -> jax.Array:
    """The styles of `other` in the marked layers, and those of `one` in the others.

    Args:
      one, other: w, [N, D].
      layers: boolean [N, num_styles].

    Returns:
      [N, num_styles, D].

    Source: as for `truncate`, Section 3.1.
    """
    return jnp.where(layers[:, :, None], other[:, None], one[:, None])


def walk(points: np.ndarray, frames: int, loop: bool = True, sphere: bool = False) -> np.ndarray:
    """From each point to the next (and back to the first if `loop`) in `frames` equal steps: [N, D] -> [F, D].

    On straight lines, or along great circles if `sphere`: normally distributed vectors lie close to a sphere. Vectors
    on a straight line between them are shorter than those that the generator was trained on.

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
        # For angle 0 the limit is the straight line.
        sine = np.where(angle < 1e-3, 1, np.sin(angle))
        start = np.where(angle < 1e-3, start, np.sin((1 - t) * angle) / sine)
        end = np.where(angle < 1e-3, end, np.sin(t * angle) / sine)
    path = (start * a + end * b).reshape(-1, points.shape[1])
    return path if loop else np.concatenate([path, ends[-1:]])


def in_batches(function: Callable[..., jax.Array], *arrays: jax.Array | np.ndarray) -> np.ndarray:
    """`function` of the rows of the arrays, [N, ...] each, `BATCH` at a time: one program for any N."""
    num, made = len(arrays[0]), []
    for start in range(0, num, BATCH):
        # The last row is repeated to fill the last batch.
        rows = np.minimum(np.arange(start, start + BATCH), num - 1)
        made.append(np.asarray(function(*(array[rows] for array in arrays))))
    return np.concatenate(made)[:num]


def interpolation(
    spaces: Mapping[str, Space],
    latent_dim: int,
    num_classes: int | None = None,
    painting: Mapping[str, Option] | None = None,
    prior: Prior | None = None,
    plain: Mapping[str, int | float] | None = None,
) -> Tool:
    """A film of a walk between random latents, or those of seeds.

    Args:
      spaces: {name: Space}, the default first.
      latent_dim: dimension of z.
      num_classes: number of classes; None for an unconditional generator.
      painting: additional options of the `paint` of every space.
      prior: distribution of z; None for standard normal.
      plain: see `Walk`.
    """
    latents = Latents(prior or normal(latent_dim), num_classes)

    def make(play, space, points, seeds, frames, loop, label=-1, **painted) -> Made:
        chosen = spaces[space]
        z, labels = _ends(latents, play.key, points, seeds, label)
        embedded = compiled(chosen.embed, play.networks, z, labels)
        path = walk(embedded, frames, loop, chosen.sphere)
        paint = partial(compiled, chosen.paint, **painted)
        if labels is None:
            pictures = in_batches(lambda x: paint(play.networks, x, None), path)
        else:
            # Each frame has the label of the latent before it.
            labels = np.asarray(labels)[np.arange(len(path)) // frames]
            pictures = in_batches(partial(paint, play.networks), path, labels)
        return Made(np.clip(pictures, -1.0, 1.0), film=True, arrays={space: path})

    options = latents.options(
        space=Option(
            next(iter(spaces)), "space in which the steps are equal", choices=tuple(spaces)
        ),
        points=Option(6, "number of random latents of the walk", least=2),
        seeds=Option(
            (),
            "seeds of the latents of the walk, which take the place of `points` random ones",
            kind=tuple[int, ...],
            least=0,
            empty=True,
        ),
        frames=Option(24, "frames from one latent to the next", least=1),
        loop=Option(True, "return to the first latent at the end"),
        **(painting or {}),
    )
    return Tool(
        make,
        "a walk between random latents, or those of seeds, as a film",
        options,
        walk=lambda play: Walk(play.networks, latents, spaces, plain or {}),
    )


def _ends(
    latents: Latents, key: jax.Array, points: int, seeds: Sequence[int], label: int
) -> tuple[jax.Array, jax.Array | None]:
    """What a walk connects: the first draw of each seed, or `points` draws if there are no seeds."""
    if not seeds:
        return latents.draw(key, points, label)
    if len(seeds) == 1:
        problem = "a walk needs the seeds of two latents or more"
        raise OptionError("seeds", seeds, problem, {"seeds": (seeds[0], seeds[0] + 1)})
    drawn = [latents.draw(jax.random.key(seed), 1, label) for seed in seeds]
    return jax.tree.map(lambda *rows: jnp.concatenate(rows), *drawn)


def latent_tools(
    paint: Callable[..., jax.Array],
    latent_dim: int,
    num_classes: int | None,
    sample_shape: tuple[int, ...],
) -> dict[str, Tool]:
    """The tools "interpolation" and "projection" of a generator of normal latents.

    Args:
      paint: (networks, z [N, latent_dim], label int32 [N] or None) -> pictures [N, *sample_shape].
      latent_dim: dimension of z.
      num_classes: number of classes; None for an unconditional generator.
      sample_shape: shape of a picture.
    """
    space = Space(_itself, paint, sphere=True)
    latents = Latents(normal(latent_dim), num_classes)
    return {
        "interpolation": interpolation({"z": space}, latent_dim, num_classes),
        "projection": projection("z", space, latents, sample_shape),
    }


def _itself(networks: Networks, z: jax.Array, label: jax.Array | None) -> jax.Array:
    del networks, label
    return z


def truncation_options(truncation: float, num_styles: int) -> dict[str, Option]:
    """The options of `truncate`, with this default."""
    return {
        "truncation": Option(
            truncation, "share of the distance from the mean style that is kept; 1 changes nothing"
        ),
        "truncation_layers": Option(
            num_styles, "number of truncated layers, from the coarsest on", least=0, most=num_styles
        ),
    }


def style_tools(styles: Styles) -> dict[str, Tool]:
    """The tools "truncation", "mixing", "interpolation" and "projection" of a style generator."""
    latents, num_styles = styles.latents, styles.num_styles
    cut = truncation_options(0.7, num_styles)

    def paint(networks: Networks, w, label, truncation, truncation_layers):
        del label
        w = _truncated(networks["generator"], w, num_styles, truncation, truncation_layers)
        return _paint(networks["generator"], w)

    def paint_latents(networks: Networks, z, label, **cut):
        return paint(networks, _style(networks["generator"], z, label), label, **cut)

    def embed(networks: Networks, z, label):
        return _style(networks["generator"], z, label)

    spaces = {
        "w": Space(embed, paint, sphere=False),
        "z": Space(lambda networks, z, label: z, paint_latents, sphere=True),
    }
    search = Space(
        embed, lambda networks, w, label: networks["generator"](w, method="paint"), False
    )
    options = _grid_options(num_styles)
    return {
        "truncation": Tool(
            partial(_truncation, styles),
            "a grid with a latent for each row and a truncation for each column",
            latents.options(**options["truncation"]),
        ),
        "mixing": Tool(
            partial(_mixing, styles),
            "pictures of the first column with the styles of the first row in some layers",
            latents.options(**options["mixing"], **cut),
        ),
        "interpolation": interpolation(
            spaces,
            styles.latent_dim,
            styles.num_classes,
            cut,
            styles.prior,
            {"truncation": 1.0, "truncation_layers": 0},
        ),
        "projection": projection("w", search, latents, styles.sample_shape, num_styles),
    }


def _grid_options(num_styles: int) -> dict[str, dict[str, Option]]:
    """The options of the tools that make grids."""
    half = max(1, num_styles // 2)
    return {
        "truncation": {
            "rows": Option(4, "latents", least=1),
            "truncations": Option(
                (0.0, 0.25, 0.5, 0.75, 1.0),
                "truncation of each column: 0 gives the mean picture, 1 no truncation",
                kind=tuple[float, ...],
            ),
            "layers": truncation_options(1.0, num_styles)["truncation_layers"],
        },
        "mixing": {
            "rows": Option(4, "number of latents that get styles of other latents", least=1),
            "columns": Option(6, "number of latents whose styles are used", least=1),
            "layers": Option(
                f"0-{half - 1}",
                f"layers that get styles of the first row, from 0 to {num_styles - 1}: one, or a range FIRST-LAST",
            ),
        },
    }


@jax.jit
def _style(generator: Network, z: jax.Array, label: jax.Array | None) -> jax.Array:
    return generator(z, label, method="style")


@jax.jit
def _paint(generator: Network, w: jax.Array) -> jax.Array:
    return jnp.clip(generator(w, method="paint"), -1.0, 1.0)


def _truncated(generator: Network, w: jax.Array, num_styles: int, psi, layers: int) -> jax.Array:
    """One truncated style for all layers: w [N, D] -> [N, num_styles, D]."""
    return truncate(every_layer(w, num_styles), generator["average"]["style"], psi, layers)


def _truncation(styles: Styles, play, rows, truncations, layers, label=-1) -> Made:
    generator, columns = play.networks["generator"], len(truncations)
    w = _style(generator, *styles.latents.draw(play.key, rows, label))
    psi = jnp.tile(jnp.asarray(truncations, jnp.float32), rows)
    w = _truncated(generator, jnp.repeat(w, columns, axis=0), styles.num_styles, psi, layers)
    pictures = in_batches(partial(_paint, generator), w)
    return Made(pictures, columns=columns, arrays={"w": np.asarray(w)})


def _mixing(
    styles: Styles, play, rows, columns, layers, truncation, truncation_layers, label=-1
) -> Made:
    marked = _layers(layers, styles.num_styles)
    generator = play.networks["generator"]
    w = _style(generator, *styles.latents.draw(play.key, rows + columns, label))
    # The first row shows the sources of the columns, after an empty corner. Each other row shows its own source, then
    # its mixtures.
    row, column = np.divmod(np.arange((rows + 1) * (columns + 1)), columns + 1)
    own = np.where(row > 0, row - 1, rows + column - 1)
    other = np.where((row > 0) & (column > 0), rows + column - 1, own)
    mixed = mix(w[own], w[other], jnp.broadcast_to(marked, (len(own), len(marked))))
    mixed = truncate(mixed, generator["average"]["style"], truncation, truncation_layers)
    pictures = in_batches(partial(_paint, generator), mixed)
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


# Projection -----------------------------------------------------------------------------------------------

PROJECTION = {
    "steps": Option(1000, "steps of the search", least=1),
    "learning_rate": Option(0.1, "largest learning rate of the search", above=0),
    "distance": Option(
        "pixels",
        "distance to minimise: the mean squared error of pixels, or LPIPS",
        choices=("pixels", *(f"lpips_{backbone}" for backbone in lpips.BACKBONES)),
    ),
    "weights": Option("", "file with the weights of LPIPS's network; if empty, they are fetched"),
    "heads": Option("", "file with the weights of LPIPS's heads; if empty, they are fetched"),
}
STYLE_PROJECTION = {
    "every_layer": Option(False, "search for a separate w for each layer"),
    "noise": Option(True, "optimise the noise maps too"),
    "noise_weight": Option(1e5, "weight of the penalty on correlations in the noise maps", least=0),
}


def projection(
    name: str,
    space: Space,
    latents: Latents,
    sample_shape: tuple[int, ...],
    num_styles: int = 0,
) -> Tool:
    """A tool that searches a space for the point whose picture is most similar to a given one.

    Args:
      name: name of the space, and of the array with the point.
      space: the space; with `num_styles`, its `paint` must also take points [N, num_styles, D].
      latents: the latents; the search starts from the mean of their points.
      sample_shape: shape of a picture.
      num_styles: number of layers of a style generator, for which the search can use a style per layer and optimise the
        constant noise maps, if there are any; 0 for other generators.
    """

    def make(
        play, image, steps, distance, weights, heads, learning_rate, noise_weight=0.0, label=-1,
        every_layer=False, noise=False,
    ) -> Made:  # fmt: skip
        if image.shape != tuple(sample_shape):
            raise ValueError(
                f"the picture 'image' has shape {tuple(image.shape)}, but this generator makes {tuple(sample_shape)};"
                " crop or resize it first."
            )
        away, measure = _distance(distance, weights, heads)
        draw_key, step_key = jax.random.split(play.key)
        z, labels = latents.draw(draw_key, 10_000, label)
        points = compiled(space.embed, play.networks, z, labels)
        mean = jnp.mean(points, axis=0)
        deviation = jnp.sqrt(jnp.mean(jnp.sum(jnp.square(points - mean[None]), axis=1)))
        label = None if labels is None else labels[:1]
        picture = jnp.asarray(image)[None]
        rates = np.float32(learning_rate), np.float32(noise_weight)
        goal = _Goal(play.networks, label, picture, measure, deviation, *rates)
        layers = (num_styles,) if every_layer else ()
        found = {"points": jnp.broadcast_to(mean, (1, *layers, *mean.shape))}
        maps = play.networks["generator"].state.get("noise", {})
        if noise and maps:
            found["noise"] = jax.tree.map(_normal, maps)
        search = _Search(space, away)
        found = search.run(found, goal, steps, step_key)
        point = np.asarray(found["points"][0])
        if num_styles and not layers:
            point = np.broadcast_to(point, (num_styles, *point.shape))
        arrays = {name: point, **_named("noise", found.get("noise", maps))}
        return search.made(found, goal)._replace(arrays=arrays)

    help = "the latent whose picture is most similar to the given one"
    options = PROJECTION | (STYLE_PROJECTION if num_styles else {})
    return Tool(make, help, latents.options(**options), pictures=("image",))


class _Goal(NamedTuple):
    """The constants of a projection.

    Attributes:
      networks: {player: Network}.
      label: label of the picture, int32 [1] or None.
      target: the given picture, [1, H, W, C].
      measure: variables of the distance.
      deviation: root mean squared distance of the points from their mean.
      learning_rate: the largest learning rate.
      noise_weight: weight of the penalty on the noise maps.
    """

    networks: Networks
    label: jax.Array | None
    target: jax.Array
    measure: PyTree
    deviation: jax.Array
    learning_rate: np.float32
    noise_weight: np.float32


@dataclasses.dataclass(frozen=True)
class _Search:
    """A search for {"points": [1, D] or [1, num_styles, D], "noise": maps, if they are optimised}, by Adam.

    Noise is added to the points: its scale starts at 0.05 times the deviation of the points and decays quadratically to
    0 in the first three quarters of the steps. The penalty `_correlation` keeps the noise maps close to white noise;
    without it the search would copy the picture into them.

    Source: Karras et al., Analyzing and Improving the Image Quality of StyleGAN (2020), Appendix D.
    """

    space: Space
    away: Callable[..., jax.Array]

    def run(self, found: PyTree, goal: _Goal, steps: int, key: jax.Array) -> PyTree:
        moments = optax.scale_by_adam().init(found)
        for i in range(steps):
            t = np.float32((i + 1) / (steps + 1))
            found, moments = _step(self, found, moments, goal, t, jax.random.fold_in(key, i))
        return found

    def step(self, found: PyTree, moments: PyTree, goal: _Goal, t: jax.Array, key: jax.Array):
        shift = jax.random.normal(key, found["points"].shape, jnp.float32)
        shift = shift * 0.05 * goal.deviation * jnp.square(jnp.maximum(0.0, 1.0 - t / 0.75))
        gradient = jax.grad(self.loss)(found, goal, shift)
        # Optax adds an int32 count and a float, which strict dtype promotion does not allow.
        with jax.numpy_dtype_promotion("standard"):
            updates, moments = optax.scale_by_adam().update(gradient, moments)
        # Linear warm-up in the first twentieth of the steps, cosine decay in the last quarter.
        ramp = 0.5 - 0.5 * jnp.cos(jnp.pi * jnp.minimum(1.0, (1.0 - t) / 0.25))
        rate = goal.learning_rate * ramp * jnp.minimum(1.0, t / 0.05)
        found = jax.tree.map(lambda x, u: x - rate * u, found, updates)
        if "noise" in found:
            found = {**found, "noise": jax.tree.map(_normal, found["noise"])}
        return found, moments

    def loss(self, found: PyTree, goal: _Goal, shift: jax.Array) -> jax.Array:
        picture = self.paint({**found, "points": found["points"] + shift}, goal)
        maps = jax.tree.leaves(found.get("noise"))
        value = self.away(goal.measure, picture, goal.target)
        return value + goal.noise_weight * sum(map(_correlation, maps))

    def paint(self, found: PyTree, goal: _Goal) -> jax.Array:
        networks = goal.networks
        if "noise" in found:
            generator = networks["generator"].replace(noise=found["noise"])
            networks = {**networks, "generator": generator}
        return self.space.paint(networks, found["points"], goal.label)

    def made(self, found: PyTree, goal: _Goal) -> Made:
        """The given picture and the picture of the result."""
        picture = jnp.clip(_painted(self, found, goal), -1.0, 1.0)
        error = jnp.mean(jnp.square(picture - goal.target) / 4.0)
        numbers = {
            "distance": float(self.away(goal.measure, picture, goal.target)),
            "psnr": float(-10.0 * jnp.log10(error + 1e-12)),
        }
        return Made(np.concatenate([goal.target, picture]), columns=2, numbers=numbers)


# Compiled once for all searches in one space by one distance.
_step = jax.jit(_Search.step, static_argnums=0)
_painted = jax.jit(_Search.paint, static_argnums=0)


def _named(head: str, tree: PyTree) -> dict[str, np.ndarray]:
    """{"head/conv4/map": leaf} of a tree of dictionaries."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        "/".join([head, jax.tree_util.keystr(path, simple=True, separator="/")]): np.asarray(leaf)
        for path, leaf in leaves
    }


def _normal(noise: jax.Array) -> jax.Array:
    """A noise map normalised to mean 0 and variance 1."""
    noise = noise - jnp.mean(noise)
    return noise * jax.lax.rsqrt(jnp.mean(jnp.square(noise)) + 1e-8)


def _correlation(noise: jax.Array) -> jax.Array:
    """Squared correlations of neighbours in a noise map, at its own and all halved sizes down to 8 (Appendix D)."""
    total = jnp.float32(0.0)
    while True:
        for axis in (0, 1):
            total += jnp.square(jnp.mean(noise * jnp.roll(noise, 1, axis)))
        if noise.shape[0] <= 8:
            return total
        h, w = noise.shape
        # Twice the mean of four independent pixels of unit variance has unit variance.
        noise = 2.0 * noise.reshape(h // 2, 2, w // 2, 2).mean(axis=(1, 3))


def _distance(name: str, file: str, heads: str):
    """(distance, measure): distance(measure, one, other) of two pictures; `measure` holds a network's variables."""
    if name == "pixels":
        return _mean_square, ()
    backbone = name.removeprefix("lpips_")
    tensors, lines = (
        weights.load(published, given or None)[0]
        for published, given in zip(lpips.FILES[backbone], (file, heads), strict=True)
    )
    return _lpips_by(backbone), lpips.convert(tensors, lines, backbone)


def _mean_square(_, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.mean(jnp.square(x - y))


@functools.cache
def _lpips_by(backbone: str) -> Callable[..., jax.Array]:
    return lambda variables, x, y: lpips.lpips(variables, _for_lpips(x), _for_lpips(y), backbone)[0]


def _for_lpips(x: jax.Array) -> jax.Array:
    """Pictures with three channels and 64 to 256 pixels; StyleGAN2 reduces larger ones to 256."""
    if x.shape[-1] == 1:
        x = jnp.repeat(x, 3, axis=-1)
    while x.shape[1] > 256:
        b, h, w, c = x.shape
        x = x.reshape(b, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))
    if x.shape[1] < 64:
        x = jnp.repeat(jnp.repeat(x, 64 // x.shape[1], axis=1), 64 // x.shape[2], axis=2)
    return x
