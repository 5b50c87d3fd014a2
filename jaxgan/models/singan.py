"""SinGAN: a pyramid of small GANs that learns one picture, and then makes others of any size, or works on others.

Paper: Shaham et al. 2019, "SinGAN: Learning a Generative Model from a Single Natural Image". Reference implementation:
tamarott/SinGAN (PyTorch).

    x_n = x + tanh(net(amplitude_n z_n + x)),    x = x_(n-1) enlarged    (Eq. 3, 4)

Each scale has a generator and a critic of 11x11 patches, which train in a stage of their own while those below stand
still. Scales count from the coarsest, 0, whose x is black; the paper counts the other way. One fixed z* at scale 0 and
no noise above it are to give the picture itself (Eq. 6), and how badly the scales below do so is how much noise a
scale is given. The picture, z* and the number of the scale in training are kept with generator 0, so that whatever is
made from a checkpoint needs no data.

Intended differences: z* is drawn once, as in the paper (the reference draws it anew in each round of the coarsest
scale); every generator step has a sample of its own (the reference's three share one that is made before the first of
them, and PyTorch refuses its gradient since 1.5); pictures change size between shapes that are known, over float
pixels (the reference rounds them down to 8 bits, mirrors at edges, rounds sizes up and crops); the number of scales is
the one whose factor is next to `scale_factor`, as the paper says (the reference takes one or two more for pictures
that are given at their final size). Convolutions in front of batch normalisation have no bias, gains start at 1 and
not at N(1, 0.02), the output's bias at 0. The borders of masks are in proportion to the picture. Super-resolution
goes by the pyramid's own factor, where the reference trains another pyramid of factor 2^(-1/3).
"""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import jax
import jax.numpy as jnp
import optax

from jaxgan import losses
from jaxgan.adversarial import DTYPES, apply, compute_dtype, decode
from jaxgan.game import DataSpec, Game, Loss, Player, Stage, Turn, joined, scale_by_round
from jaxgan.nets import singan as nets
from jaxgan.options import Option, OptionError, option
from jaxgan.options import check as check_limits
from jaxgan.tools.pyramid import noise_option, pyramid_tools


@dataclasses.dataclass(frozen=True)
class Options:
    min_size: int = option(
        25,
        "shorter side in pixels of the coarsest picture; a patch of the critic has 11",
        least=nets.RECEPTIVE_FIELD,
    )
    scale_factor: float = option(
        0.75,
        "about, the sides of a scale as a factor of those of the next finer one",
        least=0.1,
        most=0.95,
    )
    features: int = option(32, "channels of the coarsest networks", least=1)
    double_every: int = option(
        4, "scales after which the channels double, up to max_features", least=1
    )
    max_features: int = option(128, "most channels of a network", least=1)
    steps_per_scale: int = option(
        2_000, "rounds of each scale; a run takes as many times the number of scales", least=1
    )
    critic_steps: int = option(3, "critic steps per round", least=1)
    generator_steps: int = option(3, "generator steps per round", least=1)
    noise_amplitude: float = option(
        0.1,
        "standard deviation of a scale's noise, as a factor of the RMSE of what the scales below reconstruct",
        least=0,
    )
    reconstruction_weight: float = option(
        10.0, "weight of the reconstruction's mean squared error; 100 for super-resolution", least=0
    )
    penalty_weight: float = option(0.1, "weight of the gradient penalty, lambda", least=0)
    critic_learning_rate: float = option(5e-4, "learning rate of the critics", least=0)
    generator_learning_rate: float = option(5e-4, "learning rate of the generators", least=0)
    beta1: float = option(0.5, "decay of Adam's mean of gradients", least=0, below=1)
    beta2: float = option(0.999, "decay of Adam's mean of squared gradients", least=0, below=1)
    decay_at: float = option(
        0.8, "share of a scale's rounds after which the learning rates are a tenth", least=0, most=1
    )
    batch_size: int = option(1, "samples of one step, each with noise of its own", least=1)
    noise_padding: bool = option(
        False, "pad the noise with noise and not with zeros, for animation"
    )
    paint_scale: int = option(
        0, "scale that learns on pictures of few colours, for paint_to_image; 0 for none", least=0
    )
    dtype: str = option("float32", "type of the networks' arithmetic", choices=DTYPES)


