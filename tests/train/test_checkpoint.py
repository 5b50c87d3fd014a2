"""Checkpoints: whole or not at all, and a damaged one costs only itself."""

import dataclasses
import json
import re
import resource
import shutil
import warnings
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numbers_only import Numbers

import jaxgan
from jaxgan.engine import Engine
from jaxgan.game import Game, Loss, Output, Player, Stage, State, Turn
from jaxgan.schedules import Ema
from jaxgan.spec import Field, Spec
from jaxgan.train import Checkpoints, schema


def game(columns=64):
    def loss(play):
        params = play.networks["critic"].params
        return Loss(sum(jnp.sum(x) for x in jax.tree.leaves(params)))

    critic = Player(
        Numbers(w=jnp.zeros((64, columns)), b=jnp.zeros(3)),
        (),
        optax.adam(1e-3),
        Ema(1.0),
        {"spectral": {"u": jnp.ones(4)}},
    )
    return Game(
        {"critic": critic},
        (Stage((Turn(("critic",), loss),), batch_size=2),),
        {"samples": Output(lambda play: jnp.zeros((play.num, 1)), (1,))},
        Spec({"image": Field("points", (1,))}, 4),
    )


@pytest.fixture(scope="module")
def engine():
    return Engine(game())


@pytest.fixture
def state_at(engine):
    """state_at(n): a state that is n everywhere."""
    return lambda n: jax.tree.map(lambda x: jnp.full(x.shape, n, x.dtype), engine.init())


def values(state):
    return {float(np.unique(np.asarray(leaf)).item()) for leaf in jax.tree.leaves(state)}


