"""On eight devices each does an eighth of the work, in every turn of every config, and sends what the table says.

Two numbers of the compiled program cannot be fooled: 8 x (operations of one device) / (operations of the whole
program) is 1 where the work is shared, and 8 where every device does all of it; and gradients that are all-reduced have
as many bytes as the parameters that move. `sharing.csv` beside this file has, for each program, the bytes that one
device's collectives give back: all-reduces of gradients, batch statistics and metrics; a few of the others where real
and generated pictures become one batch, or styles are mixed. Programs are those of an accelerator, without what is
written for CPUs only.

    python tests/train/test_sharing.py CONFIG ...     writes the rows of these configs anew (all, without names)
"""

from __future__ import annotations

import csv
import os
import re
import sys
from pathlib import Path

import pytest

TABLE = Path(__file__).with_name("sharing.csv")
DEVICES = 8
MOST = 1.1

# Where a config's own batch has too few examples for eight devices, or so few that what every device does whole (the
# update of the parameters, spectral normalisation) is more work than their gradients.
CHANGES = {
    "biggan_cifar10": ("model.batch_size=128",),
    "biggan_digits": ("model.batch_size=1024",),
    "gan_cifar10": ("model.batch_size=512",),
    "gan_digits": ("model.batch_size=512",),
    "lsgan_digits": ("model.batch_size=128",),
    "msg_gan_digits": ("model.batch_size=128",),
    "pix2pix_digits": ("model.batch_size=128",),
    "pix2pix_facades": ("model.batch_size=16",),
    "progressive_celebahq": ("model.batch_size=((4,256),(8,32))",),
    "progressive_cifar10": ("model.batch_size=128",),
    "progressive_digits": ("model.batch_size=128",),
    "r3gan_digits": ("model.batch_size=256",),
    "r3gan_stacked_digits": ("model.batch_size=256",),
    "sagan_digits": ("model.batch_size=256",),
    "singan_china": (
        "model.batch_size=128",
    ),  # each device rebuilds one picture in a generator step
    "singan_picture": ("model.batch_size=128",),
    "sngan_cnn_cifar10": ("model.batch_size=512",),
    "sngan_digits": ("model.batch_size=256",),
    "sngan_mixture2d": ("model.batch_size=1024", "model.spectral_steps=1"),
    "spade_digits": ("model.batch_size=128",),
    "stylegan_digits": ("model.batch_size=128",),
    "stargan2_afhq": ("model.batch_size=32",),
    "stargan2_celebahq": ("model.batch_size=32",),
    "stargan2_digits": ("model.batch_size=256",),
    "stargan_celeba": ("model.batch_size=32",),
    "stargan_digits": ("model.batch_size=128",),
    "vqgan_256": ("model.batch_size=16",),
}
# {config: its programs in the suite, a regular expression}: some of every procedure, in seconds each. The others are
# marked slow.
QUICK = {
    "dcgan_digits": "",
    "singan_china": "^1/generator",
    "sngan_digits": "",
    "vqgan_digits": "^2/critic",
}


def open_engine(name: str, *changes: str):
    import compile_for
    import jax

    changes = (*CHANGES.get(name, ()), *changes)
    return compile_for.open_engine(name, list(changes), jax.devices()[:DEVICES])


def rows_of(name: str, only: str = "", *changes: str):
    """{program: (ratio, bytes of the movers' parameters, bytes of a batch of pictures in float32, {kind of collective:
    bytes})} of a config's turns, of those whose "stage/turn" matches `only`."""
    import compile_for
    import jax

    engine, spec = open_engine(name, *changes)
    found = {}
    for program in engine.programs(spec):
        turns = {t.name: t for t in engine.game.stages[program.stage].turns}
        if program.name not in turns or not re.search(only, f"{program.stage}/{program.name}"):
            continue
        row = compile_for.measure(program)
        assert not row.error, row.error
        movers = [engine.state_shape.params[p] for p in turns[program.name].players]
        gradients = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(movers))
        collectives = {kind: nbytes for kind, (_, nbytes) in sorted(row.collectives.items())}
        pictures = 4 * engine.batch_shape(engine.game.stages[program.stage], spec)["image"].size
        found[row.program] = (
            DEVICES * row.flops / row.whole_flops,
            gradients,
            pictures,
            collectives,
        )
    return found


def read_table() -> dict[tuple[str, str], dict[str, int]]:
    """{(config, program): {kind of collective: bytes}}"""
    with TABLE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    kinds = list(rows[0])[4:]
    return {(r["config"], r["program"]): {k: int(r[k]) for k in kinds if r[k]} for r in rows}


@pytest.fixture
def accelerators(monkeypatch):
    """What JAX traces for other platforms than a CPU; nothing of it may be found by other tests, or the other way."""
    import jax

    def chosen(*operands, default, **branches):
        return default(*operands)

    jax.clear_caches()
    monkeypatch.setattr(jax.lax, "platform_dependent", chosen)
    yield
    jax.clear_caches()


def cases():
    from jaxgan import config

    for name in config.names():
        if name in QUICK:
            yield pytest.param(name, QUICK[name], id=name)
        if QUICK.get(name) != "":
            yield pytest.param(name, "", id=f"{name}-all", marks=pytest.mark.slow)


