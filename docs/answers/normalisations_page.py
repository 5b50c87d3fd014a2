"""What each normalisation leaves of a label map."""

import jax
import jax.numpy as jnp

from jaxgan.nets.norm import PLAIN, PlainNorm, SpatialNorm, adaptive_norm

SIDE, CHANNELS = 16, 64


def normalisations():
    """The mean difference between outputs for pictures of one label each, sky or grass, relative to their size.

    The input of the normalisation is a convolution of the label map, here a linear map of the one-hot label: a constant
    picture, plus noise that is the same for both labels. Networks are untrained.
    """
    maps = jax.nn.one_hot(jnp.broadcast_to(jnp.arange(2)[:, None, None], (2, SIDE, SIDE)), 2)
    embedding = jax.random.normal(jax.random.key(0), (2, CHANNELS))
    noise = 0.1 * jax.random.normal(jax.random.key(1), (1, SIDE, SIDE, CHANNELS))
    x = maps @ embedding + noise
    outputs = {}
    for kind in PLAIN:
        # Batch statistics: those of a single picture too, as with one picture on a device.
        outputs[kind] = jnp.concatenate([_applied(PlainNorm(kind), x[i : i + 1]) for i in range(2)])
    outputs["batch of both"] = _applied(PlainNorm("batch"), x)
    shares = maps.mean(axis=(1, 2))  # AdaIN's style: shares of the labels, without their places
    style = shares @ (0.5 * jax.random.normal(jax.random.key(2), (2, 2 * CHANNELS)))
    outputs["adain"] = adaptive_norm(x, style)
    outputs["spade"] = jnp.concatenate(
        [_applied(SpatialNorm(hidden=16), x[i : i + 1], maps[i : i + 1]) for i in range(2)]
    )
    return {
        "difference": {name: _difference(y) for name, y in outputs.items()},
        "within": _within_a_picture(),
    }


def _within_a_picture():
    """The relative difference of the pixels of two pictures: sky left and grass right, or the other way round."""
    labels = (jnp.arange(SIDE) >= SIDE // 2).astype(jnp.int32)
    maps = jax.nn.one_hot(jnp.broadcast_to(labels[None, None], (1, SIDE, SIDE)), 2)
    swapped = maps[..., ::-1]
    x = jnp.broadcast_to(
        jax.random.normal(jax.random.key(3), (1, 1, 1, CHANNELS)), (1, SIDE, SIDE, CHANNELS)
    ) + 0.1 * jax.random.normal(jax.random.key(4), (1, SIDE, SIDE, CHANNELS))
    style = jax.random.normal(jax.random.key(2), (2, 2 * CHANNELS))
    spade = SpatialNorm(hidden=16)
    variables = spade.init(jax.random.key(5), x, maps)
    adain = [adaptive_norm(x, m.mean(axis=(1, 2)) @ style) for m in (maps, swapped)]
    both = [spade.apply(variables, x, m, mutable=["batch_stats"])[0] for m in (maps, swapped)]
    pairs = {"adain": adain, "spade": both}
    return {
        name: jnp.sqrt(jnp.mean((one - other) ** 2) / jnp.mean(one**2))
        for name, (one, other) in pairs.items()
    }


def _applied(layer, *inputs):
    variables = layer.init(jax.random.key(5), *inputs)
    return layer.apply(variables, *inputs, mutable=["batch_stats"])[0]


def _difference(pair):
    """|mean over pixels of y_1 - y_2| / root mean square of y, for y [2, H, W, C]."""
    means = pair.mean(axis=(1, 2))
    return jnp.linalg.norm(means[0] - means[1]) / jnp.sqrt(CHANNELS * jnp.mean(pair**2))


def draw_normalisations(figure, numbers):
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    left.barh(list(numbers["difference"]), list(numbers["difference"].values()))
    left.set(title="one label per picture: what is left of it")
    right.barh(list(numbers["within"]), list(numbers["within"].values()), color="C1")
    right.set(title="same labels, places swapped")
