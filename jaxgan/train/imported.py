"""Writes a run folder whose networks are published weights, see `jaxgan.imports`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxgan.engine import Engine
from jaxgan.game import State, averaged_part
from jaxgan.imports import Imported, Leaf
from jaxgan.train import workdir as folders
from jaxgan.train.checkpoint import Checkpoints

IMPORTED = (
    "imported"  # the part of a run's record that states the files and the players that they held
)


def state_of(engine: Engine, imported: Imported) -> State:
    """The state of round 0 with the imported variables; players that the files lack have their initial values.

    Players with an average have that of the files, or else the imported variables as the average. Optimisers start
    anew.

    Raises:
      ValueError: a variable and its tensor do not have the same shape, or one of them is missing.
    """
    params, variables, opt_state, ema = {}, {}, {}, {}
    key = jax.random.key(0)
    # It runs once; see `Engine._init_program`.
    quick = {"xla_backend_optimization_level": 0} if engine.platform == "cpu" else None
    for name, player in engine.game.players.items():
        if name in imported.players:
            collections = _variables(engine, imported, name, imported.players[name])
        else:
            collections = dict(jax.jit(player.init, compiler_options=quick)(key))
        params[name] = collections.pop("params")
        variables[name] = collections
        if player.optimizer is not None:
            opt_state[name] = player.optimizer.init(params[name])
        if player.average is not None:
            given, average = imported.averages.get(name), averaged_part(params[name], collections)
            if given is not None:
                found = _variables(engine, imported, name, given)
                average = {collection: found[collection] for collection in average}
            ema[name] = jax.tree.map(jnp.copy, average)
    state = State(jnp.int32(0), params, opt_state, variables, ema)
    return jax.tree.map(jax.device_put, state, engine.state_shardings)


def _variables(
    engine: Engine, imported: Imported, name: str, leaves: Mapping[str, Leaf]
) -> dict[str, Any]:
    """{"params": ..., other collections: ...} of a player, each array of the shape that the player needs.

    Collections that losses keep beside the module's have their initial values unless they are in the files.
    """
    shapes, own = engine.state_shape, engine.game.players[name].collections
    beside = own(jax.random.key(0)) if callable(own) else own
    given = {path.partition("/")[0] for path in leaves}
    beside = {key: tree for key, tree in beside.items() if key not in given}
    needed = {"params": shapes.params[name], **shapes.variables[name]}
    needed = {key: tree for key, tree in needed.items() if key not in beside}
    return {
        **jax.tree.map(jnp.asarray, beside),
        **_filled(imported.model, name, leaves, flatten_dict(needed, sep="/")),
    }


def _filled(
    model: str, player: str, leaves: Mapping[str, Leaf], needed: Mapping[str, Any]
) -> dict[str, Any]:
    """The arrays as a tree; raises unless they are those that are needed, by path and shape."""
    for path, leaf in leaves.items():
        place = f"the tensor '{leaf.tensor}' makes {player}/{path} of shape {list(leaf.value.shape)}, but {model}"
        if path not in needed:
            raise ValueError(
                f"{place} of this size has no such part; this is a variant that cannot be imported."
            )
        if leaf.value.shape != needed[path].shape:
            raise ValueError(
                f"{place} of this size needs {list(needed[path].shape)}; this is a variant that cannot be imported."
            )
    missing = [path for path in needed if path not in leaves]
    if missing:
        raise ValueError(
            f"the files have no tensor for {player}/{missing[0]} of {model}; this is a variant that cannot be imported."
        )
    arrays = {p: jnp.asarray(leaf.value, needed[p].dtype) for p, leaf in leaves.items()}
    return unflatten_dict(arrays, sep="/")


def write(
    workdir: str | Path, record: Mapping[str, Any], state: State, about: Mapping[str, Any]
) -> None:
    """Makes `workdir`, which must not hold a run, that of an imported one.

    Args:
      workdir: the folder.
      record: config and spec, as in `workdir.claim`.
      state: of `state_of`.
      about: the files and the players that they held.
    """
    if folders.holds_run(workdir):
        raise FileExistsError(f"{workdir} holds a run; choose another folder.")
    record = {**record, **folders.of_process(), IMPORTED: dict(about)}
    folders.claim(workdir, record)
    with folders.writing(workdir):
        checkpoints = Checkpoints(Path(workdir) / folders.CHECKPOINTS, record=record)
        checkpoints.save(int(state.step), state)
        checkpoints.close()


def players(record: Mapping[str, Any]) -> list[str] | None:
    """The players of an imported run whose weights were in its files; None for a run that was not imported."""
    return record[IMPORTED]["players"] if IMPORTED in record else None
