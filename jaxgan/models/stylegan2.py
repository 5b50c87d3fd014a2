"""StyleGAN2 with adaptive discriminator augmentation (ADA).

Papers: Karras et al. 2019, "A Style-Based Generator Architecture for Generative Adversarial Networks" (mapping, noise,
style mixing, truncation); Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN" (demodulation,
skips and residuals, path length, lazy regularisation); Karras et al. 2020, "Training Generative Adversarial Networks
with Limited Data" (ADA, class conditioning, the CIFAR-10 settings).
Reference implementation: rosinality/stylegan2-pytorch (PyTorch, MIT), for networks and losses; written from the papers.

Intended differences: whether two latents are mixed, and where, is drawn for each image and not for a batch. The mean
path length is a constant to the gradient, as in the paper (the reference's depends on the batch's own lengths).
Generated pictures are conditioned on the labels of the batch, which are distributed as the data's. The minibatch
standard deviation forms its groups in the global batch. ADA resamples geometry as `jaxgan.augment.ada` tells. Nothing
is clamped in low precision: bfloat16 has float32's range.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import optax

from jaxgan import adversarial, augment, draws, losses, penalties
from jaxgan.game import DataSpec, Game, Loss, Player, Stage, Turn
from jaxgan.nets import modulated, stylegan2
from jaxgan.options import Option, OptionError, check, option
from jaxgan.tools import latents

AUGMENTATIONS = ("adaptive", "fixed", "off")


@dataclasses.dataclass(frozen=True)
class Options:
    latent_dim: int = option(512, "components of the latent vector z", least=1)
    style_dim: int = option(512, "components of a style w", least=1)
    mapping_layers: int = option(8, "layers of the mapping network, from z to w", least=1)
    mapping_lr_multiplier: float = option(
        0.01, "learning rate of the mapping network, as a factor of learning_rate", least=1e-6
    )
    critic_mapping_layers: int = option(
        8,
        "layers of the label's mapping in a conditional critic: 8 as in ADA's code for PyTorch; 0, as in its first"
        " release, leaves the normalised embedding",
        least=0,
    )
    channel_base: int = option(
        32_768, "a layer has channel_base / resolution channels, but at most channel_max", least=1
    )
    channel_max: int = option(512, "most channels of a layer", least=1)
    critic: str = option(
        "residual", "architecture of the critic's blocks", choices=stylegan2.CRITICS
    )
    minibatch_std_group: int = option(
        4, "images of a group of the minibatch standard deviation; 0 for the whole batch", least=0
    )
    conditional: bool = option(False, "condition both networks on the labels of the data")
    batch_size: int = option(32, "real images of one critic step", least=1)
    learning_rate: float = option(0.002, "learning rate of both networks", least=0)
    beta1: float = option(0.0, "decay of Adam's mean of gradients", least=0, below=1)
    beta2: float = option(0.99, "decay of Adam's mean of squared gradients", least=0, below=1)
    r1_gamma: float = option(
        10.0,
        "weight of R1, the squared gradient of the critic on real pictures; 0 for none",
        least=0,
    )
    r1_every: int = option(16, "rounds between two plays of R1", least=1)
    # 2 is the paper's log 2 / (r^2 (log r - log 2)) = 2 / (r^2 num_styles), which sums over layers and does not scale.
    path_weight: float = option(
        2.0,
        "weight of the squared deviation of path lengths, averaged over the layers, for noise scaled by 1 / resolution;"
        " 0 for none",
        least=0,
    )
    path_every: int = option(
        4, "rounds between two plays of the path length's regularisation", least=1
    )
    path_batch_shrink: int = option(
        2, "batch_size as a multiple of the batch of the path length's regularisation", least=1
    )
    path_mean_decay: float = option(
        0.99, "decay of the mean path length, per play", least=0, most=1
    )
    mixing: float = option(
        0.9,
        "share of the images whose layers take their styles from two latents: from one up to a random layer, from the"
        " other after it",
        least=0,
        most=1,
    )
    average_style_decay: float = option(
        0.995,
        "decay of the mean of w, which truncation uses, per step of the generator",
        least=0,
        most=1,
    )
    ema_half_life_kimg: float = option(
        10.0,
        "half-life of the averaged generator in kimg (thousands of real images); 0 keeps none",
        least=0,
    )
    ema_ramp_up: float = option(
        0.05, "the half-life is at most this share of the images seen; 0 for no limit", least=0
    )
    augmentation: str = option(
        "adaptive",
        "augmentation of the critic's pictures: its probability p is adapted, fixed, or there is none",
        choices=AUGMENTATIONS,
    )
    augmentation_groups: str = option(
        "bgc",
        "what is augmented: one group of transformations, or as in the paper several: blits, geometry, colours,"
        " filters, noise and cutout by their first letters",
        choices=tuple(augment.GROUPS),
    )
    augmentation_p: float = option(
        0.0,
        "probability p of each augmentation at the start; throughout, if fixed",
        least=0,
        most=1,
    )
    augmentation_target: float = option(
        0.6, "mean sign of the critic's logits on real pictures that p is adapted to"
    )
    augmentation_rise_kimg: float = option(
        500.0, "kimg (thousands of real images) in which p may go from 0 to 1", least=1e-6
    )
    dtype: str = option(
        "float32", "type of the convolutions' arithmetic", choices=adversarial.DTYPES
    )
    remat: bool = option(
        False, "recompute activations in the backward pass: more arithmetic, less memory"
    )


def game(options: Options, spec: DataSpec) -> Game:
    _check(options, spec)
    modules = Modules(options, spec)
    critic_loss, r1_loss = critic_losses(options, modules)
    generator_loss, path_loss = generator_losses(options, modules)

    def generate(networks, key, num, labels, truncation, truncation_layers, noise):
        z_key, label_key, noise_key = jax.random.split(key, 3)
        network = networks["generator"]
        if modules.num_classes is None:
            labels = None
        elif labels is None:
            labels = draws.randint(label_key, (num,), 0, modules.num_classes)
        w = modules.every_layer(
            modules.style(network, draws.normal(z_key, (num, options.latent_dim)), labels)
        )
        w = latents.truncate(w, network["average"]["style"], truncation, truncation_layers)
        return jnp.clip(
            modules.paint(network, w, noise_key if noise == "random" else None), -1.0, 1.0
        )

    turns = (
        Turn(("critic",), critic_loss),
        Turn(("critic",), r1_loss, "r1", options.r1_every, fresh_batch=False),
        Turn(("generator",), generator_loss, fresh_batch=False),
        Turn(("generator",), path_loss, "path", options.path_every, fresh_batch=False),
    )
    weights = {"r1": options.r1_gamma, "path": options.path_weight}
    turns = tuple(turn for turn in turns if weights.get(turn.name, 1.0))
    styles = latents.Styles(
        options.latent_dim,
        modules.num_styles,
        modules.num_classes,
        spec.shape,
        lambda networks, z, label: modules.style(networks["generator"], z, label),
        lambda networks, w: modules.paint(networks["generator"], w),
        lambda networks: networks["generator"]["average"]["style"],
    )
    return Game(
        players={
            "critic": Player(
                modules.init_critic,
                adam(options, options.r1_every if options.r1_gamma else 0),
                apply=lambda network, x, label: modules.critic.apply(
                    {"params": network["params"]}, x, label
                ),
            ),
            "generator": Player(
                modules.init_generator,
                adam(options, options.path_every if options.path_weight else 0),
                options.ema_half_life_kimg,
                options.ema_ramp_up or None,
                lambda network, z, label: modules.paint(
                    network, modules.every_layer(modules.style(network, z, label))
                ),
            ),
        },
        stages=(Stage(turns, options.batch_size),),
        generate=generate,
        sample_shape=spec.shape,
        num_classes=modules.num_classes,
        options={
            **latents.truncation_options(1.0, modules.num_styles),
            "noise": Option(
                "random", "noise of each picture, or the same for all", choices=modulated.NOISE
            ),
        },
        tools=latents.style_tools(styles),
    )


class Modules:
    """The modules of both players, and how they are put together; `network` is {"params": ..., collections} of one."""

    def __init__(self, options: Options, spec: DataSpec):
        self.options, self.shape = options, spec.shape
        self.num_styles = stylegan2.num_styles(spec.shape[0])
        self.num_classes = adversarial.classes(options, spec)
        shared = {"channel_base": options.channel_base, "channel_max": options.channel_max}
        shared |= {"dtype": adversarial.compute_dtype(options), "remat": options.remat}
        self.mapping = stylegan2.Mapping(
            options.style_dim,
            options.mapping_layers,
            options.mapping_lr_multiplier,
            self.num_classes,
        )
        self.synthesis = stylegan2.Synthesis(*spec.shape[1:], **shared)
        self.critic = stylegan2.Critic(
            **shared,
            residual=options.critic == "residual",
            group_size=options.minibatch_std_group,
            num_classes=self.num_classes,
            mapping_layers=options.critic_mapping_layers,
        )

    def init_generator(self, key):
        z = jnp.zeros((1, self.options.latent_dim))
        label = None if self.num_classes is None else jnp.zeros((1,), jnp.int32)
        mapping_key, synthesis_key = jax.random.split(key)
        w = jnp.zeros((1, self.num_styles, self.options.style_dim))
        painter = self.synthesis.init(synthesis_key, w, "constant")
        return {
            "params": {
                "mapping": self.mapping.init(mapping_key, z, label)["params"],
                "synthesis": painter["params"],
            },
            "noise": painter["noise"],
            "average": {"style": jnp.zeros(self.options.style_dim)},
            "path": {"mean": jnp.zeros(())},
        }

    def init_critic(self, key):
        label = None if self.num_classes is None else jnp.zeros((1,), jnp.int32)
        born = self.critic.init(key, jnp.zeros((1, *self.shape)), label)
        if self.options.augmentation != "off":
            born["augmentation"] = {"ada": augment.ada_start(self.options.augmentation_p)}
        return born

    def style(self, network, z, label):
        return self.mapping.apply({"params": network["params"]["mapping"]}, z, label)

    def paint(self, network, w, key=None):
        """Pictures of w [B, num_styles, D]: with noise drawn from the key, or the constant maps."""
        variables = {"params": network["params"]["synthesis"], "noise": network["noise"]}
        if key is None:
            return self.synthesis.apply(variables, w, "constant")
        return self.synthesis.apply(variables, w, "random", rngs={"noise": key})

    def every_layer(self, w):
        return jnp.broadcast_to(w[:, None], (w.shape[0], self.num_styles, w.shape[1]))

    def draw(self, network, key, num, label):
        """w [num, num_styles, D] with styles mixed, and what it is of before, [num, D]."""
        z_key, layers_key = jax.random.split(key)
        if not self.options.mixing:
            w = self.style(network, draws.normal(z_key, (num, self.options.latent_dim)), label)
            return self.every_layer(w), w
        z = draws.normal(z_key, (2 * num, self.options.latent_dim))
        one, other = jnp.split(
            self.style(network, z, None if label is None else jnp.tile(label, 2)), 2
        )
        layers = mixed_layers(layers_key, num, self.num_styles, self.options.mixing)
        return latents.mix(one, other, layers), one

    def label_of(self, batch):
        return None if self.num_classes is None else batch["label"]

    def judge(self, params, variables, picture, label, key):
        """Logits of augmented pictures: the critic sees no others."""
        if self.options.augmentation != "off":
            augmented = partial(augment.ada, groups=self.options.augmentation_groups)
            augmented = jax.checkpoint(augmented) if self.options.remat else augmented
            p = variables["critic"]["augmentation"]["ada"].p
            picture = augmented(picture, key, p)
        return self.critic.apply({"params": params["critic"]}, picture, label)


def generator_of(params, variables):
    return {"params": params["generator"], **variables["generator"]}


def critic_losses(options: Options, modules: Modules):
    """The critic's loss, with ADA's controller in it, and R1."""

    def critic_loss(params, variables, batch, key):
        style_key, noise_key, *keys = jax.random.split(key, 4)
        real, label = adversarial.decode(batch["image"]), modules.label_of(batch)
        network = generator_of(params, variables)
        w, _ = modules.draw(network, style_key, real.shape[0], label)
        fake = jax.lax.stop_gradient(modules.paint(network, w, noise_key))
        # Two passes: a group of the minibatch standard deviation is all real or all generated.
        real_logits = modules.judge(params, variables, real, label, keys[0])
        fake_logits = modules.judge(params, variables, fake, label, keys[1])
        metrics = {"real": jnp.mean(real_logits), "fake": jnp.mean(fake_logits)}
        metrics["gap"] = metrics["real"] - metrics["fake"]
        new = {}
        if options.augmentation != "off":
            ada = variables["critic"]["augmentation"]["ada"]
            if options.augmentation == "adaptive":
                ada = augment.ada_update(
                    ada,
                    real_logits,
                    target=options.augmentation_target,
                    rise_kimg=options.augmentation_rise_kimg,
                )
                metrics["overfitting"] = ada.overfitting
            metrics["p"] = ada.p
            new = {"critic": {**variables["critic"], "augmentation": {"ada": ada}}}
        return Loss(losses.non_saturating.critic(real_logits, fake_logits), new, metrics)

    def r1_loss(params, variables, batch, key):
        real, label = adversarial.decode(batch["image"]), modules.label_of(batch)
        # By the pictures before augmentation, through it.
        penalty = penalties.r1(lambda x: modules.judge(params, variables, x, label, key), real)
        return Loss(options.r1_every * options.r1_gamma * penalty, {}, {"penalty": penalty})

    return critic_loss, r1_loss


def generator_losses(options: Options, modules: Modules):
    """The generator's loss, with the running mean of w in it, and the path length's."""

    def generator_loss(params, variables, batch, key):
        style_key, noise_key, augment_key = jax.random.split(key, 3)
        label, network = modules.label_of(batch), generator_of(params, variables)
        w, one = modules.draw(network, style_key, batch["image"].shape[0], label)
        fake = modules.paint(network, w, noise_key)
        logits = modules.judge(params, variables, fake, label, augment_key)
        average = optax.incremental_update(
            jax.lax.stop_gradient(jnp.mean(one, axis=0)),
            network["average"]["style"],
            1.0 - options.average_style_decay,
        )
        new = {"generator": {**variables["generator"], "average": {"style": average}}}
        return Loss(losses.non_saturating.generator(logits), new, {})

    def path_loss(params, variables, batch, key):
        style_key, noise_key, direction_key = jax.random.split(key, 3)
        # At least one, of however small a micro-batch.
        num = max(1, batch["image"].shape[0] // options.path_batch_shrink)
        label, network = modules.label_of(batch), generator_of(params, variables)
        w, _ = modules.draw(network, style_key, num, None if label is None else label[:num])
        penalty, mean = penalties.path_length(
            lambda w: modules.paint(network, w, noise_key),
            w,
            network["path"]["mean"],
            direction_key,
            options.path_mean_decay,
        )
        new = {"generator": {**variables["generator"], "path": {"mean": mean}}}
        metrics = {"penalty": penalty, "length": mean}
        return Loss(options.path_every * options.path_weight * penalty, new, metrics)

    return generator_loss, path_loss


def mixed_layers(key: jax.Array, num: int, num_styles: int, share: float) -> jax.Array:
    """Which layers take their style from a second latent, boolean [num, num_styles]: all from a random one on, not the
    first, in this share of the images (StyleGAN, Section 3.1)."""
    place_key, share_key = jax.random.split(key)
    place = draws.randint(place_key, (num, 1), 1, num_styles)
    return (jnp.arange(num_styles)[None] >= place) & (draws.uniform(share_key, (num, 1)) < share)


def adam(options: Options, every: int) -> optax.GradientTransformation:
    """Adam of a player with a regulariser every k rounds, which is a (k + 1)th step in k rounds.

    With c = k / (k + 1): c lr, beta1^c, beta2^c, so that rounds and not steps count (StyleGAN2, Appendix B); 0 for a
    player without.
    """
    c = every / (every + 1) if every else 1.0
    return optax.adam(c * options.learning_rate, options.beta1**c, options.beta2**c)


def _check(options: Options, spec: DataSpec) -> None:
    """Raises what cannot be trained."""
    check(options)
    if options.augmentation == "fixed" and not options.augmentation_p:
        raise OptionError(
            "augmentation_p",
            options.augmentation_p,
            "a fixed probability of 0 augments nothing",
            {"augmentation_p": 0.2},
            {"augmentation": "off"},
        )
    shape = spec.shape
    if len(shape) != 3:
        raise ValueError(
            f"stylegan2 makes pictures, but one example of the data has shape {shape}; bring pictures."
        )
    if shape[0] != shape[1] or shape[0] < 8 or shape[0] & (shape[0] - 1):
        size = " x ".join(map(str, shape[:2]))
        nearest = 1 << max(3, (max(shape[:2]) - 1).bit_length())
        raise OptionError(
            None,
            None,
            f"stylegan2 makes square pictures of a power of two pixels, from 8; those of the data are {size}",
            {"data.resolution": nearest},
        )
    colours = "color" in augment.GROUPS[options.augmentation_groups]
    if options.augmentation != "off" and colours and shape[2] not in (1, 3):
        raise OptionError(
            "augmentation_groups",
            options.augmentation_groups,
            f"it changes colours, and the data has {shape[2]} channels, not 1 or 3",
            {"augmentation_groups": "bg"},
        )
    if options.path_weight and options.path_batch_shrink > options.batch_size:
        raise OptionError(
            "path_batch_shrink",
            options.path_batch_shrink,
            f"the batch of {options.batch_size} must leave at least one picture",
            {"path_batch_shrink": options.batch_size},
        )
