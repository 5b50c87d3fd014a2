"""The two-player game that most of the canon plays: a critic against a generator.

A model file gives the two networks, an objective from `jaxgan.losses`, perhaps a penalty, and its paper's
hyper-parameters; `two_player` puts them together. In one round the critic moves `critic_steps` times, each time
on a fresh real batch, then the generator once.

What moves when:
  - Spectral `u` vectors advance once per critic turn, however often the critic is called in it, and never in the
    generator's turn.
  - Each network's batch statistics advance in its own turn only. Inside the other's turn it still normalises by
    the statistics of the batch, but the running ones stand still.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxgan import draws, losses
from jaxgan.game import DataSpec, Game, Loss, Player, Stage, Turn, scale_by_round
from jaxgan.options import OptionError, option

DTYPES = ("float32", "bfloat16")
OPTIMIZERS = {
    "adam": lambda options: optax.scale_by_adam(options.beta1, options.beta2),
    # PyTorch's and the WGAN paper's: decay 0.99, epsilon outside the root.
    "rmsprop": lambda options: optax.scale_by_rms(decay=0.99, eps=1e-8, eps_in_sqrt=False),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """What every two-player model lets its user set; each model overrides the defaults with its paper's."""

    latent_dim: int = option(128, "components of the latent vector", least=1)
    conditional: bool = option(False, "condition both networks on the labels of the data")
    batch_size: int = option(64, "real images of one critic step", least=1)
    critic_steps: int = option(5, "critic steps per generator step", least=1)
    generator_batch_multiple: int = option(
        1, "images of a generator step, as a multiple of batch_size", least=1
    )
    optimizer: str = option("adam", "optimiser of both networks", choices=tuple(OPTIMIZERS))
    critic_learning_rate: float = option(2e-4, "learning rate of the critic", least=0)
    generator_learning_rate: float = option(2e-4, "learning rate of the generator", least=0)
    beta1: float = option(0.0, "decay of Adam's mean of gradients", least=0, below=1)
    beta2: float = option(0.9, "decay of Adam's mean of squared gradients", least=0, below=1)
    decay_steps: int = option(
        0, "rounds over which the learning rates fall linearly to 0; 0 keeps them constant", least=0
    )
    ema_half_life_kimg: float = option(
        0.0,
        "half-life of the averaged generator in kimg (thousands of real images); 0 keeps none",
        least=0,
    )
    ema_ramp_up: float = option(
        0.05, "the half-life is at most this share of the images seen; 0 for no limit", least=0
    )
    dequantise: bool = option(
        False, "add uniform noise from [0, 1/128) to real pictures, which have 256 levels"
    )
    dtype: str = option("float32", "type of the networks' arithmetic", choices=DTYPES)


# (critic: images -> logits, real, fake, key) -> the weighted penalty, a float32 scalar.
Penalty = Callable[[Callable[[jax.Array], jax.Array], jax.Array, jax.Array, jax.Array], jax.Array]


def compute_dtype(options: Options) -> jnp.dtype:
    return jnp.dtype(options.dtype)


def classes(options: Options, spec: DataSpec) -> int | None:
    """Number of classes the networks condition on; None for an unconditional model."""
    if not options.conditional:
        return None
    if spec.num_classes is None:
        raise OptionError("conditional", True, "the data gives no labels", {"conditional": False})
    return spec.num_classes


def optimizer(options: Options, learning_rate: float) -> optax.GradientTransformation:
    """Adam or RMSProp with the linear decay counted in rounds, the same for both players."""
    scale = OPTIMIZERS[options.optimizer](options)
    schedule = (
        optax.linear_schedule(learning_rate, 0.0, options.decay_steps)
        if options.decay_steps
        else optax.constant_schedule(learning_rate)
    )
    return optax.chain(scale, scale_by_round(schedule))


def decode(image: jax.Array, key: jax.Array | None = None) -> jax.Array:
    """Real data as the networks see it, float32: uint8 pictures to [-1, 1], floats as they are.

    With a key, pictures become x / 128 - 1 plus uniform noise in [0, 1/128): a density over [-1, 1) where the
    256 grey levels would be atoms.
    """
    if image.dtype != jnp.uint8:
        return image.astype(jnp.float32)
    image = image.astype(jnp.float32)
    if key is None:
        return image / 127.5 - 1.0
    return image / 128.0 - 1.0 + draws.uniform(key, image.shape, maxval=1.0 / 128.0)


def apply(module: nn.Module, variables: dict, *args, advance: tuple[str, ...] = (), **kwargs):
    """Applies a network and returns (output, its collections without "params").

    Collections named in `advance` come back as the call left them, all others as they were. "spectral" is
    mutable, and so iterates, only if it is named; batch statistics of the batch are used either way.
    """
    state = {name: tree for name, tree in variables.items() if name != "params"}
    mutable = [name for name in state if name != "spectral" or name in advance]
    output, new = module.apply(variables, *args, mutable=mutable, **kwargs)
    return output, {**state, **{name: new[name] for name in advance if name in new}}


