"""SinGAN: a pyramid of small GANs trained on one picture, for generating pictures of any size and for editing.

Paper: Shaham et al. 2019, "SinGAN: Learning a Generative Model from a Single Natural Image". Reference implementation:
tamarott/SinGAN (PyTorch).

    x_n = x + tanh(net(amplitude_n z_n + x)),    x = x_(n-1) enlarged    (Eq. 3, 4)

Each scale has a generator and a critic of 11x11 patches. They are trained in their own stage, with the scales below
frozen. Scales are numbered from the coarsest, 0, whose x is black; the paper numbers them from the finest. The
generators are also trained to reconstruct the picture from one fixed z* at scale 0 and zero noise at the other scales
(Eq. 6). The amplitude of a scale's noise is proportional to the error of the reconstruction by the scales below. The
picture and z* are state of generator 0, so that outputs of a checkpoint need no data.

Intended differences: z* is drawn once, as in the paper (the reference draws it again in each round of the coarsest
scale); every generator step has its own sample (in the reference three steps share one that is made before the first of
them, whose gradient PyTorch refuses since 1.5); pictures change size between known shapes, in float pixels (the
reference rounds them to 8 bits, mirrors at edges, rounds sizes up and crops); the number of scales is the one whose
factor is closest to `scale_factor`, as the paper says (the reference takes one or two more for pictures given at their
final size). Convolutions before batch normalisation have no bias, gains start at 1 and not at N(1, 0.02), the output's
bias at 0. The borders of masks are in proportion to the picture. Super-resolution uses the pyramid's own factor, where
the reference trains another pyramid of factor 2^(-1/3).
"""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import optax

from jaxgan import losses, turns
from jaxgan.adversarial import DTYPES, compute_dtype
from jaxgan.game import Game, Loss, Output, Play, Player, Stage, State, Turn
from jaxgan.nets import singan as nets
from jaxgan.network import Network
from jaxgan.options import OptionError, option
from jaxgan.options import check as check_limits
from jaxgan.schedules import Ramp
from jaxgan.spec import Spec
from jaxgan.tools.pyramid import pyramid_tools, sampling


@dataclasses.dataclass(frozen=True)
class Options:
    min_size: int = option(
        25,
        "shorter side of the coarsest picture in pixels; a patch of the critic has 11",
        least=nets.RECEPTIVE_FIELD,
    )
    scale_factor: float = option(
        0.75,
        "approximate ratio of the sides of a scale to those of the next finer one",
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
        "standard deviation of a scale's noise, as a multiple of the RMSE of the reconstruction by the scales below",
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
        0.8,
        "share of a scale's rounds after which the learning rates are divided by 10",
        least=0,
        most=1,
    )
    batch_size: int = option(1, "samples per step, each with its own noise", least=1)
    noise_padding: bool = option(False, "pad the noise with noise instead of zeros, for animation")
    paint_scale: int = option(
        0,
        "scale whose input is quantised to a few colours in training, for paint_to_image; 0 for none",
        least=0,
    )
    dtype: str = option("float32", "dtype of the networks' arithmetic", choices=DTYPES)


def game(options: Options, spec: Spec) -> Game:
    pyramid = check(options, spec)
    height, width, channels = spec.shape
    shape = (height, width, channels)
    ladder = nets.Ladder(pyramid, shape, options.noise_padding, options.paint_scale)
    singan, scales = SinGAN(options, ladder), range(pyramid.scales)
    return Game(
        players={
            **{f"critic{n}": singan.critic(n) for n in scales},
            **{f"generator{n}": singan.generator(n) for n in scales},
        },
        stages=tuple(singan.stage(n) for n in scales),
        outputs={
            "samples": Output(singan.samples, spec.shape, options=sampling(ladder.top)),
            "transforms": Output(singan.transforms, spec.shape),
        },
        spec=spec,
        tools=pyramid_tools(ladder),
    )


