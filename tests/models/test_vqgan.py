"""VQGAN: both phases against the reference implementation, the tools, what is refused, and the battery."""

import dataclasses
import functools
import os
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import battery

from jaxgan.game import DataSpec, Engine
from jaxgan.models import vqgan
from jaxgan.nets.patchgan import PatchCritic
from jaxgan.nets.perceptual import Perceptual
from jaxgan.nets.transformer import Transformer
from jaxgan.nets.vqgan import Autoencoder, Decoder, Encoder

CIFAR = DataSpec((32, 32, 3), 10, 50_000)
DIGITS = DataSpec((8, 8, 1), 10, 1_797)
LARGE = DataSpec((256, 256, 3), None, 100_000)
SPEC = DataSpec((16, 16, 3), 3, 100)

TINY = {
    "channels": 8,
    "channel_multiples": "1,2",
    "blocks": 1,
    "attention_resolutions": "8",
    "groups": 4,
    "latent_channels": 8,
    "codes": 16,
    "code_dim": 4,
    "codebook_init": "data",
    "revive_after": 1,
    "perceptual": "none",
    "critic_width": 4,
    "critic_layers": 2,
    "batch_size": 8,
    "learning_rate_per_image": 1e-4,
    "critic_from": 0,
    "adversarial_from": 1,
    "transformer_from": 3,
    "conditional": True,
    "layers": 2,
    "heads": 2,
    "width": 16,
    "context": 64,
    "dropout": 0.1,
    "keep": 0.9,
    "transformer_batch_size": 8,
    "transformer_learning_rate_per_image": 1e-4,
}
SMALL_CIFAR = (("channel_multiples", "1,2,2"), ("perceptual", "none"))


# The published f16/1024 autoencoder has 68.4 million parameters (taming-transformers, modules counted), of which the
# codebook's are 262,144.
GOLDEN = {}


def game(spec=SPEC, **changes):
    return vqgan.game(vqgan.Options(**TINY | changes), spec)


# Parity ---------------------------------------------------------------------------------------------------


def by_rule(name, shape):
    """A parameter called `name`: normal numbers of its own seed, of a scale that keeps activations about 1."""
    values = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)
    kind = name.rpartition("/")[2]
    if kind == "kernel":
        return np.float32(values / np.sqrt(np.prod(shape[:-1])))
    return np.float32(0.1 * values + (kind == "scale"))


