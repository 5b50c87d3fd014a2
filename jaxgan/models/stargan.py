"""StarGAN: one generator translates pictures between any number of domains, which are labels or sets of attributes.

Paper: Choi et al. 2018, "StarGAN: Unified Generative Adversarial Networks for Multi-Domain Image-to-Image Translation".
Reference implementation: the authors' yunjey/stargan (PyTorch).

    critic     E C(x') - E C(x) + domain_weight L(D(x), c) + penalty_weight E (||grad C(y)|| - 1)^2
    generator  -E C(x') + domain_weight L(D(x'), t) + cycle_weight E |x - G(x', c)|           x' = G(x, t)

x is a picture of the domain c, t the target domain, C the critic's logits of patches, D its second head, and y lies
between x and x'. L is the cross-entropy of labels, or the binary cross-entropy summed over attributes. Targets are the
domains of the batch in a random order, so that real and generated pictures of each domain are equally frequent, and
only sets of attributes occur that a picture has. A round has five steps of the critic and one of the generator.

The norm of the penalty is that of the gradient of the sum of a picture's logits, as in the authors' code, while the
loss has their mean (`penalty_of="sum"`). With "mean", which the other losses suggest, it is that of the gradient of the
mean, smaller by the number of patches: 4 at 128 pixels.

A translation changes the picture to the domain `target` of labels, or inverts the attribute `target` of its attributes;
of attributes that exclude each other (`exclusive`), it sets this one and removes the others, as the authors' code does
for colours of hair.

Intended differences: learning rates fall linearly to 0 in the second half of training, as in the paper; those of the
authors' code fall by 0.1 %. Each turn draws new targets; in their code the generator has those of the critic's last
step. Instance normalisation uses the statistics of each picture at test time too, as in their code (but for its running
averages, which it does not use). Biases start at 0. Training with the partial labels of two sets (their Section 3.2,
with a mask vector) is left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import adversarial, draws, losses, penalties, turns
from jaxgan.game import TARGET, TRANSLATIONS, Game, Loss, Output, Play, Player
from jaxgan.nets.labels import one_hot
from jaxgan.nets.stargan import Critic, Generator
from jaxgan.network import Network
from jaxgan.options import MOST_LAYERS, MOST_SIDE, OptionError, check, option
from jaxgan.spec import Field, Spec
from jaxgan.tools import compiled, domains
from jaxgan.tools.domains import Change


@dataclasses.dataclass(frozen=True)
class Options(adversarial.DecayingOptions):
    generator_width: int = option(64, "channels of the generator's first convolution", least=1)
    downs: int = option(2, "number of times that the generator halves a picture", least=1)
    blocks: int = option(6, "residual blocks of the generator", least=0, most=MOST_LAYERS)
    critic_width: int = option(64, "channels of the critic's first convolution", least=1)
    critic_layers: int = option(6, "number of times that the critic halves a picture", least=1)
    domain_weight: float = option(
        1.0, "weight of the classification of domains, of both players", least=0
    )
    cycle_weight: float = option(
        10.0, "weight of the mean absolute error of the picture translated back", least=0
    )
    penalty_weight: float = option(10.0, "weight of the gradient penalty", least=0)
    penalty_of: str = option(
        "sum",
        "what of a picture's logits the gradient penalty is of",
        choices=("sum", "mean"),
    )
    exclusive: tuple[str, ...] = option(
        ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair"),
        "names of attributes that exclude each other; names that the data lacks are ignored",
        empty=True,
    )
    batch_size: int = option(16, "real images per critic step", least=1)
    critic_steps: int = option(5, "critic steps per generator step", least=1)
    critic_learning_rate: float = option(1e-4, "learning rate of the critic", least=0)
    generator_learning_rate: float = option(1e-4, "learning rate of the generator", least=0)
    decay_after: int = 20_000
    decay_steps: int = 20_000


def game(options: Options, spec: Spec) -> Game:
    _check(options, spec)
    return StarGAN(options, spec).game()


@dataclasses.dataclass(frozen=True)
class StarGAN:
    """Networks, losses and outputs of the game for some options and data.

    A domain is a label, int32 [B], or attributes, int32 [B, K]. Networks are given `vector(domain)`.
    """

    options: Options
    spec: Spec

    @property
    def field(self) -> Field:
        """The field of the domain: of attributes if the data has them, or else of labels."""
        return self.spec[self.name]

    @property
    def name(self) -> str:
        return "attributes" if "attributes" in self.spec.fields else "label"

    @property
    def number(self) -> int:
        """Number of labels or attributes."""
        return self.field.number or 0

    def game(self) -> Game:
        options, spec = self.options, self.spec
        picture = jnp.zeros((2, *spec.shape), jnp.float32)
        vector = jnp.zeros((2, self.number), jnp.float32)
        dtype = adversarial.compute_dtype(options)
        generator = Generator(
            spec.shape[2], options.generator_width, options.downs, options.blocks, dtype
        )
        critic = Critic(self.number, options.critic_width, options.critic_layers, dtype)
        target = Field("label", number=self.number, names=self.field.names)
        return Game(
            players={
                "critic": Player(critic, (picture,), options.adam(options.critic_learning_rate)),
                "generator": Player(
                    generator,
                    (picture, vector),
                    options.adam(options.generator_learning_rate),
                    adversarial.average(options),
                ),
            },
            stages=turns.alternate(
                self.critic_loss, self.generator_loss, options.batch_size, options.critic_steps
            ),
            outputs={
                TRANSLATIONS: Output(
                    self.translations,
                    spec.shape,
                    ("image", self.name, TARGET),
                    fields={TARGET: target},
                )
            },
            spec=spec,
            tools={"domains": domains.tool(self.every_domain, spec.shape[2])},
            shown=("generator/accuracy",),
        )

    # Domains ----------------------------------------------------------------------------------------------

    def vector(self, domain: jax.Array) -> jax.Array:
        """A domain as float32 [B, K]: a label as one-hot, attributes as 0 and 1."""
        if self.name == "attributes":
            return domain.astype(jnp.float32)
        return one_hot(domain, self.number)

    def classification(self, logits: jax.Array, domain: jax.Array) -> jax.Array:
        """L(D(x), c): the loss of the critic's second head."""
        if self.name == "attributes":
            return losses.attribute_classifier(logits, domain)
        return losses.auxiliary_classifier(logits, domain)

    def accuracy(self, logits: jax.Array, domain: jax.Array) -> jax.Array:
        """The share of right labels, or of right attributes, of the critic's second head."""
        if self.name == "attributes":
            return jnp.mean((logits > 0) == (domain > 0), dtype=jnp.float32)
        return jnp.mean(jnp.argmax(logits, axis=1) == domain, dtype=jnp.float32)

    def targets(self, play: Play) -> jax.Array:
        """The domains of the batch in a random order."""
        return draws.permuted(play.rng("target"), play.batch[self.name])

    # Losses -----------------------------------------------------------------------------------------------

    def critic_loss(self, play: Play) -> Loss:
        options, critic = self.options, play.moving("critic")
        x, domain = play.batch["image"], play.batch[self.name]
        made = play.networks["generator"](x, self.vector(self.targets(play)))
        made = jax.lax.stop_gradient(made)
        judged = critic(jnp.concatenate([x, made]))
        real, fake = jnp.split(judged.logits, 2)
        classification = self.classification(judged.domain[: play.num], domain)
        penalty = penalties.gradient_penalty(
            lambda y: self.score(critic.frozen, y), x, made, play.rng("penalty")
        )
        value = (
            losses.wasserstein.critic(real, fake)
            + options.domain_weight * classification
            + options.penalty_weight * penalty
        )
        means = {"real": jnp.mean(real), "fake": jnp.mean(fake)}
        return Loss(
            value,
            {
                **means,
                "gap": means["real"] - means["fake"],
                "classification": classification,
                "penalty": penalty,
                "accuracy": self.accuracy(judged.domain[: play.num], domain),
            },
        )

    def score(self, critic: Network, x: jax.Array) -> jax.Array:
        """One number for each picture, whose gradient is penalised: [B]."""
        reduce = jnp.sum if self.options.penalty_of == "sum" else jnp.mean
        return reduce(critic(x).logits, axis=(1, 2))

    def generator_loss(self, play: Play) -> Loss:
        options, generator = self.options, play.moving("generator")
        x, domain, target = play.batch["image"], play.batch[self.name], self.targets(play)
        made = generator(x, self.vector(target))
        judged = play.networks["critic"](made)
        parts = {
            "adversarial": losses.wasserstein.generator(judged.logits),
            "classification": self.classification(judged.domain, target),
            "cycle": losses.cycle(x, generator(made, self.vector(domain))),
        }
        value = (
            parts["adversarial"]
            + options.domain_weight * parts["classification"]
            + options.cycle_weight * parts["cycle"]
        )
        return Loss(value, {**parts, "accuracy": self.accuracy(judged.domain, target)})

    # Translations -----------------------------------------------------------------------------------------

    @property
    def change(self) -> Change:
        """The domain after a change."""
        if self.name == "label":
            return Change(self.number)
        names = self.field.names
        return Change(
            self.number,
            attributes=True,
            exclusive=tuple(i for i, name in enumerate(names) if name in self.options.exclusive),
        )

    def translations(self, play: Play) -> jax.Array:
        """The output: each picture with the change `target`."""
        batch = play.batch
        domain = self.change(batch[self.name], batch[TARGET])
        return play.networks["generator"](batch["image"], self.vector(domain))

    def every_domain(self, play: Play, pictures: np.ndarray) -> np.ndarray:
        """Pictures [N, H, W, C] with every change, [N, K, H, W, C], for the tool.

        The attributes of a picture are those that the critic finds.
        """
        self._check_picture(pictures.shape[1:])
        return np.asarray(compiled(self._every_domain, play.networks, pictures))

    def _every_domain(self, networks: Mapping[str, Network], pictures: jax.Array) -> jax.Array:
        num = len(pictures)
        domain = jnp.zeros(num, jnp.int32)
        if self.name == "attributes":
            domain = (networks["critic"](pictures).domain > 0).astype(jnp.int32)

        def translated(target: int) -> jax.Array:
            changed = self.change(domain, jnp.full(num, target, jnp.int32))
            return networks["generator"](pictures, self.vector(changed))

        return jnp.stack([translated(target) for target in range(self.number)], axis=1)

    def _check_picture(self, shape: tuple[int, ...]) -> None:
        own, multiple = self.spec.shape, 2**self.options.downs
        if self.name == "attributes" and shape[:2] != own[:2]:
            raise ValueError(
                f"the picture is {shape[0]}x{shape[1]}, but the critic, which finds its attributes, was trained on"
                f" {own[0]}x{own[1]}; resize it to that."
            )
        if any(side % multiple for side in shape[:2]):
            near = [max(1, round(side / multiple)) * multiple for side in shape[:2]]
            raise ValueError(
                f"the picture is {shape[0]}x{shape[1]}, but this generator halves {self.options.downs} times, so both"
                f" sides must be multiples of {multiple} pixels; resize it to {near[0]}x{near[1]}."
            )


def _check(options: Options, spec: Spec) -> None:
    """Raises unless the data has pictures of several domains, of a size that the networks support."""
    check(options)
    spec.require("stargan", image="image")
    domains.check_domains("stargan", spec)
    height, width, _ = spec.shape
    for name, of in (("downs", "generator"), ("critic_layers", "critic")):
        value = getattr(options, name)
        multiple = 2**value
        if height % multiple or width % multiple:
            most = max(n for n in range(value) if height % 2**n == width % 2**n == 0)
            side = max(multiple, round(min(height, width) / multiple) * multiple)
            fixes: list[dict] = [{name: most}] if most else []
            if side <= MOST_SIDE:
                fixes.append({"data.resolution": side})
            raise OptionError(
                name,
                value,
                f"the {of} then needs sides that are multiples of {multiple} pixels, and the data has"
                f" {height}x{width}",
                *fixes,
            )