@pytest.fixture
def saved(tmp_path, state_at):
    """A folder with checkpoints of steps 1, 2 and 3."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=3)
    for step in (1, 2, 3):
        checkpoints.save(step, state_at(step))
    checkpoints.close()
    return tmp_path / "checkpoints"


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_without_a_checkpoint_there_is_none(tmp_path, engine):
    assert Checkpoints(tmp_path / "nowhere").restore(engine.state_shape) is None
    assert Checkpoints(tmp_path / "nowhere").steps() == []
    (tmp_path / "empty").mkdir()
    assert Checkpoints(tmp_path / "empty").restore(engine.state_shape) is None


def test_the_latest_is_restored_or_the_one_asked_for(saved, engine):
    step, state = Checkpoints(saved).restore(engine.state_shape)
    assert (step, values(state)) == (3, {3.0})
    step, state = Checkpoints(saved).restore(engine.state_shape, 1)
    assert (step, values(state)) == (1, {1.0})
    with pytest.raises(
        FileNotFoundError, match=r"no checkpoint of step 7; there are those of steps 1, 2, 3\."
    ):
        Checkpoints(saved).restore(engine.state_shape, 7)


def test_what_is_saved_are_the_values_of_the_moment_of_saving(tmp_path, engine, state_at):
    checkpoints, state = Checkpoints(tmp_path / "c"), state_at(1)
    double = jax.jit(lambda s: jax.tree.map(lambda x: 2 * x, s), donate_argnums=0)
    checkpoints.save(1, state)
    for _ in range(4):
        state = double(state)  # writes to the memory of what is being saved, unless that was copied
    checkpoints.close()
    assert values(checkpoints.restore(engine.state_shape)[1]) == {1.0}


def test_the_checkpoint_that_is_being_written_does_not_count(saved, engine):
    (saved / "4.orbax-checkpoint-tmp-17").mkdir()
    assert Checkpoints(saved).steps() == [1, 2, 3]
    assert Checkpoints(saved).restore(engine.state_shape)[0] == 3


def damaged(folder, how):
    """Applies `how` to each file in turn, and yields what was damaged."""
    for path in files(folder):
        content = path.read_bytes()
        how(path, content)
        yield path.relative_to(folder)
        path.write_bytes(content)


@pytest.mark.parametrize(
    "how",
    [
        lambda path, content: path.write_bytes(content[: len(content) // 2]),
        lambda path, content: path.write_bytes(b""),
        lambda path, content: path.unlink(),
    ],
    ids=["half", "empty", "missing"],
)
def test_whichever_file_is_damaged_the_state_is_never_wrong(saved, engine, how):
    """Either Orbax does not need the file, or the checkpoint before is taken and a sentence says so."""
    fell_back = []
    for path in damaged(saved / "3", how):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step, state = Checkpoints(saved).restore(engine.state_shape)
        assert values(state) == {float(step)}, path
        said = [str(w.message) for w in caught if w.category is UserWarning]
        if step == 3:
            assert said == [], path
            continue
        assert step == 2
        fell_back.append(path.name)
        assert len(said) == 1
        start = re.escape(f"the checkpoint of step 3 in {saved} cannot be read (")
        assert re.fullmatch(
            start + r"its files are damaged or incomplete\); falling back to the one before\.",
            said[0],
        ), said[0]
    # The files that hold the arrays and say where they are, at least.
    assert {"_METADATA", "manifest.ocdbt"} <= set(fell_back)
    assert any(len(name) == 32 for name in fell_back)


def break_all(folder):
    for path in files(folder):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_dead_weak_reference_does_not_stop_the_fallback(saved, engine):
    """`isinstance` of one raises an error."""
    dead = weakref.proxy(Numbers())
    with pytest.raises(ReferenceError):
        isinstance(dead, dict)
    break_all(saved / "3")
    with pytest.warns(UserWarning, match="falling back to the one before"):
        step, state = Checkpoints(saved).restore(engine.state_shape)
    assert (step, values(state)) == (2, {2.0})


def test_a_step_that_is_named_is_read_or_refused(saved, engine):
    break_all(saved / "3")
    sentence = (
        f"the checkpoint of step 3 in {saved} cannot be read (its files are damaged or incomplete);"
        " there are those of steps 1, 2."
    )
    with pytest.raises(OSError, match=re.escape(sentence)):
        Checkpoints(saved).restore(engine.state_shape, 3)
    step, state = Checkpoints(saved).restore(engine.state_shape, 2)
    assert (step, values(state)) == (2, {2.0})


def test_if_none_can_be_read_the_run_does_not_silently_start_again(saved, engine):
    break_all(saved)
    with (
        pytest.warns(UserWarning, match="cannot be read") as caught,
        pytest.raises(OSError, match="none of the checkpoints") as raised,
    ):
        Checkpoints(saved).restore(engine.state_shape)
    assert str(raised.value) == (
        f"none of the checkpoints in {saved} can be read (steps 1, 2, 3); remove that folder to start again."
    )
    assert ["falling back" in str(w.message) for w in caught] == [True, True, False]


def test_a_state_of_another_shape_is_not_restored_into_this_one(saved):
    with (
        pytest.warns(UserWarning, match="cannot be read"),
        pytest.raises(OSError, match="none of the checkpoints"),
    ):
        Checkpoints(saved).restore(Engine(game(columns=65)).state_shape)


def test_a_state_of_other_parts_is_named_as_such(saved):
    other = game()
    critic = dataclasses.replace(other.players["critic"], collections={})
    other = dataclasses.replace(other, players={"critic": critic})
    with (
        pytest.warns(UserWarning, match="its state has another structure: it is of another model,"),
        pytest.raises(OSError, match="none of the checkpoints"),
    ):
        Checkpoints(saved).restore(Engine(other).state_shape)


def test_the_next_save_replaces_what_could_not_be_read(saved, engine, state_at):
    break_all(saved / "3")
    checkpoints = Checkpoints(saved, keep=2)
    with pytest.warns(UserWarning, match="step 3"):
        assert checkpoints.restore(engine.state_shape)[0] == 2
    assert checkpoints.steps() == [1, 2, 3]  # to look is not to touch
    checkpoints.save(4, state_at(4))
    checkpoints.close()
    # The damaged one does not count among the two to keep.
    assert checkpoints.steps() == [2, 4]
    assert values(checkpoints.restore(engine.state_shape)[1]) == {4.0}


@pytest.mark.parametrize("steps", [(2,), (2, 3)])
def test_a_full_disk_is_told_and_the_run_goes_on_where_there_is_room(tmp_path, steps):
    """By `close`, or by the next `save`. No file may have more than 100 kB. The way out is followed."""

    def state_at(step):
        noise = jax.random.normal(jax.random.key(step), (100_000,))
        return State(jnp.int32(step), {"critic": {"w": noise}}, {}, {}, {})

    def save(*steps):
        for step in steps:
            checkpoints.save(step, state_at(step))
        checkpoints.close()

    checkpoints = Checkpoints(tmp_path)
    save(1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    text = re.escape(
        f"a checkpoint cannot be written to {tmp_path} (File too large); make room there, and run the same again, which"
        " continues from step 1"
    )
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(OSError, match=f"^{text}$"):
            save(*steps)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    checkpoints = Checkpoints(tmp_path)
    shape = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state_at(1)
    )
    step, state = checkpoints.restore(shape)
    np.testing.assert_array_equal(state.params["critic"]["w"], state_at(1).params["critic"]["w"])
    save(2)
    assert (step, checkpoints.steps()) == (1, [1, 2])


def test_a_damaged_checkpoint_of_the_same_step_can_be_saved_over(saved, engine, state_at):
    break_all(saved / "3")
    checkpoints = Checkpoints(saved, keep=2)
    checkpoints.save(3, state_at(30))
    checkpoints.close()
    step, state = checkpoints.restore(engine.state_shape)
    assert (step, values(state)) == (3, {30.0})


def restamp(folder, change):
    """Applies `change` to what a checkpoint states of itself."""
    path = folder / "_CHECKPOINT_METADATA"
    found = json.loads(path.read_text())
    change(found["custom_metadata"])
    path.write_text(json.dumps(found))


def test_a_checkpoint_states_its_format_its_version_and_its_run(tmp_path, state_at):
    checkpoints = Checkpoints(tmp_path, record={"config": {"model": {"name": "gan"}}})
    checkpoints.save(1, state_at(1))
    checkpoints.close()
    copied = shutil.copytree(tmp_path / "1", tmp_path / "elsewhere" / "7")
    assert Checkpoints(copied.parent).record(7) == {
        "schema": schema.SCHEMA,
        "jaxgan": jaxgan.__version__,
        "config": {"model": {"name": "gan"}},
    }


def test_a_checkpoint_of_a_version_without_a_format_is_read(saved, engine):
    restamp(saved / "3", dict.clear)
    assert Checkpoints(saved).record(3) == {}
    step, state = Checkpoints(saved).restore(engine.state_shape)
    assert (step, values(state)) == (3, {3.0})


def test_a_checkpoint_of_a_later_format_is_refused_and_kept(saved, engine):
    """None before it takes its place: the run would go back, and overwrite it."""
    restamp(saved / "3", lambda stated: stated.update(schema=schema.SCHEMA + 1, jaxgan="9.9"))
    text = (
        f"the checkpoint of step 3 in {saved} is of format {schema.SCHEMA + 1}, written by jaxgan 9.9, and this is"
        f" jaxgan {jaxgan.__version__}, which reads formats up to {schema.SCHEMA}; install that version of jaxgan, or"
        " train into another workdir."
    )
    with pytest.raises(schema.NewerSchema, match=f"^{re.escape(text)}$"):
        Checkpoints(saved).restore(engine.state_shape)
    assert Checkpoints(saved).steps() == [1, 2, 3]
