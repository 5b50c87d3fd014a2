"""The rewrites of `jaxgan.resample.fused`: which form of each is the fastest on this device?

    plain     the layers one after the other, differentiated by JAX
    default   jaxgan's own derivatives, in the form that `platform_dependent` takes anywhere but on a CPU
    cpu       the same, in the form that it takes on a CPU

Each is timed forward, with its gradients, and with the gradient of a squared gradient (a gradient penalty's); and a
whole round of `sngan` and `wgan_gp` is played in each form, by exchanging what the layers of `jaxgan.nets.conv` call.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import resample
from jaxgan.nets import conv as layers
from on_device_steps import playing, timing

FORMS = ("plain", "default", "cpu")
LAYOUT = ("NHWC", "HWIO", "NHWC")

# {operation: (images [B, H, W, C], kernel [k, k, C, O])}: of sngan's networks at batch 64, and DCGAN's enlargement.
SHAPES = {
    "conv": ((128, 32, 32, 128), (3, 3, 128, 128)),
    "conv to pictures": ((128, 32, 32, 256), (3, 3, 256, 3)),
    "conv of pictures": ((128, 32, 32, 3), (3, 3, 3, 128)),
    "conv 1x1": ((128, 16, 16, 128), (1, 1, 128, 128)),
    "conv_avg_pool": ((128, 32, 32, 128), (3, 3, 128, 128)),
    "upsample_conv": ((128, 16, 16, 256), (3, 3, 256, 256)),
    "conv_transpose": ((128, 8, 8, 256), (4, 4, 256, 128)),
}
GAMES = {"round of sngan": "sngan", "round of wgan_gp": "wgan_gp"}


def parts(task) -> list[str]:
    if task.tiny:
        return ["conv_avg_pool float32"]
    ops = [f"{name} {dtype}" for dtype in ("bfloat16", "float32") for name in SHAPES]
    return ops + [f"{name} float32" for name in GAMES]  # the slowest to compile last


def run(part: str, task) -> dict:
    name, dtype = part.rsplit(" ", 1)
    if name in GAMES:
        return {"ms": rounds(GAMES[name], dtype, 1.5)}
    shapes = ((2, 4, 4, 4), (3, 3, 4, 4)) if task.tiny else SHAPES[name]
    return {"shapes": shapes, **operation(name, shapes, dtype, 0.05 if task.tiny else 0.4)}


# Forms ------------------------------------------------------------------------------------------------------------


def functions(form: str) -> Any:
    """The functions of `jaxgan.resample.fused` in a form, for good."""
    if form == "plain":
        return SimpleNamespace(**PLAIN)
    # A copy of the module: JAX remembers what it has traced of the original, in whatever form that was.
    spec = importlib.util.find_spec("jaxgan.resample.fused")
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    copy.jax = _Changed(jax, lax=_Changed(jax.lax, platform_dependent=_choice(form)))
    return copy


class _Changed:
    """A module with other attributes."""

    def __init__(self, module, **changes):
        self._module = module
        vars(self).update(changes)

    def __getattr__(self, name):
        return getattr(self._module, name)


def _choice(platform: str) -> Callable:
    """`jax.lax.platform_dependent` as if on that platform."""

    def choose(*args, default, **others):
        return others.get(platform, default)(*args)

    return choose


@contextlib.contextmanager
def layers_in(form: str) -> Iterator[None]:
    """While entered, the layers of `jaxgan.nets.conv` trace in a form."""
    before, layers.resample = layers.resample, functions(form)
    try:
        yield
    finally:
        layers.resample = before


def _with_bias(y, bias):
    return y if bias is None else y + bias.astype(y.dtype).reshape(1, 1, 1, -1)


def _conv(x, kernel, bias=None):
    kernel = kernel.astype(x.dtype)
    y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT)
    return _with_bias(y, bias)


def _conv_transpose(x, kernel, bias=None):
    kernel = kernel.astype(x.dtype)
    y = jax.lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=LAYOUT)
    return _with_bias(y, bias)


PLAIN = {
    "conv": _conv,
    "conv_avg_pool": lambda x, kernel, bias=None: resample.avg_pool(_conv(x, kernel, bias)),
    "upsample_conv": lambda x, kernel, bias=None: _conv(resample.upsample_nearest(x), kernel, bias),
    "conv_transpose": _conv_transpose,
}


# What is timed ----------------------------------------------------------------------------------------------------


def operation(name: str, shapes, dtype: str, seconds: float) -> dict[str, dict]:
    """{"ms": {order: {form: ms}}, "distance": relative ones from the plain form's numbers} of one function."""
    x, kernel = (
        jax.random.normal(jax.random.key(i), shape, dtype) for i, shape in enumerate(shapes)
    )
    lowered = {}
    for form in FORMS:
        function = getattr(functions(form), name.split()[0])
        for order, program in _orders(function):
            lowered[order, form] = jax.jit(program).lower(x, kernel)
    with ThreadPoolExecutor(playing.threads()) as pool:
        programs = pool.map(lambda of: of.compile(), lowered.values())
        compiled = dict(zip(lowered, programs, strict=True))
    found: dict[str, dict] = {"ms": {}, "distance": {}}
    for order in dict.fromkeys(order for order, _ in compiled):
        of = {form: compiled[order, form] for form in FORMS}
        times = timing.alternate(
            {form: _player(program, x, kernel) for form, program in of.items()}, seconds
        )
        found["ms"][order] = {form: times[form]["ms"] for form in FORMS}
        outputs = {form: _vector(program(x, kernel)) for form, program in of.items()}
        found["distance"][order] = {
            form: float(np.linalg.norm(y - outputs["plain"]) / np.linalg.norm(outputs["plain"]))
            for form, y in outputs.items()
        }
    return found


def _vector(tree) -> np.ndarray:
    return np.concatenate([np.ravel(np.float32(x)) for x in jax.tree.leaves(tree)])


def _orders(function: Callable) -> Iterator[tuple[str, Callable]]:
    def value(x, kernel):
        return jnp.sum(jnp.square(function(x, kernel).astype(jnp.float32)))

    def penalty(x, kernel):
        return jnp.sum(jnp.square(jax.grad(value)(x, kernel).astype(jnp.float32)))

    yield "forward", function
    yield "gradient", jax.grad(value, (0, 1))
    yield "second order", jax.grad(penalty, (0, 1))


def _player(program: Callable, *args) -> timing.Player:
    def play(times: int) -> None:
        for _ in range(times):
            out = program(*args)
        jax.block_until_ready(out)

    return play


def rounds(model: str, dtype: str, seconds: float, batch: int = 64, **options) -> dict[str, float]:
    """{form: ms} of a round."""
    import round_speed

    example = next(round_speed.batches(batch))
    engines, lowered, players = {}, {}, {}
    for form in FORMS:
        engines[form] = round_speed.jaxgan_engine(model, batch, dtype=dtype, **options)
        with layers_in(form):
            for turn, given in playing.lower(engines[form], 0, example).items():
                lowered[form, turn] = given
    playing.compile_all(lowered)
    for form, engine in engines.items():
        players[form], _ = round_speed.jaxgan_player(engine)
        with layers_in(form):  # the first round traces
            players[form](1)
    return {form: times["ms"] for form, times in timing.alternate(players, seconds).items()}