def game(options: Options, spec: DataSpec) -> Game:
    pyramid = check(options, spec)
    channels, top = spec.shape[2], pyramid.scales - 1
    dtype, advance = compute_dtype(options), ("batch_stats",)
    widths = [
        min(options.features * 2 ** (n // options.double_every), options.max_features)
        for n in range(top + 1)
    ]
    critics = [nets.PatchNet(width, 1, dtype) for width in widths]
    generators = tuple(nets.Generator(width, dtype) for width in widths)
    ladder = nets.Ladder(generators, pyramid, spec.shape, options.noise_padding)
    shapes = ladder.shapes

    def make_fake(networks, n, num, key):
        """Random samples of scale n in training [num, h, w, C], and its generator's advanced collections."""
        noise = ladder.drawn(key, num)
        image = jnp.zeros((num, *shapes[0], channels))
        if n:
            below = ladder.climb(networks, noise, shapes[:n])
            image = jax.lax.stop_gradient(ladder.take(networks, n, below, shapes[n]))
        network = networks[f"generator{n}"]
        scaled = network["scale"]["amplitude"] * noise(n, shapes[n])
        return apply(generators[n], network, image, scaled, advance=advance)

    def critic_loss(n, params, variables, batch, key):
        noise_key, penalty_key = jax.random.split(key)
        networks, critic = joined(params, variables), critics[n]
        real = nets.resize(decode(batch["image"]), shapes[n])
        fake, _ = make_fake(networks, n, len(real), noise_key)
        # Real and generated pictures are normalised apart, each by their own statistics.
        network = networks[f"critic{n}"]
        real_logits, state = apply(critic, network, real, advance=advance)
        network = {**network, **state}
        fake_logits, state = apply(critic, network, fake, advance=advance)
        penalty = options.penalty_weight * nets.patch_penalty(
            lambda x: apply(critic, network, x)[0], real, fake, penalty_key
        )
        metrics = {"real": jnp.mean(real_logits), "fake": jnp.mean(fake_logits)}
        metrics |= {"penalty": penalty, "gap": metrics["real"] - metrics["fake"]}
        value = losses.wasserstein.critic(real_logits, fake_logits) + penalty
        return Loss(value, {f"critic{n}": state}, metrics)

    def generator_loss(n, params, variables, batch, key):
        networks = joined(params, variables)
        fake, state = make_fake(networks, n, len(batch["image"]), key)
        logits, _ = apply(critics[n], networks[f"critic{n}"], fake)
        network = {**networks[f"generator{n}"], **state}
        scale = network["scale"]
        noise = scale["amplitude"] * ladder.fixed(networks)(n, shapes[n])
        rebuilt, state = apply(generators[n], network, scale["below"][None], noise, advance=advance)
        real = nets.resize(ladder.picture(networks), shapes[n])
        error = jnp.mean(jnp.square(rebuilt - real))
        value = losses.wasserstein.generator(logits) + options.reconstruction_weight * error
        metrics = {"reconstruction_rmse": jnp.sqrt(error), "amplitude": scale["amplitude"]}
        return Loss(value, {f"generator{n}": state}, metrics)

    def enter(n, state, batch, key):
        """Keeps the picture; above scale 0, measures on it what lies below, and starts from the last networks."""
        del key
        params, variables = dict(state.params), dict(state.variables)

        def keep(name, collection, tree):
            variables[name] = {**variables[name], collection: tree}

        coarsest = {**variables["generator0"]["scale"], "level": jnp.int32(n)}
        if n == 0:
            coarsest["picture"] = batch["image"][0]
        keep("generator0", "scale", coarsest)
        if n == 0:
            return state.replace(variables=variables)
        networks = joined(params, variables)
        real = nets.resize(ladder.picture(networks), shapes[n])
        rebuilt = ladder.climb(networks, ladder.fixed(networks), shapes[:n])
        below = nets.resize(rebuilt, shapes[n])
        error = jnp.sqrt(jnp.mean(jnp.square(real - below)))
        scale = dict(variables[f"generator{n}"]["scale"])
        scale["amplitude"] = options.noise_amplitude * error
        if n == options.paint_scale:
            scale["palette"] = nets.palette(real[0])
            below = nets.quantise(below, scale["palette"])
        keep(f"generator{n}", "scale", {**scale, "below": below[0]})
        if widths[n] == widths[n - 1]:
            for kind in ("critic", "generator"):
                last, name = f"{kind}{n - 1}", f"{kind}{n}"
                # Copies: the state is donated.
                params[name] = jax.tree.map(jnp.copy, params[last])
                keep(name, "batch_stats", jax.tree.map(jnp.copy, variables[last]["batch_stats"]))
        return state.replace(params=params, variables=variables)

    def stage(n):
        turns = (
            Turn((f"critic{n}",), partial(critic_loss, n), "critic", repeat=options.critic_steps),
            Turn(
                (f"generator{n}",),
                partial(generator_loss, n),
                "generator",
                repeat=options.generator_steps,
                fresh_batch=False,
            ),
        )
        until = None if n == top else (n + 1) * options.steps_per_scale
        return Stage(turns, options.batch_size, until, enter=partial(enter, n))

    def optimizer(n, learning_rate):
        """Adam, at a tenth of the learning rate in the last part of the scale's rounds."""
        fall = round((n + options.decay_at) * options.steps_per_scale)
        schedule = optax.piecewise_constant_schedule(learning_rate, {fall: 0.1})
        return optax.chain(
            optax.scale_by_adam(options.beta1, options.beta2), scale_by_round(schedule)
        )

    def critic_player(n):
        patch = jnp.zeros((1, nets.RECEPTIVE_FIELD, nets.RECEPTIVE_FIELD, channels))
        return Player(
            lambda key: critics[n].init(key, patch),
            optimizer(n, options.critic_learning_rate),
            apply=lambda network, x, label: critics[n].apply(network, x, train=False),
        )

    def generator_player(n):
        def init(key):
            params_key, noise_key = jax.random.split(key)
            pixel = jnp.zeros((1, 1, 1, channels))
            born = generators[n].init(params_key, pixel, nets.border(pixel))
            scale = ladder.init_scale(n, noise_key)
            if n == options.paint_scale > 0:
                scale["palette"] = jnp.zeros((nets.COLOURS, channels))
            return {**born, "scale": scale}

        return Player(init, optimizer(n, options.generator_learning_rate))

    def generate(networks, key, num, labels, scale_from, noise):
        del labels
        image = None
        if scale_from:
            image = ladder.picture(networks)
        return ladder.samples(networks, key, num, noise=noise, start=scale_from, image=image)

    def transform(networks, key, batch):
        del key
        return jnp.broadcast_to(ladder.rebuild(networks), batch["image"].shape)

    return Game(
        players={
            **{f"critic{n}": critic_player(n) for n in range(top + 1)},
            **{f"generator{n}": generator_player(n) for n in range(top + 1)},
        },
        stages=tuple(stage(n) for n in range(top + 1)),
        generate=generate,
        sample_shape=spec.shape,
        options={
            "scale_from": Option(
                0,
                "scale into which the learnt picture is injected, counted from the coarsest; 0 for none",
                least=0,
                most=top,
            ),
            "noise": noise_option(),
        },
        transform=transform,
        tools=pyramid_tools(ladder, top),
    )


def check(options: Options, spec: DataSpec) -> nets.Pyramid:
    """The pyramid of a picture, or a sentence on why there is none."""
    if len(spec.shape) != 3 or spec.size != 1:
        found = f"{spec.size:,} pictures" if len(spec.shape) == 3 else "points"
        raise OptionError(
            None,
            None,
            f"singan learns one picture, and the data has {found}",
            {"data.name": "picture"},
        )
    check_limits(options)
    side = min(spec.shape[:2])
    if side < options.min_size:
        raise OptionError(
            "min_size",
            options.min_size,
            f"the picture has only {spec.shape[0]} x {spec.shape[1]} pixels",
            *([{"min_size": side}] if side >= nets.RECEPTIVE_FIELD else []),
            {"data.max_side": math.ceil(max(spec.shape[:2]) * options.min_size / side) + 1},
        )
    pyramid = nets.Pyramid.of(spec.shape[:2], options.min_size, options.scale_factor)
    if not 0 <= options.paint_scale < pyramid.scales:
        raise OptionError(
            "paint_scale",
            options.paint_scale,
            f"the scales of this pyramid are 0 to {pyramid.scales - 1}",
            {"paint_scale": pyramid.scales - 1},
        )
    return pyramid
