"""The objectives as functions of one logit."""

import jax
import jax.numpy as jnp

from jaxgan import losses

NAMES = ("minimax", "non_saturating", "least_squares", "hinge", "wasserstein")
LOGITS = jnp.linspace(-4.0, 4.0, 81)


def loss_curves():
    """The critic's loss of a real and of a generated sample, the generator's loss and its slope, by the logit."""
    found = {}
    for name in NAMES:
        objective = losses.by_name(name)

        def of_real(logit, objective=objective):
            return objective.critic(logit[None], jnp.zeros(1)) - objective.critic(
                jnp.zeros(1), jnp.zeros(1)
            )

        def of_fake(logit, objective=objective):
            return objective.critic(jnp.zeros(1), logit[None]) - objective.critic(
                jnp.zeros(1), jnp.zeros(1)
            )

        def generator(logit, objective=objective):
            return objective.generator(logit[None])

        found[name] = {
            "critic, real sample": jax.vmap(of_real)(LOGITS),
            "critic, generated sample": jax.vmap(of_fake)(LOGITS),
            "generator": jax.vmap(generator)(LOGITS),
            "slope of the generator's": jax.vmap(jax.grad(generator))(LOGITS),
        }
    return found


def draw_loss_curves(figure, numbers):
    titles = list(numbers[NAMES[0]])
    axes = figure.subplots(1, len(titles))
    for axis, title in zip(axes, titles, strict=True):
        for name in NAMES:
            axis.plot(LOGITS, numbers[name][title], label=name)
        axis.set(title=title, xlabel="logit", ylim=(-4.2, 4.2))
    lines, names = axes[0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside lower center", ncols=len(names))