def two_player(
    options: Options,
    spec: DataSpec,
    *,
    generator: nn.Module,
    critic: nn.Module,
    objective: str,
    penalty: Penalty | None = None,
    separate_passes: bool = False,
    project_critic: optax.GradientTransformation | None = None,
) -> Game:
    """A game of a critic and a generator.

    Args:
      options: see `Options`.
      spec: of the data.
      generator: (latent [B, latent_dim], label [B] or None, train) -> samples [B, *spec.shape].
      critic: (samples, label, train) -> logits [B].
      objective: name in `jaxgan.losses`.
      penalty: added to the critic's loss. Its critic conditions on the real labels and moves no state.
      separate_passes: the critic sees real and fake samples in two passes, each normalised by its own batch
        statistics (DCGAN); otherwise in one, which is faster and the same for a critic without batch statistics.
      project_critic: a last transformation of the critic's updates (weight clipping).
    """
    objective = losses.by_name(objective)
    num_classes = classes(options, spec)
    every_collection = ("spectral", "batch_stats")

    def draw(key, num, label=None):
        """Latents, and as many labels: those given, or uniform ones."""
        latent_key, label_key = jax.random.split(key)
        latent = draws.normal(latent_key, (num, options.latent_dim))
        if num_classes is not None and label is None:
            label = draws.randint(label_key, (num,), 0, num_classes)
        return latent, label

    def look(batch, noise_key):
        """(real samples, their labels or None) as the networks see them."""
        real = decode(batch["image"], noise_key if options.dequantise else None)
        return real, (batch["label"] if num_classes is not None else None)

    def critic_loss(params, variables, batch, key):
        noise_key, latent_key, penalty_key = jax.random.split(key, 3)
        real, real_label = look(batch, noise_key)
        # What compares samples compares those of one class.
        shared = real_label if objective.compares else None
        latent, fake_label = draw(latent_key, real.shape[0], shared)
        network = {"params": params["generator"], **variables["generator"]}
        fake, _ = apply(generator, network, latent, fake_label, train=True)
        fake = jax.lax.stop_gradient(fake)

        network = {"params": params["critic"], **variables["critic"]}
        if separate_passes:
            real_logits, state = apply(
                critic, network, real, real_label, train=True, advance=every_collection
            )
            fake_logits, state = apply(
                critic, {**network, **state}, fake, fake_label, train=True, advance=("batch_stats",)
            )
        else:
            both = jnp.concatenate([real, fake])
            label = None if num_classes is None else jnp.concatenate([real_label, fake_label])
            logits, state = apply(
                critic, network, both, label, train=True, advance=every_collection
            )
            real_logits, fake_logits = jnp.split(logits, 2)

        value = objective.critic(real_logits, fake_logits)
        metrics = {
            "real": jnp.mean(real_logits, dtype=jnp.float32),
            "fake": jnp.mean(fake_logits, dtype=jnp.float32),
        }
        if penalty is not None:
            network = {**network, **state}

            def frozen(x):
                return apply(critic, network, x, real_label, train=True)[0]

            metrics["penalty"] = penalty(frozen, real, fake, penalty_key)
            value = value + metrics["penalty"]
        metrics["gap"] = metrics["real"] - metrics["fake"]
        return Loss(value, {"critic": state}, metrics)

    def generator_loss(params, variables, batch, key):
        num = options.generator_batch_multiple * batch["image"].shape[0]
        real_logits = label = None
        if objective.compares:
            noise_key, key = jax.random.split(key)
            real, label = look(batch, noise_key)
            network = {"params": params["critic"], **variables["critic"]}
            real_logits, _ = apply(critic, network, real, label, train=True)
            # Each real sample is compared with as many generated ones.
            real_logits = jnp.tile(real_logits, options.generator_batch_multiple)
            if label is not None:
                label = jnp.tile(label, options.generator_batch_multiple)
        latent, label = draw(key, num, label)
        network = {"params": params["generator"], **variables["generator"]}
        fake, state = apply(generator, network, latent, label, train=True, advance=every_collection)
        network = {"params": params["critic"], **variables["critic"]}
        logits, _ = apply(critic, network, fake, label, train=True)
        return Loss(objective.generator(logits, real_logits), {"generator": state}, {})

    def evaluation(module):
        return lambda network, x, label: module.apply(network, x, label, train=False)

    def generate(networks, key, num, labels):
        latent, label = draw(key, num, labels if num_classes is not None else None)
        return evaluation(generator)(networks["generator"], latent, label)

    def init(module, *example):
        def born(key):
            params_key, state_key = jax.random.split(key)
            rngs = {"params": params_key, "dropout": state_key}
            label = None if num_classes is None else jnp.zeros((2,), jnp.int32)
            return module.init(rngs, *example, label, train=True)

        return born

    critic_optimizer = optimizer(options, options.critic_learning_rate)
    if project_critic is not None:
        critic_optimizer = optax.chain(critic_optimizer, project_critic)
    return Game(
        players={
            "critic": Player(
                init(critic, jnp.zeros((2, *spec.shape))),
                critic_optimizer,
                apply=evaluation(critic),
            ),
            "generator": Player(
                init(generator, jnp.zeros((2, options.latent_dim))),
                optimizer(options, options.generator_learning_rate),
                options.ema_half_life_kimg,
                options.ema_ramp_up or None,
                evaluation(generator),
            ),
        },
        stages=(
            Stage(
                turns=(
                    Turn(("critic",), critic_loss, repeat=options.critic_steps),
                    Turn(("generator",), generator_loss, fresh_batch=False),
                ),
                batch_size=options.batch_size,
            ),
        ),
        generate=generate,
        sample_shape=spec.shape,
        num_classes=num_classes,
    )