@dataclasses.dataclass(frozen=True)
class SinGAN:
    """Players, stages, losses and outputs of the game; `n` is the number of a scale."""

    options: Options
    ladder: nets.Ladder

    def width(self, n: int) -> int:
        """Channels of the networks."""
        options = self.options
        return min(options.features * 2 ** (n // options.double_every), options.max_features)

    def critic(self, n: int) -> Player:
        patch = jnp.zeros(
            (1, nets.RECEPTIVE_FIELD, nets.RECEPTIVE_FIELD, self.ladder.shape[2]), jnp.float32
        )
        return Player(
            nets.PatchNet(self.width(n), 1, compute_dtype(self.options)),
            (patch,),
            self.optimizer(self.options.critic_learning_rate),
            score=lambda network, x, label: network(x, train=False),
        )

    def generator(self, n: int) -> Player:
        """The generator, with the collection "scale" of `nets.Ladder`."""
        pixel = jnp.zeros((1, 1, 1, self.ladder.shape[2]), jnp.float32)
        return Player(
            nets.Generator(self.width(n), compute_dtype(self.options)),
            (pixel, nets.border(pixel)),
            self.optimizer(self.options.generator_learning_rate),
            collections=partial(self.ladder.init_scale, n),
        )

    def optimizer(self, learning_rate: float) -> optax.GradientTransformation:
        """Adam, at a tenth of the learning rate in the last part of each scale's rounds."""
        fall = round(self.options.decay_at * self.options.steps_per_scale)
        rate = Ramp(learning_rate, learning_rate / 10, over=0, after=fall, unit="stage_step")
        beta1, beta2 = self.options.beta1, self.options.beta2
        return turns.scheduled(optax.adam, learning_rate=rate, b1=beta1, b2=beta2)

    def fake(self, n: int, play: Play, generator: Network) -> jax.Array:
        """Random samples of the scale in training, [num, h, w, C]."""
        ladder, networks, shape = self.ladder, play.networks, self.ladder.shapes[n]
        noise = ladder.random_noise(play.rng("noise"), play.num)
        if n:
            below = ladder.climb(networks, noise, ladder.shapes[:n])
            image = ladder.as_input(networks, n, below, shape)
        else:
            image = jnp.zeros((play.num, *shape, ladder.shape[2]), jnp.float32)
        return generator(image, generator["scale"]["amplitude"] * noise(n, shape))

    def critic_loss(self, n: int, play: Play) -> Loss:
        critic = play.moving(f"critic{n}")
        real = nets.resize(play.batch["image"], self.ladder.shapes[n])
        fake = self.fake(n, play, play.networks[f"generator{n}"])
        # Two calls: real and generated pictures are each normalised by their own statistics.
        real_logits, fake_logits = critic(real), critic(fake)
        penalty = self.options.penalty_weight * nets.patch_penalty(
            critic.frozen, real, fake, play.rng("penalty")
        )
        metrics = {"real": jnp.mean(real_logits), "fake": jnp.mean(fake_logits)}
        metrics |= {"penalty": penalty, "gap": metrics["real"] - metrics["fake"]}
        return Loss(losses.wasserstein.critic(real_logits, fake_logits) + penalty, metrics)

    def generator_loss(self, n: int, play: Play) -> Loss:
        ladder, generator = self.ladder, play.moving(f"generator{n}")
        logits = play.networks[f"critic{n}"](self.fake(n, play, generator))
        scale, shape = generator["scale"], ladder.shapes[n]
        noise = scale["amplitude"] * ladder.fixed_noise(play.networks)(n, shape)
        rebuilt = generator(scale["below"][None], noise)
        real = nets.resize(ladder.picture(play.networks), shape)
        error = jnp.mean(jnp.square(rebuilt - real))
        value = losses.wasserstein.generator(logits) + self.options.reconstruction_weight * error
        metrics = {"reconstruction_rmse": jnp.sqrt(error), "amplitude": scale["amplitude"]}
        return Loss(value, metrics)

    def stage(self, n: int) -> Stage:
        options = self.options
        critic = Turn(
            (f"critic{n}",), partial(self.critic_loss, n), "critic", repeat=options.critic_steps
        )
        generator = Turn(
            (f"generator{n}",),
            partial(self.generator_loss, n),
            "generator",
            repeat=options.generator_steps,
            fresh_batch=False,
        )
        return Stage(
            (critic, generator),
            options.batch_size,
            until=None if n == self.ladder.top else (n + 1) * options.steps_per_scale,
            enter=partial(self.start_scale, n) if n else self.keep_picture,
        )

    def keep_picture(self, state: State, play: Play) -> State:
        """Stores the picture with generator 0."""
        generator = play.networks["generator0"]
        scale = {**generator["scale"], "picture": play.batch["image"][0]}
        return replaced(state, {"generator0": generator.replace(scale=scale)})

    def start_scale(self, n: int, state: State, play: Play) -> State:
        """Sets the amplitude of the noise; copies the networks of the scale below if they have the same width."""
        ladder, networks, shape = self.ladder, play.networks, self.ladder.shapes[n]
        generator, critic = networks[f"generator{n}"], networks[f"critic{n}"]
        real = nets.resize(ladder.picture(networks), shape)
        noise = ladder.fixed_noise(networks)
        below = nets.resize(ladder.climb(networks, noise, ladder.shapes[:n]), shape)
        error = jnp.sqrt(jnp.mean(jnp.square(real - below)))
        scale = {**generator["scale"], "amplitude": self.options.noise_amplitude * error}
        if n == ladder.paint_scale:
            scale["palette"] = nets.palette(real[0])
            below = nets.quantise(below, scale["palette"])
        scale["below"] = below[0]
        if self.width(n) == self.width(n - 1):
            last = networks[f"generator{n - 1}"], networks[f"critic{n - 1}"]
            # Copies: the state is donated, and a buffer can be donated only once.
            generator, critic = jax.tree.map(jnp.copy, last)
        generator = generator.replace(scale=scale)
        return replaced(state, {f"generator{n}": generator, f"critic{n}": critic})

    def samples(self, play: Play, scale_from: int, noise: float) -> jax.Array:
        """Random samples; with `scale_from`, by the scales from that one on, applied to the picture."""
        level = nets.level_at(play.clock)
        return self.ladder.samples(
            play.networks, level, play.key, play.num, start=scale_from, noise=noise
        )

    def transforms(self, play: Play) -> jax.Array:
        """The reconstruction, repeated for each row."""
        rebuilt = self.ladder.reconstruct(play.networks, nets.level_at(play.clock))
        return jnp.broadcast_to(rebuilt, (play.num, *self.ladder.shape))


def replaced(state: State, networks: dict[str, Network]) -> State:
    """The state with the variables of these networks."""
    return state.replace(
        params={**state.params, **{name: x.params for name, x in networks.items()}},
        variables={**state.variables, **{name: x.state for name, x in networks.items()}},
    )


def check(options: Options, spec: Spec) -> nets.Pyramid:
    """The pyramid of a picture; raises if the options and the data allow none."""
    if not spec.pictures or spec.size != 1:
        found = f"{spec.size:,} pictures" if spec.pictures else "points"
        raise OptionError(
            None,
            None,
            f"singan is trained on one picture, but the data has {found}",
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
            {
                "data.resolution": options.min_size
            },  # a small picture is enlarged by this option only
        )
    height, width, _ = spec.shape
    pyramid = nets.Pyramid.of((height, width), options.min_size, options.scale_factor)
    if not 0 <= options.paint_scale < pyramid.scales:
        raise OptionError(
            "paint_scale",
            options.paint_scale,
            f"the scales of this pyramid are 0 to {pyramid.scales - 1}",
            {"paint_scale": pyramid.scales - 1},
        )
    return pyramid
