"""Random configs: what a shipped small config becomes if some of its options get other values, sensible or absurd.

`configs` is a Hypothesis strategy of (name, overrides). `refusal` is what the library says of one of them; `trace` and
`assert_plays` are what it does with the others.
"""

import dataclasses
import itertools
import types
import typing

import jax
import numpy as np
from hypothesis import strategies as st

from jaxgan import config, options
from jaxgan.cli.errors import EXPECTED
from jaxgan.cli.train import prepare
from jaxgan.data import Pipeline

SMALL = tuple(
    name
    for name in config.names()
    if name.endswith(("_digits", "_mixture2d")) and "stacked" not in name
)

# Numbers that some option may well have. Small, so that networks stay small.
WHOLE = (0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24)
REAL = (0.0, 1e-30, 1e-8, 1e-4, 0.01, 0.1, 0.5, 0.9, 0.999, 1.0, 1.5, 2.0, 10.0, 1e4, 1e12, 1e30)
# Texts that no option should have, or few.
ABSURD = (
    *("-1", "-1.5", "nan", "inf", "-inf", "1e400", "1e-400", "0", "1.5", "²", "0x10", "1_000"),
    *(
        "",
        " ",
        "three",
        "none",
        "true",
        "None",
        "1,2",
        "(1,2)",
        "(1,2),(3",
        "()",
        "[1]",
        "a=b",
        "x y",
    ),
    *("2147483647", "1000000000000", "99999999999999999999999999"),
)
MESHES = (("1", "1"), ("2", "1"), ("4", "2"), ("8", "8"), ("8", "1"), ("4", "3"), ("9", "1"))
seldom = st.sampled_from([False] * 11 + [True])
NO_OPTION = ("model.learning_rat", "train.nothing", "model", "data.name.x", "", "seed.x")


def declared(section, prefix):
    """(dotted name, declaration) of every option of a section."""
    for name, found in options.declared(type(section)).items():
        value = getattr(section, name)
        if dataclasses.is_dataclass(value):
            yield from declared(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", found


def sensible(found: options.Option):
    """Values within the limits of an option, as text."""

    def allowed(value):
        try:
            found.check(value, "")
        except options.OptionError:
            return False
        return True

    values = st.sampled_from(found.choices) if found.choices else of_kind(found.kind)
    return values.filter(allowed).map(options.text)


def of_kind(kind):
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(of_kind, arguments))
    if origin is tuple and arguments[1:] == (...,):
        return st.lists(of_kind(arguments[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(of_kind, arguments))
    if kind is types.NoneType:
        return st.none()
    of_type = {
        bool: st.booleans(),
        int: st.sampled_from(WHOLE),
        float: st.sampled_from(REAL),
        str: st.sampled_from(("", "none", "x", "color,translation")),
    }
    return of_type[kind]


@st.composite
def configs(draw):
    """(name of a shipped config, overrides "section.key=value"): a few options changed, and the mesh."""
    name = draw(st.sampled_from(SMALL))
    cfg = config.load(name)
    known = {
        key: found
        for section in config.SECTIONS
        for key, found in declared(getattr(cfg, section), f"{section}.")
    }
    ours = sorted(key for key in known if key.startswith("model."))
    others = sorted(known.keys() - set(ours))
    chosen = draw(st.lists(st.sampled_from(ours), max_size=4, unique=True))
    chosen += draw(st.lists(st.sampled_from(others), max_size=2, unique=True))
    devices, fsdp = draw(st.sampled_from(MESHES))
    changes = {"train.devices": devices, "train.fsdp": fsdp}
    for key in chosen:
        # Few are absurd: more would hide what sensible ones do together.
        value = st.sampled_from(ABSURD) if draw(seldom) else sensible(known[key])
        changes[key] = draw(value)
    if draw(seldom):
        changes[draw(st.sampled_from(NO_OPTION))] = "1"
    if draw(seldom):
        changes["model.name"] = draw(st.sampled_from(("sngan", "biggan", "vqgan", "nothing")))
    return name, tuple(f"{key}={value}" for key, value in changes.items())


def refusal(name: str, overrides) -> Exception | None:
    """The error that refuses a config before anything is compiled; None if nothing does.

    Errors of other kinds are raised: they would be a traceback on a user's screen.
    """
    try:
        prepare(config.load(name, overrides))
    except EXPECTED as error:
        return error
    return None


def trace(name: str, overrides) -> None:
    """Traces the turns of the first and of the last stage of a config, which must not be refused."""
    _, source, engine = prepare(config.load(name, overrides))
    play = jax.ShapeDtypeStruct((), np.int32)
    for index in {0, len(engine.game.stages) - 1}:
        stage = engine.game.stages[index]
        batch = engine.batch_shape(stage, source.spec)
        for turn in stage.turns:
            program = engine.program(index, turn)
            jax.eval_shape(program, engine.state_shape, batch, engine.key_shape, play)


def assert_plays(name: str, overrides, rounds: int = 2) -> None:
    """Trains a config, which must not be refused, for some rounds."""
    run, source, engine = prepare(config.load(name, overrides))
    state, stage = engine.init(), engine.game.stages[0]
    pipeline = Pipeline(source, 0, resolution=stage.resolution, **run.augmentation)
    batches = (pipeline.batch(draw, stage.batch_size) for draw in itertools.count())
    for step in range(rounds):
        state, metrics = engine.round(state, step, batches)
        jax.block_until_ready(state)
    assert int(state.step) == rounds
    played = {turn.name for turn in stage.turns if (rounds - 1) % turn.every == 0}
    assert played <= metrics.keys()
    assert all(np.ndim(value) == 0 for turn in metrics.values() for value in turn.values())
