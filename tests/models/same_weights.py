"""For tests that compare networks with another implementation's: parameters by a rule, and the comparison."""

import zlib

import jax
import numpy as np

from jaxgan import losses
from jaxgan.game import averaged_part


def by_rule(name, shape):
    return np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape).astype(np.float32)


def ruled(params, player):
    """Parameters by rule, of a size that a trained network may have."""

    def leaf(path, x):
        name = f"{player}{jax.tree_util.keystr(path)}"
        if name.endswith("['gamma']"):
            return np.float32(0.6)
        gain = np.float32("gain" in name or "scale" in name)
        return gain + 0.2 * by_rule(name, x.shape)

    return jax.tree_util.tree_map_with_path(leaf, params)


def leading(kernel):
    """The singular vector on the side of the outputs, of the kernel as a matrix [inputs, outputs]."""
    return np.linalg.svd(np.float64(kernel).reshape(-1, kernel.shape[-1]))[2][0].astype(np.float32)


def variables_by_rule(engine, player):
    shapes = engine.state_shape
    params = ruled(shapes.params[player], player)

    def start(path, x):
        return np.full(x.shape, path[-1].key == "var", x.dtype)

    variables = jax.tree_util.tree_map_with_path(start, shapes.variables[player])

    def u(path, _):
        layer = params
        for key in path[:-1]:
            layer = layer[key.key]
        return leading(layer["embedding"].T if "embedding" in layer else layer["kernel"])

    variables["spectral"] = jax.tree_util.tree_map_with_path(u, variables["spectral"])
    return {"params": params, **variables}


def state_by_rule(engine):
    """A state before any round: parameters by rule, converged singular vectors, averages equal to the parameters."""
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), engine.state_shape)
    params, variables = {}, {}
    for player in zeros.params:
        variables[player] = variables_by_rule(engine, player)
        params[player] = variables[player].pop("params")
    ema = {name: averaged_part(params[name], variables[name]) for name in zeros.ema}
    return zeros.replace(params=params, variables=variables, ema=ema)


def inputs(engine, num, classes):
    """(latent, real pictures, label), by rule."""
    generator, spec = engine.game.players["generator"], engine.game.spec
    latent = by_rule("latent", (num, generator.example[0].shape[1]))
    real = np.tanh(by_rule("real", (num, *spec.shape)))
    return latent, real, np.arange(num, dtype=np.int32) % classes


def close_to_scale(found, golden, prefix, atol=1e-3):
    """Each leaf is the golden array of its path, up to `atol` times the largest number there."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(found):
        expected = golden[f"{prefix}{jax.tree_util.keystr(path)}"]
        scale = np.abs(expected).max() + 1e-3
        np.testing.assert_allclose(leaf / scale, expected / scale, atol=atol, err_msg=str(path))


def check_networks(engine, golden, classes):
    """The outputs, hinge losses and gradients of a conditional critic and generator are the golden ones.

    `golden` has the generated pictures "fake", the critic's "logits" of the real ones, "critic_loss",
    "generator_loss", and the gradients by player and path.
    """
    networks = {p: engine.game.players[p].module for p in ("generator", "critic")}
    generator, critic = (variables_by_rule(engine, p) for p in ("generator", "critic"))
    latent, real, label = inputs(engine, len(golden["fake"]), classes)

    def make(params):
        given = {**generator, "params": params}
        return networks["generator"].apply(given, latent, label, True, mutable=["batch_stats"])[0]

    def judge(params, pictures):
        return networks["critic"].apply({**critic, "params": params}, pictures, label, True)

    def critic_loss(params):
        return losses.hinge.critic(judge(params, real), judge(params, golden["fake"]))

    def generator_loss(params):
        return losses.hinge.generator(judge(critic["params"], make(params)))

    np.testing.assert_allclose(jax.jit(make)(generator["params"]), golden["fake"], atol=1e-4)
    logits = jax.jit(judge)(critic["params"], real)
    np.testing.assert_allclose(logits, golden["logits"], rtol=1e-4, atol=1e-4)
    for player, loss, params in (
        ("critic", critic_loss, critic["params"]), ("generator", generator_loss, generator["params"])
    ):  # fmt: skip
        value, slopes = jax.jit(jax.value_and_grad(loss))(params)
        np.testing.assert_allclose(value, golden[f"{player}_loss"], rtol=1e-4)
        close_to_scale(slopes, golden, player)
