"""StarGAN v2: translates pictures between domains in many styles, each of a latent or of a reference picture.

Paper: Choi et al. 2020, "StarGAN v2: Diverse Image Synthesis for Multiple Domains". Reference implementation: the
authors' clovaai/stargan-v2 (PyTorch, not for commercial use), of which only published facts are used here.

    s = F(z, t) (latent) or E(r, t) (reference)      x' = G(x, s)

    critic     E softplus(-D(x, c)) + E softplus(D(x', t)) + r1_weight / 2 E ||grad D(x, c)||^2
    generator  E softplus(-D(x', t)) + style_weight |E(x', t) - s| + cycle_weight |G(x', E(x, c)) - x|
               - diversity_weight |x' - G(x, s2)|

x is a picture of the domain c, t the target domain, r a picture of it, and s2 the style of another latent or reference.
Distances are means over all numbers. A round has four turns on one batch: the critic's and the generator's, each guided
by latents and by references. Guided by latents, generator, mapping network F and style encoder E move together; guided
by references, only the generator does. The weight of the diversity falls linearly to 0 in `diversity_steps` rounds, and
then stays there. The decays of Adam's L2 penalty are added to the gradients, before Adam's moments (not decoupled).

References come from the batch itself: in a random order, each picture is the reference of one picture, and its label
the target. The second reference is another picture of that domain in the batch; if there is none, it is the first one
again, and the diversity of that row is 0. So real and generated pictures of a domain are equally frequent in each batch
whatever the frequencies of the data, and a turn needs no second batch. In batches of 8 with two equal domains, 0.8 % of
the pictures are alone in theirs; use larger batches for more domains.

Intended differences: the authors' references are separate draws, balanced over the domains, as are their pictures; here
both follow the data. Each turn draws new targets, references and latents. Averages start from the initial weights (the
authors' start from other ones). With `high_pass` the skip connections are those of the paper for faces, but without
their masks, which a network for facial landmarks makes: they apply everywhere. No parameters are kept for the shortcuts
that the decoder then does not have (172,032 at 256 pixels). Pictures are mirrored and cropped by the options of the
data. Outputs are clipped to [-1, 1], which the generator's are not limited to.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan import adversarial, draws, losses, penalties, turns
from jaxgan.game import (
    LATENT_GUIDED,
    REFERENCE,
    REFERENCE_GUIDED,
    TARGET,
    Game,
    Loss,
    Output,
    Play,
    Player,
    Stage,
    Turn,
)
from jaxgan.nets import stargan2 as nets
from jaxgan.options import MOST_COMPONENTS, OptionError, check, option
from jaxgan.schedules import Ramp, Schedule, at
from jaxgan.spec import Field, Spec
from jaxgan.tools import domains, styles

GUIDES = (LATENT_GUIDED, REFERENCE_GUIDED)


@dataclasses.dataclass(frozen=True)
class Options:
    latent_dim: int = option(16, "components of the latent vector", least=1, most=MOST_COMPONENTS)
    style_dim: int = option(64, "components of a style", least=1, most=MOST_COMPONENTS)
    mapping_width: int = option(512, "width of the mapping network's layers", least=1)
    width: int = option(
        0, "channels at the size of the pictures; 0 for 2^14 / side, as in the paper", least=0
    )
    width_max: int = option(512, "largest number of channels", least=1)
    downs: int = option(
        0,
        "number of times that the generator halves a picture; 0 for as many as lead to 16 x 16, or 8 x 8 with"
        " high_pass, and at least 1",
        least=0,
    )
    high_pass: float = option(
        0.0,
        "divisor of the high-pass filter in skip connections of the generator; 0 for no skip connections",
        least=0,
    )
    r1_weight: float = option(
        1.0, "weight of half the critic's squared gradient norm on real pictures", least=0
    )
    style_weight: float = option(
        1.0,
        "weight of the mean absolute error of the style that is found in a translation",
        least=0,
    )
    cycle_weight: float = option(
        1.0, "weight of the mean absolute error of the picture translated back", least=0
    )
    diversity_weight: float = option(
        1.0, "weight of the mean absolute difference of two translations at the start", least=0
    )
    diversity_steps: int = option(
        100_000,
        "rounds in which diversity_weight falls linearly to 0, where it stays; 0 keeps it constant",
        least=0,
    )
    batch_size: int = option(8, "real images per round", least=2)
    learning_rate: float = option(
        1e-4, "learning rate of all networks but the mapping network", least=0
    )
    mapping_learning_rate: float = option(1e-6, "learning rate of the mapping network", least=0)
    beta1: float = option(0.0, "decay of Adam's mean of gradients", least=0, below=1)
    beta2: float = option(0.99, "decay of Adam's mean of squared gradients", least=0, below=1)
    weight_decay: float = option(
        1e-4, "weight of the parameters that is added to their gradients", least=0
    )
    ema_half_life_kimg: float = option(
        5.542,
        "half-life of the averages of generator, mapping network and style encoder in kimg (thousands of real images),"
        " 693 rounds of 8; 0 keeps none",
        least=0,
    )
    dtype: str = option(
        "float32",
        "dtype of the arithmetic of all networks but the mapping network",
        choices=adversarial.DTYPES,
    )


def game(options: Options, spec: Spec) -> Game:
    _check(options, spec)
    return StarGAN2(options, spec).game()


@dataclasses.dataclass(frozen=True)
class StarGAN2:
    """Networks, losses and outputs of the game for some options and data; a guide is one of `GUIDES`."""

    options: Options
    spec: Spec

    @property
    def domains(self) -> int:
        """K."""
        return self.spec["label"].number or 0

    def game(self) -> Game:
        options, spec = self.options, self.spec
        fields = {TARGET: Field("label", number=self.domains, names=spec["label"].names)}
        return Game(
            players=self.players(),
            stages=(Stage(self.turns(), options.batch_size),),
            outputs={
                LATENT_GUIDED: Output(
                    partial(self.translations, guide=LATENT_GUIDED),
                    spec.shape,
                    ("image", TARGET),
                    fields=fields,
                ),
                REFERENCE_GUIDED: Output(
                    partial(self.translations, guide=REFERENCE_GUIDED),
                    spec.shape,
                    ("image", TARGET, REFERENCE),
                    fields={**fields, REFERENCE: spec["image"]},
                ),
            },
            spec=spec,
            tools=styles.tools(options.latent_dim, spec),
            shown=("generator_latent/diversity", "generator_latent/cycle"),
        )

    def players(self) -> dict[str, Player]:
        options, spec = self.options, self.spec
        picture, domain = jnp.zeros((2, *spec.shape), jnp.float32), jnp.zeros(2, jnp.int32)
        latent, style = (
            jnp.zeros((2, dim), jnp.float32) for dim in (options.latent_dim, options.style_dim)
        )
        average, dtype = adversarial.average(options), adversarial.compute_dtype(options)
        whole = int(np.log2(spec.shape[0] // nets.SMALLEST))
        heads = partial(nets.PictureHeads, self.domains, widths=self.widths(whole), dtype=dtype)
        generator = nets.Generator(
            spec.shape[2], self.widths(halvings(options, spec)), options.high_pass, dtype
        )
        mapping = nets.Mapping(self.domains, options.style_dim, options.mapping_width)
        fast, slow = self.optimizer(options.learning_rate), options.mapping_learning_rate
        return {
            "critic": Player(heads(1), (picture, domain), fast),
            "generator": Player(generator, (picture, style), fast, average),
            "mapping": Player(mapping, (latent, domain), self.optimizer(slow), average),
            "style_encoder": Player(heads(options.style_dim), (picture, domain), fast, average),
        }

    def widths(self, downs: int) -> tuple[int, ...]:
        """Channels of a network with so many halvings."""
        return nets.widths(self.spec.shape[0], self.options.width, self.options.width_max, downs)

    def optimizer(self, learning_rate: float) -> optax.GradientTransformation:
        """Adam of the gradients plus `weight_decay` times the parameters."""
        options = self.options
        return optax.chain(
            optax.add_decayed_weights(options.weight_decay),
            optax.adam(learning_rate, options.beta1, options.beta2),
        )

    def turns(self) -> tuple[Turn, ...]:
        """Critic and generator guided by latents and by references, all on one batch."""
        movers = {
            LATENT_GUIDED: ("generator", "mapping", "style_encoder"),
            REFERENCE_GUIDED: ("generator",),
        }
        critics = [
            Turn(
                ("critic",),
                partial(self.critic_loss, guide=guide),
                f"critic_{guide}",
                fresh_batch=guide == GUIDES[0],
            )
            for guide in GUIDES
        ]
        generators = [
            Turn(
                movers[guide],
                partial(self.generator_loss, guide=guide),
                f"generator_{guide}",
                fresh_batch=False,
            )
            for guide in GUIDES
        ]
        return (*critics, *generators)

    # Styles -----------------------------------------------------------------------------------------------

    def two_styles(self, play: Play, guide: str) -> tuple[jax.Array, jax.Array, jax.Array]:
        """(target domain [B], style [B, S] of it, another style of it) for the pictures of the batch."""
        label = jnp.asarray(play.batch["label"])
        first, second = references(play.rng("reference"), label)
        target = draws.over_devices(label[first])
        if guide == LATENT_GUIDED:
            shape = (play.num, self.options.latent_dim)
            latents = (draws.normal(play.rng(name), shape) for name in ("latent", "other latent"))
            one, other = (play.networks["mapping"](latent, target) for latent in latents)
        else:
            # One gather of both, so that pictures move between devices once.
            pictures = jnp.take(play.batch["image"], jnp.stack([first, second], axis=1), axis=0)
            pictures = draws.over_devices(pictures)
            one, other = (
                play.networks["style_encoder"](pictures[:, which], target) for which in (0, 1)
            )
        return target, one, other

    # Losses -----------------------------------------------------------------------------------------------

    def critic_loss(self, play: Play, guide: str) -> Loss:
        x, domain, critic = play.batch["image"], play.batch["label"], play.moving("critic")
        target, style, _ = self.two_styles(play, guide)
        made = jax.lax.stop_gradient(play.networks["generator"](x, style))
        # Side by side, each row on the device that has it: one after the other, half of them would move.
        both = jnp.stack([x, made], axis=1).reshape(-1, *x.shape[1:])
        logits = critic(both, jnp.stack([domain, target], axis=1).reshape(-1))
        real, fake = logits.reshape(-1, 2).T
        r1 = penalties.r1(lambda x: critic.frozen(x, domain), x)
        value = losses.non_saturating.critic(real, fake) + self.options.r1_weight * r1
        means = {"real": jnp.mean(real), "fake": jnp.mean(fake)}
        return Loss(value, {**means, "gap": means["real"] - means["fake"], "r1": r1})

    def generator_loss(self, play: Play, guide: str) -> Loss:
        options, networks = self.options, play.networks
        x, domain = play.batch["image"], play.batch["label"]
        generator, encoder = play.moving("generator"), networks["style_encoder"]
        target, style, other = self.two_styles(play, guide)
        made = generator(x, style)
        apart = jax.lax.stop_gradient(generator(x, other))
        parts = {
            "adversarial": losses.non_saturating.generator(networks["critic"](made, target)[:, 0]),
            "style": jnp.mean(jnp.abs(encoder(made, target) - style)),
            "diversity": jnp.mean(jnp.abs(made - apart)),
            "cycle": losses.cycle(x, generator(made, encoder(x, domain))),
        }
        weight = at(self.diversity_weight, play.clock)
        value = (
            parts["adversarial"]
            + options.style_weight * parts["style"]
            + options.cycle_weight * parts["cycle"]
            - weight * parts["diversity"]
        )
        return Loss(value, {**parts, "diversity_weight": weight})

    @property
    def diversity_weight(self) -> Schedule:
        """The weight of the diversity, which falls to 0 and stays there."""
        weight, steps = self.options.diversity_weight, self.options.diversity_steps
        return Ramp(weight, 0.0, over=steps, unit="step") if steps else weight

    # Outputs ----------------------------------------------------------------------------------------------

    def translations(self, play: Play, guide: str) -> jax.Array:
        """The outputs: each picture in the domain `target`, in the style of a latent or of the picture `reference`."""
        batch, networks = play.batch, play.networks
        if guide == LATENT_GUIDED:
            latent = turns.latents(play, play.num, self.options.latent_dim)
            style = networks["mapping"](latent, batch[TARGET])
        else:
            style = networks["style_encoder"](batch[REFERENCE], batch[TARGET])
        return styles.painted(networks, batch["image"], style)


def references(key: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(first, second) references among the rows of a batch, int32 [B] each: two pictures of one domain for each row.

    The first ones are the rows in a random order. The second one is drawn from the other rows with the same label, or
    is the first one if there are none.

    Args:
      key: random key.
      label: of the rows, int32 [B].
    """
    order_key, pair_key = jax.random.split(key)
    num = label.shape[0]
    first = jax.random.permutation(order_key, num)
    same = label[first][:, None] == label[None]
    other = same & (first[:, None] != jnp.arange(num)[None])
    drawn = jnp.where(other, draws.uniform(pair_key, (num, num)), -1.0)
    second = jnp.where(jnp.any(other, axis=1), jnp.argmax(drawn, axis=1), first)
    return first.astype(jnp.int32), second.astype(jnp.int32)


def halvings(options: Options, spec: Spec) -> int:
    """Number of times that the generator halves a picture."""
    smallest = 8 if options.high_pass else 16
    return options.downs or max(1, int(np.log2(spec.shape[0] / smallest)))


def _check(options: Options, spec: Spec) -> None:
    """Raises unless the data has pictures of several domains, of a size that the networks support."""
    check(options)
    spec.require("stargan2", image="image")
    domains.check_domains("stargan2", spec, attributes=False)
    height, width, _ = spec.shape
    if height != width or height < 8 or height & (height - 1):
        nearest = 1 << max(3, round(np.log2(min(height, width))))
        raise OptionError(
            None,
            None,
            f"stargan2 translates square pictures of a power of two pixels, from 8; those of the data are {height} x"
            f" {width}",
            {"data.resolution": nearest},
        )
    most = int(np.log2(height)) - 1
    if options.downs > most:
        raise OptionError(
            "downs",
            options.downs,
            f"pictures of {height} pixels can be halved {most} times, to 2",
            {"downs": most},
        )