def filled(player, shapes):
    """The collection of parameters, all by rule."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: by_rule("/".join((player, *(p.key for p in path))), leaf.shape), shapes
    )


def distance_by_rule(params, x, y):
    """A perceptual loss: the mean squared difference of a random convolution."""
    del params
    kernel = jnp.asarray(by_rule("perceptual/kernel", (3, 3, 3, 8)))
    dimensions = ("NHWC", "HWIO", "NHWC")
    difference = jax.lax.conv_general_dilated(
        x - y, kernel, (1, 1), "SAME", dimension_numbers=dimensions
    )
    return jnp.mean(jnp.square(difference))


@pytest.fixture(scope="module")
def reference():
    with np.load(Path(__file__).parent / "golden" / "vqgan.npz") as golden:
        return dict(golden)


@pytest.fixture(scope="module")
def ours():
    """What jaxgan makes of the weights and pictures that the reference was given."""
    options = dataclasses.replace(
        vqgan.Options(**TINY), codes=24, code_dim=8, adaptive_delta=1e-4, dropout=0.0, keep=1.0,
        revive_after=0,
    )  # fmt: skip
    shape = {"widths": (32, 64), "attention": (False, True), "blocks": 1, "latent_channels": 16}
    autoencoder = Autoencoder(Encoder(**shape, code_dim=8), Decoder(**shape, channels=3))
    critic = PatchCritic(8, 2)
    transformer = Transformer(codes=24, prefixes=3, context=64, layers=2, heads=2, width=16)
    seen = Perceptual(distance_by_rule, {}, dict)
    autoencoder_loss, critic_loss, _ = vqgan.first_phase(options, autoencoder, critic, seen)
    transformer_loss = vqgan.second_phase(options, autoencoder, transformer, 3)

    key = jax.random.key(0)
    picture, latent = jnp.zeros((1, 16, 16, 3)), jnp.zeros((1, 8, 8, 8))
    born = {
        "encoder": jax.eval_shape(autoencoder.encoder.init, key, picture),
        "decoder": jax.eval_shape(autoencoder.decoder.init, key, latent),
        "critic": jax.eval_shape(critic.init, key, picture),
        "transformer": jax.eval_shape(transformer.init, key, jnp.zeros((1, 1), jnp.int32)),
    }
    params = {name: filled(name, tree["params"]) for name, tree in born.items()}
    params["codebook"] = {"embedding": by_rule("codebook/embedding", (24, 8))}
    params = jax.tree.map(jnp.asarray, {**params, "perceptual": {}})
    statistics = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), born["critic"])
    codes = {"offset": np.zeros((24, 8), np.float32), "idle": np.zeros(24, np.int32)}
    variables = {name: {} for name in params} | {
        "codebook": {"codes": codes},
        "critic": {"batch_stats": statistics["batch_stats"]},
    }
    batch = {
        "image": np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8),
        "label": np.int32([0, 2, 1, 0]),
    }
    networks = {name: {"params": params[name], **variables[name]} for name in params}

    @jax.jit
    def outputs():
        x = jnp.asarray(batch["image"], jnp.float32) / 127.5 - 1
        z, indices, e = autoencoder.encode(networks, x)
        logits, _ = critic.apply(networks["critic"], x, mutable=["batch_stats"])
        tokens = jnp.concatenate(
            [24 + batch["label"][:, None], indices.reshape(4, -1)[:, :-1]], axis=1
        )
        return {
            "latents": z,
            "codes": indices,
            "pictures": autoencoder.decoder.apply(networks["decoder"], e),
            "logits": logits,
            "code_logits": transformer.apply(networks["transformer"], tokens),
        }

    made, gradients = outputs(), {}
    for loss, movers in (
        (functools.partial(autoencoder_loss, adversary=True), ("encoder", "decoder", "codebook")),
        (critic_loss, ("critic",)),
        (transformer_loss, ("transformer",)),
    ):

        @jax.jit
        def slope(moving, loss=loss):
            def value(moving):
                out = loss({**params, **moving}, variables, batch, key)
                return out.value, (out.value, out.metrics)

            return jax.grad(value, has_aux=True)(moving)

        grads, (value, metrics) = slope({name: params[name] for name in movers})
        made[f"loss {movers[0]}"] = value
        made |= metrics
        for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
            gradients["/".join(p.key for p in path)] = np.asarray(leaf)
    return made, gradients


def close(actual, desired, tolerance):
    """Relative to the largest number."""
    np.testing.assert_allclose(actual, desired, rtol=0, atol=tolerance * np.abs(desired).max())


def test_networks_agree_with_taming_transformers(reference, ours):
    """CompVis/taming-transformers (MIT), commit 3ba01b241669f5ade541ce990f7650a3b8f65318.

    Its Encoder, Decoder, VectorQuantizer2, NLayerDiscriminator and GPT in PyTorch 2.13, parameters by `by_rule`.
    """
    made, _ = ours
    np.testing.assert_array_equal(made["codes"], reference["codes"])
    close(made["latents"], reference["latents"], 1e-4)
    close(made["pictures"][:2], reference["pictures"], 1e-4)
    close(made["logits"], reference["logits"], 1e-4)
    close(made["code_logits"][:2], reference["code_logits"], 1e-4)


def test_losses_agree_with_taming_transformers(reference, ours):
    """VQLPIPSWithDiscriminator of the same commit with `distance_by_rule` for LPIPS, beta as its legacy=False has it."""
    made, _ = ours
    for name, theirs in (
        ("loss encoder", "loss"),
        ("adaptive_weight", "adaptive_weight"),
        ("deception", "deception"),
        ("commitment", "commitment"),
        ("loss critic", "critic_loss"),
        ("loss transformer", "transformer_loss"),
    ):
        np.testing.assert_allclose(made[name], reference[theirs], rtol=1e-4, err_msg=name)


def test_gradients_agree_with_taming_transformers(reference, ours):
    _, gradients = ours
    norms = dict(zip(reference["gradient_names"], reference["gradient_norms"], strict=True))
    assert norms.keys() == gradients.keys()
    largest = {}
    for name, norm in norms.items():
        player = name.partition("/")[0]
        largest[player] = max(largest.get(player, 0), norm)
    for name, norm in norms.items():
        # Some are zero but for rounding: of what a norm subtracts again, of keys' biases.
        scale = 1e-3 * max(norm, 1e-3 * largest[name.partition("/")[0]])
        assert abs(np.linalg.norm(gradients[name]) - norm) < scale, name
    for name in reference:
        if name.startswith("entries "):
            ours_, theirs = gradients[name.removeprefix("entries ")].ravel()[:100], reference[name]
            close(ours_, theirs, 1e-3)
