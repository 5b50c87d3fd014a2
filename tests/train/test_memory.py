"""The memory that training needs on each device: of the state, by shapes, and of compiled programs."""

import jax
import numpy as np
import pytest
import shipped
from engine.small import POINTS, counting, mesh_of, one_turn

from jaxgan import config
from jaxgan.engine import Engine
from jaxgan.game import Loss
from jaxgan.train import Options, make_engine, memory

MOST = (
    0.2  # of the replicated bytes, with the state split over eight devices; an eighth is the least
)


@pytest.mark.parametrize(
    ("name", "changes", "millions"),
    # BigGAN's generator for 128 pixels has 70 million parameters; a fifth wider it has 100.
    [
        pytest.param("biggan_imagenet128", ("model.width=116",), 100, marks=pytest.mark.slow),
        ("stylegan2_1024", (), 30),
    ],
)
def test_fsdp_splits_a_large_models_state(name, changes, millions):
    cfg = config.load(name, changes)
    spec = shipped.open_spec(name, cfg)
    game = config.make_run(cfg, spec).game
    whole, split = (memory.of_state(make_engine(game, Options(fsdp=n), 0)) for n in (1, 8))
    assert whole["params"]["generator"].whole == pytest.approx(4e6 * millions, rel=0.05)
    for part in ("params", "opt_state", "ema"):
        assert whole[part]["generator"].device == whole[part]["generator"].whole
        for player, size in split[part].items():
            assert size.whole == whole[part][player].whole
            assert 1 / 8 <= size.device / size.whole < MOST, (part, player)


def test_sizes_are_those_of_the_arrays_on_a_device():
    sharding = jax.sharding.NamedSharding(mesh_of(4), jax.sharding.PartitionSpec("data"))
    tree = {
        "a": jax.ShapeDtypeStruct((8, 3), np.float32, sharding=sharding),
        "b": jax.ShapeDtypeStruct((5,), np.uint8, sharding=Engine(one_turn(mean)).replicated),
    }
    assert memory.size(tree) == (8 * 3 * 4 + 5, 2 * 3 * 4 + 5)


def mean(play):
    return Loss(play.networks["critic"]() * play.batch["image"].mean())


def compiled(engine, name):
    (program,) = (p for p in engine.programs(engine.game.spec) if p.name == name)
    return program, program.lower().compile()


def test_a_program_needs_the_state_the_batches_and_its_own_arrays():
    """The intermediate result of the loss has 32 MiB; XLA holds up to four arrays of its size."""

    def large(play):
        x = jax.random.normal(play.key, (2**23,))
        return Loss(play.networks["critic"]() * (x @ x[::-1]))

    engines = [Engine(one_turn(loss)) for loss in (mean, large)]
    small, more = (memory.of_program(e, *compiled(e, "critic"), POINTS) for e in engines)
    state = memory.size(engines[0].state_shape).device
    batch = memory.size(engines[0].batch_shape(engines[0].game.stages[0], POINTS)).device
    assert memory.of_batches(engines[0], POINTS, 0) == 2 * batch
    assert state + 2 * batch <= small < state + 2 * batch + 2**16
    assert 2**25 <= more - small < 5 * 2**25


def test_a_device_with_too_little_memory_is_named_with_ways_out(monkeypatch):
    engine = Engine(one_turn(mean), mesh=mesh_of(2))
    assert memory.limit(engine) == np.inf  # a CPU does not say
    assert memory.complaint(engine, 2**40, "critic of stage 0") == ""
    monkeypatch.setattr(memory, "limit", lambda engine: 2**30)
    for need, unknown in ((2**30, False), (float("nan"), True)):
        assert memory.complaint(engine, need, "critic of stage 0") == "", unknown
    assert memory.complaint(engine, 3 * 2**30, "critic of stage 0", remat=False) == (
        "critic of stage 0 needs 3.0 GiB of each device, which has 1.0 GiB for JAX; to need less, set model.remat=true"
        " or train.accumulate=2 or train.fsdp=2 or a smaller model.batch_size."
    )
    # Eight rows on two devices are divided into four micro-batches at most.
    assert "accumulate" not in memory.ways_out(
        Engine(one_turn(mean), mesh=mesh_of(2), accumulate=4)
    )


def test_each_program_is_reported_once_before_it_runs():
    engine, seen = Engine(one_turn(mean)), []
    engine.on_compiled = lambda program, compiled: seen.append(program.name)
    engine.compile_ahead(engine.game.spec, 0)
    state = engine.init()
    assert seen == ["init"]
    state, _ = engine.round(state, 0, counting(8))
    engine.round(state, 1, counting(8))
    assert seen == ["init", "critic", "close"]


def test_training_says_once_that_a_device_has_too_little_memory(tmp_path, monkeypatch):
    from jaxgan.train import train

    monkeypatch.setattr(memory, "limit", lambda engine: 2**10)
    cfg = config.load("gan_mixture2d", ["model.generator_width=8", "model.critic_width=8"])
    run = config.make_run(cfg, (source := config.open_data(cfg)).spec)
    options, said = Options(steps=1, devices=1, grid=4), []
    train(run.game, source, tmp_path / "run", options, log=said.append)
    (sentence,) = (line for line in said if "of each device" in line)
    assert sentence.startswith("init of stage 0 needs ")
    assert "which has 1.0 KiB for JAX" in sentence
