"""StyleGAN2: parity with another implementation, and the properties that define it."""

import dataclasses
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import battery

from jaxgan import penalties
from jaxgan.game import DataSpec, Engine
from jaxgan.models import stylegan2
from jaxgan.nets import modulated
from jaxgan.nets import stylegan2 as nets

SPEC = DataSpec((16, 16, 3), 10, 1000)
SMALL = stylegan2.Options(
    latent_dim=16,
    style_dim=16,
    mapping_layers=3,
    critic_mapping_layers=2,
    channel_base=128,
    channel_max=16,
    batch_size=8,
    r1_every=2,
    path_every=2,
)


def make(spec=SPEC, **changes):
    return stylegan2.game(dataclasses.replace(SMALL, **changes), spec)


# Parity -----------------------------------------------------------------------------------------------------------


def value(name, shape):
    """A parameter by a rule, of a size that its initialisation could have given it."""
    x = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)
    if name.startswith("mapping"):
        x = x * (100 if name.endswith("kernel") else 30)
    elif name.endswith("style/bias"):
        x = 1 + 0.3 * x
    elif not name.endswith(("kernel", "constant")):
        x = 0.3 * x
    return jnp.asarray(x, jnp.float32)


def drawn(key, shape=(), dtype=jnp.float32):
    """In place of `jax.random.normal`: a function of the shape alone."""
    rng = np.random.default_rng(zlib.crc32(str(tuple(shape)).encode()))
    return jnp.asarray(rng.normal(size=shape), dtype)


def named(tree):
    """{"conv8/conv/kernel": leaf} of a tree of parameters."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(part.key for part in path): leaf for path, leaf in leaves}


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parent / "golden" / "stylegan2.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def ruled():
    """(game, its state with the parameters of the rule, a batch); no augmentation, no mixing."""
    game = make(augmentation="off", mixing=0.0, r1_every=16, path_every=4)
    state = Engine(game).init()

    def filled(path, leaf):
        name = "/".join(part.key for part in path)
        return value(name.removeprefix("generator/"), leaf.shape)

    params = jax.tree_util.tree_map_with_path(filled, state.params)
    variables = {**state.variables, "generator": dict(state.variables["generator"])}
    variables["generator"]["path"] = {"mean": jnp.float32(0.5)}
    image = np.random.default_rng(7).integers(0, 256, (8, 16, 16, 3)).astype(np.uint8)
    return game, state.replace(params=params, variables=variables), {"image": image}


def close(a, b, rtol):
    scale = np.abs(b).max()
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale)


def test_networks_agree_with_another_implementation(golden, ruled, monkeypatch):
    """rosinality/stylegan2-pytorch at bef283a, its CUDA operations written in plain PyTorch, widths of 16 and 8."""
    monkeypatch.setattr(jax.random, "normal", drawn)
    _, state, batch = ruled
    params = state.params["generator"]
    mapping = nets.Mapping(16, 3)
    z = drawn(None, (8, 16))
    w, other = (mapping.apply({"params": params["mapping"]}, x, None) for x in (z, z[::-1]))
    close(w, golden["w"], 1e-4)
    synthesis = nets.Synthesis(16, 3, 128, 16)
    variables = {
        "params": params["synthesis"],
        "noise": state.variables["generator"]["noise"],
    }
    paint = jax.jit(lambda w: synthesis.apply(variables, w, rngs={"noise": jax.random.key(0)}))
    pictures = paint(jnp.broadcast_to(w[:, None], (8, 6, 16)))
    close(pictures, golden["pictures"], 1e-4)
    mixed = paint(jnp.stack([w, w, other, other, other, other], axis=1))
    close(mixed, golden["mixed_pictures"], 1e-4)
    critic = nets.Critic(128, 16)
    judge = jax.jit(lambda x: critic.apply({"params": state.params["critic"]}, x, None))
    close(judge(batch["image"] / np.float32(127.5) - 1), golden["real_logits"], 1e-4)
    close(judge(pictures), golden["fake_logits"], 1e-4)


@pytest.mark.parametrize("name", ["critic", "r1", "generator", "path"])
def test_losses_and_gradients_agree_with_another_implementation(golden, ruled, monkeypatch, name):
    """The same, for the losses of its training script: one step of every turn."""
    monkeypatch.setattr(jax.random, "normal", drawn)
    game, state, batch = ruled
    (turn,) = [turn for turn in game.stages[0].turns if turn.name == name]

    @jax.jit
    def play(mover):
        out = turn.loss(
            {**state.params, turn.players[0]: mover}, state.variables, batch, jax.random.key(0)
        )
        return out.value, (out.variables, out.metrics)

    gradients, (variables, metrics) = jax.grad(play, has_aux=True)(state.params[turn.players[0]])
    if name in ("critic", "generator"):
        close(play(state.params[turn.players[0]])[0], golden[f"{name}/loss"], 1e-4)
    else:
        close(metrics["penalty"], golden[f"{name}/penalty"], 1e-3)
    if name == "path":
        close(variables["generator"]["path"]["mean"], golden["path/mean"], 1e-4)
    prefix = "critic/" if turn.players[0] == "critic" else ""
    gradients = {prefix + path: leaf for path, leaf in named(gradients).items()}
    norms = np.array([np.linalg.norm(gradients[path]) for path in sorted(gradients)])
    entries = np.array([np.resize(np.ravel(gradients[path]), 4) for path in sorted(gradients)])
    np.testing.assert_allclose(norms, golden[f"{name}/norms"], rtol=1e-3, atol=1e-7)
    size = golden[f"{name}/norms"][:, None]
    assert (np.abs(entries - golden[f"{name}/entries"]) <= 1e-3 * size + 1e-7).all()
