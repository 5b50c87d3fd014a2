"""Every shipped config: does it compile, train three rounds with finite numbers, and make something?

Data are random pictures of the right shape. A game of several stages plays its first and its last, with the clock set
to the last one's first round. Large pictures come in small batches; each line says what was changed.
"""

from __future__ import annotations

import numpy as np

from on_device_steps import timing

ROUNDS = 3
SAMPLES = 4

# Batches that fit beside three other configs into 80 GB. The perceptual network's weights would have to be fetched.
CHANGES = {
    "biggan_imagenet128": ("model.batch_size=32",),
    "biggan_deep_imagenet128": ("model.batch_size=32",),
    "msg_gan_ffhq1024": ("model.batch_size=4",),
    "r3gan_cifar10": ("model.batch_size=64",),
    "r3gan_ffhq64": ("model.batch_size=32",),
    "r3gan_ffhq256": ("model.batch_size=8",),
    "r3gan_imagenet32": ("model.batch_size=32",),
    "r3gan_imagenet64": ("model.batch_size=32",),
    "spade_ade20k": ("model.batch_size=4", "model.perceptual=none"),
    "stylegan_ffhq1024": ("model.batch_size=((8,32),(64,16),(256,8),(1024,4))",),
    "stylegan2_256": ("model.batch_size=8",),
    "stylegan2_1024": ("model.batch_size=4",),
    "stylegan3_t_256": ("model.batch_size=8",),
    "stylegan3_r_256": ("model.batch_size=8",),
    "vqgan_256": (
        "model.batch_size=4", "model.transformer_batch_size=4", "model.perceptual=none",
    ),
}  # fmt: skip
TINY = {
    "gan_mixture2d": ("model.generator_width=8", "model.critic_width=8", "model.batch_size=4"),
}
# Cheap ones first.
KINDS = ("mixture2d", "digits", "cifar10", "32", "china", "picture", "facades", "256", "1024")


def parts(task) -> list[str]:
    from jaxgan import config

    if task.tiny:
        return list(TINY)

    def cost(name: str) -> tuple[int, str]:
        kind = name.rsplit("_", 1)[1]
        return (KINDS.index(kind) if kind in KINDS else len(KINDS)), name

    return sorted(config.names(), key=cost)


def run(part: str, task) -> dict:
    import shipped

    from jaxgan import config
    from jaxgan.engine import Engine
    from on_device_steps import playing

    changes = (TINY if task.tiny else CHANGES).get(part, ())
    cfg = config.load(part, changes)
    spec = shipped.open_spec(part, cfg)
    game = config.make_run(cfg, spec).game
    engine, before = Engine(game), timing.jax_memory()
    indices = sorted({0, len(game.stages) - 1})
    batches = {index: next(shipped.batches(spec, game.stages[index])) for index in indices}
    state, compiled, seconds = playing.prepare(engine, batches)
    stages = {}
    for index in indices:
        stage = game.stages[index]
        state, first = playing.enter(engine, state, index)
        stream = shipped.batches(spec, stage, seed=1)
        state, times, metrics = playing.play(engine, state, first, ROUNDS, stream)
        _check_finite(metrics)
        stages[index] = {
            "batch": stage.batch_size,
            "turns": compiled[index],
            "round_ms": times[-1],
        }
    made = playing.make(engine, state, SAMPLES, batches[indices[-1]])
    _check_finite(made)
    peak = timing.jax_memory()
    return {
        "changes": list(changes),
        "stages": stages,
        "prepare_s": seconds,
        "made": {name: list(x.shape) for name, x in made.items()},
        "process_peak_mib": timing.mib(peak),
        # Only then is it this config's own.
        "peak_rose": peak is not None and peak > before,
    }


def _check_finite(numbers: dict) -> None:
    bad = [name for name, x in numbers.items() if not np.isfinite(x).all()]
    if bad:
        raise FloatingPointError(f"not finite: {', '.join(bad)}")