@pytest.mark.parametrize(("name", "only"), list(cases()))
def test_devices_share_the_work_and_send_what_is_written_down(accelerators, name, only):
    table = read_table()
    for program, (ratio, gradients, pictures, collectives) in rows_of(name, only).items():
        about = f"{name} {program}: {ratio:.2f}, {gradients:,} bytes of gradients, {collectives}"
        assert ratio < MOST, about
        assert collectives["all-reduce"] > 0, about
        # Pictures and latents may move, activations not.
        moved = sum(nbytes for kind, nbytes in collectives.items() if kind != "all-reduce")
        assert moved <= pictures + 2**16, about
        written = table[name, program]
        for kind, nbytes in collectives.items():
            # Compilers differ in what they combine and in scalars that they send along.
            assert kind in written, about
            assert nbytes <= 1.05 * written[kind] + 4096, about


def test_the_table_has_all_programs_and_no_others():
    from jaxgan import config

    programs = set()
    for name in config.names():
        engine, _ = open_engine(name)
        for index, stage in enumerate(engine.game.stages):
            programs |= {(name, f"{index}/{turn.name}") for turn in stage.turns}
    assert read_table().keys() == programs


def test_gradients_are_reduced_once(accelerators):
    """A critic of 128 + 128 pictures in one pass: its all-reduce has the bytes of its gradients, and hardly more."""
    _, gradients, _, collectives = rows_of("wgan_gp_digits", "critic")["0/critic"]
    assert gradients <= collectives["all-reduce"]


def test_micro_batches_share_the_work_too(accelerators):
    for program, (ratio, *_) in rows_of("sngan_digits", "generator", "train.accumulate=2").items():
        assert ratio < MOST, (program, ratio)


@pytest.mark.parametrize(
    ("name", "only"),
    [("dcgan_digits", "generator"), pytest.param("sngan_digits", "", marks=pytest.mark.slow)],
)
def test_split_parameters_are_gathered_once_and_activations_do_not_move(accelerators, name, only):
    """Without `Engine._gathered`, sngan's generator turn had 37 all-gathers and 60 permutations of activations."""
    import jax

    engine, _ = open_engine(name, "train.fsdp=8")
    leaves = jax.tree.leaves((engine.state_shape.params, engine.state_shape.variables))
    split = [x for x in leaves if not x.sharding.is_fully_replicated]
    assert split
    for program, found in rows_of(name, only, "train.fsdp=8").items():
        ratio, gradients, pictures, collectives = found
        replicated = read_table()[name, program]
        assert ratio < MOST + 0.05, program
        # Of each player at most all that is split; the gradients as without splitting.
        assert 0 < collectives["all-gather"] <= sum(x.size * x.dtype.itemsize for x in split)
        assert gradients <= collectives["all-reduce"] <= 1.05 * replicated["all-reduce"] + 4096
        kinds = ("all-to-all", "collective-permute")
        moved = sum(collectives.get(kind, 0) for kind in kinds)
        assert moved <= pictures + 2**16, (program, collectives)


@pytest.mark.parametrize(
    "name",
    [
        *("sngan_digits", "pix2pix_digits"),
        *(
            pytest.param(f"{model}_digits", marks=pytest.mark.slow)
            for model in ("stylegan2", "progressive")
        ),
    ],
)
def test_devices_share_the_work_of_outputs_and_send_nothing(accelerators, name):
    import compile_for

    engine, spec = open_engine(name)
    outputs = [p for p in engine.programs(spec) if p.name in engine.game.outputs]
    assert len(outputs) == len(engine.game.outputs)
    for program in outputs:
        row = compile_for.measure(program)
        assert not row.error, row.error
        assert 0.5 < DEVICES * row.flops / row.whole_flops < MOST, program.name
        assert row.collectives == {}, program.name


def write(names: list[str]) -> None:
    """Measures configs and writes their rows."""
    from jaxgan import config

    kept = {}
    if TABLE.exists():
        with TABLE.open(newline="") as file:
            kept = {(r["config"], r["program"]): r for r in csv.DictReader(file)}
    columns = ["config", "program", "ratio", "gradients"]
    kinds = ["all-reduce", "all-gather", "all-to-all", "collective-permute"]
    for name in names or config.names():
        kept = {key: row for key, row in kept.items() if key[0] != name}
        for program, (ratio, gradients, _, collectives) in rows_of(name).items():
            assert collectives.keys() <= set(kinds), collectives
            about = dict(zip(columns, (name, program, f"{ratio:.2f}", gradients), strict=True))
            kept[name, program] = {**about, **collectives}
            print(*kept[name, program].values(), flush=True)
        with TABLE.open("w", newline="") as file:
            writer = csv.DictWriter(file, [*columns, *kinds], lineterminator="\n")
            writer.writeheader()
            writer.writerows(kept[key] for key in sorted(kept, key=_order))


def _order(key: tuple[str, str]) -> tuple:
    stage, name = key[1].split("/")
    return key[0], int(stage), name


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = (
        f"--xla_force_host_platform_device_count={DEVICES} --xla_backend_optimization_level=0"
    )
    import compile_for

    compile_for.as_on_accelerators()
    write(sys.argv[1:])
