"""VQGAN: the losses against the reference implementation and by hand, stages, outputs, tools, errors, the battery."""

import dataclasses
import functools
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import battery

from jaxgan import train
from jaxgan.engine import Engine
from jaxgan.game import Play
from jaxgan.models import vqgan
from jaxgan.nets.codebook import Codebook
from jaxgan.nets.patchgan import PatchCritic
from jaxgan.nets.perceptual import Perceptual
from jaxgan.nets.transformer import Transformer
from jaxgan.nets.vqgan import Decoder, Encoder, encode
from jaxgan.network import Network
from jaxgan.schedules import Clock, Ema
from jaxgan.spec import Field, Spec
from jaxgan.train import Options as TrainOptions
from jaxgan.train import make_engine
from jaxgan.train.outputs import make_output

CIFAR = Spec({"image": Field("image", (32, 32, 3)), "label": Field("label", number=10)}, 50_000)
LARGE = Spec({"image": Field("image", (256, 256, 3))}, 100_000)
SPEC = Spec({"image": Field("image", (16, 16, 3)), "label": Field("label", number=3)}, 100)

TINY = {
    "channels": 8,
    "channel_multiples": (1, 1),
    "blocks": 0,
    "attention_resolutions": (),
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
    "adversarial_from": 0,
    "transformer_from": 2,
    "conditional": True,
    "layers": 1,
    "heads": 2,
    "width": 16,
    "context": 64,
    "dropout": 0.1,
    "keep": 0.9,
    "transformer_batch_size": 8,
    "transformer_learning_rate_per_image": 1e-4,
}
SMALL_CIFAR = (("channel_multiples", (1, 2, 2)), ("context", 64), ("perceptual", "none"))

# Of the first, encoder, decoder and critic have as many as the reference's modules (imagenet_vqgan.yaml, with the 1x1
# convolutions), and the transformer 1,024 less than its GPT of 1,025 tokens, which predicts the start token too.
GOLDEN = {
    ("vqgan", LARGE, ()): {
        "encoder": 29_363_968,
        "codebook": 262_144,
        "decoder": 42_515_587,
        "critic": 2_765_633,
        "transformer": 304_671_744,
        "perceptual": 14_716_160,
    },
    ("vqgan", CIFAR, (*SMALL_CIFAR, ("conditional", True))): {
        "encoder": 9_604_992,
        "codebook": 262_144,
        "decoder": 13_411_587,
        "critic": 2_765_633,
        "transformer": 304_484_352,
    },
}


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


PARITY = {
    "encoder": Encoder((32, 64), (False, True), 1, latent_channels=16, code_dim=8),
    "codebook": Codebook(24, 8),
    "decoder": Decoder((32, 64), (False, True), 1, latent_channels=16, channels=3),
    "critic": PatchCritic(8, 2),
    "transformer": Transformer(codes=24, prefixes=3, context=64, layers=2, heads=2, width=16),
    "perceptual": Perceptual(distance_by_rule, {}, dict),
}


def by_rule_networks():
    """Networks of the reference's widths, parameters by rule; batch statistics play no part in training."""
    picture, latent = jnp.zeros((1, 16, 16, 3)), jnp.zeros((1, 8, 8, 8))
    examples = {"encoder": picture, "codebook": latent, "decoder": latent, "critic": picture}
    examples["transformer"] = jnp.zeros((1, 1), jnp.int32)
    networks = {"perceptual": Network(PARITY["perceptual"], {"params": {}})}
    for name, example in examples.items():
        shapes = jax.eval_shape(PARITY[name].init, jax.random.key(0), example)
        variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        variables["params"] = jax.tree.map(jnp.asarray, filled(name, shapes["params"]))
        networks[name] = Network(PARITY[name], variables)
    return networks


def parity_batch():
    rng = np.random.default_rng(0)
    pictures = jnp.asarray(rng.integers(0, 256, (4, 16, 16, 3), np.uint8))
    return SPEC.decode({"image": pictures, "label": jnp.asarray([0, 2, 1, 0], jnp.int32)})


@pytest.fixture(scope="module")
def learnt():
    """(losses, gradients) of jaxgan for the weights and pictures that the reference was given."""
    options = dataclasses.replace(
        vqgan.Options(**TINY), codes=24, code_dim=8, adaptive_delta=1e-4, dropout=0.0, keep=1.0,
        revive_after=0,
    )  # fmt: skip
    procedure, networks = vqgan.Procedure(options, (8, 8)), by_rule_networks()
    batch, made, gradients = parity_batch(), {}, {}
    for loss, movers in (
        (lambda play: procedure.autoencoder_loss(play, True), ("encoder", "decoder", "codebook")),
        (procedure.critic_loss, ("critic",)),
        (procedure.transformer_loss, ("transformer",)),
    ):

        def value(params, loss=loss):
            moving = {name: networks[name].replace(params=params[name]) for name in params}
            clock = Clock(*map(jnp.float32, (0, 0, 0, 0, 0)))
            play = Play({**networks, **moving}, batch, jax.random.key(0), clock, 4, 4)
            out = loss(play)
            return out.value, out.metrics | {"value": out.value}

        params = {name: networks[name].params for name in movers}
        grads, metrics = jax.jit(jax.grad(value, has_aux=True))(params)
        made |= metrics | {f"loss {movers[0]}": metrics["value"]}
        for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
            gradients["/".join(p.key for p in path)] = np.asarray(leaf)
    return made, gradients


def assert_close(actual, desired, tolerance):
    """Relative to the largest number."""
    np.testing.assert_allclose(actual, desired, rtol=0, atol=tolerance * np.abs(desired).max())


@pytest.mark.slow
def test_networks_agree_with_taming_transformers(reference):
    """CompVis/taming-transformers (MIT), commit 3ba01b241669f5ade541ce990f7650a3b8f65318.

    Its Encoder, Decoder, VectorQuantizer2, NLayerDiscriminator and GPT in PyTorch 2.13, parameters by `by_rule`.
    """
    batch = parity_batch()

    @jax.jit
    def outputs(networks):
        z, indices, e = encode(networks, batch["image"])
        label = 24 + batch["label"][:, None]
        tokens = jnp.concatenate([label, indices.reshape(4, -1)[:, :-1]], axis=1)
        return {
            "latents": z,
            "codes": indices,
            "pictures": networks["decoder"](e),
            "logits": networks["critic"](batch["image"]),
            "code_logits": networks["transformer"](tokens),
        }

    made = outputs(by_rule_networks())
    np.testing.assert_array_equal(made["codes"], reference["codes"])
    assert_close(made["latents"], reference["latents"], 1e-4)
    assert_close(made["pictures"][:2], reference["pictures"], 1e-4)
    assert_close(made["logits"], reference["logits"], 1e-4)
    assert_close(made["code_logits"][:2], reference["code_logits"], 1e-4)


@pytest.mark.slow
def test_losses_agree_with_taming_transformers(reference, learnt):
    """VQLPIPSWithDiscriminator of the same commit, `distance_by_rule` in LPIPS's place, beta as with legacy=False."""
    made, _ = learnt
    for name, theirs in (
        ("loss encoder", "loss"),
        ("adaptive_weight", "adaptive_weight"),
        ("adversarial", "deception"),
        ("commitment", "commitment"),
        ("loss critic", "critic_loss"),
        ("loss transformer", "transformer_loss"),
    ):
        np.testing.assert_allclose(made[name], reference[theirs], rtol=1e-4, err_msg=name)


@pytest.mark.slow
def test_gradients_agree_with_taming_transformers(reference, learnt):
    _, gradients = learnt
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
            assert_close(ours_, theirs, 1e-3)


# Losses by hand -------------------------------------------------------------------------------------------


def kernel_distance(params, x, y):
    """A perceptual loss."""
    return params["scale"] * distance_by_rule(None, x, y)


@pytest.fixture(scope="module")
def scene():
    """(engine, state, batch): all options unlike their defaults, codes replaced and networks away from their start."""
    seen = Perceptual(
        kernel_distance,
        {"scale": jax.ShapeDtypeStruct((), jnp.float32)},
        lambda: {"scale": np.float32(0.3)},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vqgan.perceptual, "by_name", lambda *arguments: seen)
        made = game(
            perceptual="squeezenet1_1_notop", perceptual_weight=0.7, codebook_weight=0.6, commitment_weight=0.2,
            adversarial_weight=0.5, adaptive_delta=0.01, keep=0.5,
        )  # fmt: skip
    engine = Engine(made)
    state = battery.host(engine.init())
    rng = np.random.default_rng(0)

    def away(path, leaf):
        if path[0].key == "perceptual":
            return leaf
        return np.asarray(leaf) + np.asarray(0.1 * rng.normal(size=leaf.shape), leaf.dtype)

    codes = state.variables["codebook"]["codes"]
    offset = np.asarray(rng.normal(size=codes["offset"].shape), np.float32)
    idle = np.where(np.arange(16) == 3, codes["idle"].dtype.type(5), codes["idle"])
    codes = {**codes, "offset": offset, "idle": idle}
    state = state.replace(
        params=jax.tree_util.tree_map_with_path(away, state.params),
        variables={**state.variables, "codebook": {"codes": codes}},
    )
    return engine, jax.tree.map(jnp.asarray, state), battery.batch(SPEC, 0, made.stages[0], 0)


def turn_of(engine, stage, name):
    return {turn.name: turn for turn in engine.game.stages[stage].turns}[name]


@functools.cache
def program(engine, stage, name):
    """The compiled loss and gradients of a turn: (its players' parameters, state, batch) -> what `evaluated` takes."""
    turn = turn_of(engine, stage, name)

    def loss(moving, state, batch):
        play = engine.play(state, batch, jax.random.key(5), {**state.params, **moving})
        out = turn.loss(play)
        return out.value, (out.metrics, {name: moved.state for name, moved in play.moved.items()})

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def evaluated(scene, stage, name, params=None):
    """(loss, metrics, state of the players that the loss moves, gradients by player)."""
    engine, state, batch = scene
    state = state.replace(params={**state.params, **(params or {})})
    moving = {player: state.params[player] for player in turn_of(engine, stage, name).players}
    (value, (metrics, moved)), gradients = program(engine, stage, name)(moving, state, batch)
    return value, metrics, moved, gradients


def own(scene):
    """(pictures, {player: module.apply}, params, variables)."""
    engine, state, batch = scene
    x = jnp.asarray(batch["image"], jnp.float32) / 127.5 - 1
    applies = {name: player.module.apply for name, player in engine.game.players.items()}
    return x, applies, state.params, state.variables


def quantised(scene, params):
    """(z, indices, e) by all distances."""
    x, applies, _, variables = own(scene)
    z = applies["encoder"]({"params": params["encoder"]}, x)
    codes = params["codebook"]["embedding"] + variables["codebook"]["codes"]["offset"]
    far = jnp.sum(jnp.square(z[..., None, :] - codes[None, None, None]), axis=-1)
    indices = jnp.argmin(far, axis=-1)
    return z, indices, codes[indices]


def norm(tree):
    return np.sqrt(sum(float(jnp.sum(jnp.square(leaf))) for leaf in jax.tree.leaves(tree)))


def same_gradients(ours, by_hand):
    assert ours.keys() == by_hand.keys()
    for name in ours:
        scale = norm(by_hand[name])
        assert scale > 0, name
        difference = jax.tree.map(lambda a, b: a - b, ours[name], by_hand[name])
        assert norm(difference) < 1e-4 * scale, name


@pytest.fixture(scope="module")
def fooled(scene):
    """The autoencoder's turn when the critic's loss counts."""
    return evaluated(scene, 0, "autoencoder")


def test_the_autoencoder_loss_by_hand(scene, fooled):
    x, applies, params, variables = own(scene)
    players = ("encoder", "decoder", "codebook")

    def reconstruction(y):
        return jnp.mean(jnp.abs(x - y)) + 0.7 * 0.3 * distance_by_rule(None, x, y)

    def deception(y):
        critic = {"params": params["critic"], **variables["critic"]}
        return -jnp.mean(applies["critic"](critic, y, train=True, mutable=["batch_stats"])[0])

    def decoded(moving):
        z, _, e = quantised(scene, moving)
        straight = z + jax.lax.stop_gradient(e - z)
        return applies["decoder"]({"params": moving["decoder"]}, straight)

    def of_last_kernel(loss):
        def value(kernel):
            layer = {**params["decoder"]["conv_out"], "kernel": kernel}
            return loss(decoded({**params, "decoder": {**params["decoder"], "conv_out": layer}}))

        slope = jax.grad(value)(params["decoder"]["conv_out"]["kernel"])
        return jnp.sqrt(jnp.sum(jnp.square(slope)))

    stop = jax.lax.stop_gradient

    def total(moving):
        z, _, e = quantised(scene, moving)
        y = decoded(moving)
        weight = 0.5 * of_last_kernel(reconstruction) / (of_last_kernel(deception) + 0.01)
        value = reconstruction(y) + weight * deception(y)
        value += 0.2 * jnp.mean(jnp.square(z - stop(e)))
        return value + 0.6 * jnp.mean(jnp.square(stop(z) - e)), weight

    value, metrics, _, gradients = fooled
    (expected, weight), by_hand = jax.jit(jax.value_and_grad(total, has_aux=True))(
        {name: params[name] for name in players}
    )
    np.testing.assert_allclose(metrics["adaptive_weight"], weight, rtol=1e-4)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    same_gradients(gradients, by_hand)


def test_the_autoencoder_turn_changes_no_state_but_the_codes(scene, fooled):
    _, _, moved, _ = fooled
    before = scene[1].variables["codebook"]["codes"]
    assert moved.keys() == {"codebook"}
    codes = moved["codebook"]["codes"]
    z, indices, _ = jax.jit(lambda: quantised(scene, scene[1].params))()
    chosen = np.isin(np.arange(16), indices)
    dead = np.asarray(before["idle"]) >= 1  # revive_after
    np.testing.assert_array_equal(dead, np.arange(16) == 3)
    np.testing.assert_array_equal(codes["unused"], np.where(chosen, 0, before["unused"] + 1))
    np.testing.assert_array_equal(codes["idle"], np.where(chosen | dead, 0, before["idle"] + 1))
    offset, start = np.asarray(codes["offset"]), np.asarray(before["offset"])
    np.testing.assert_array_equal(offset[~dead], start[~dead])
    replaced = offset[3] + np.asarray(scene[1].params["codebook"]["embedding"])[3]
    assert np.abs(np.asarray(z).reshape(-1, 4) - replaced).max(1).min() < 1e-5


def test_the_adaptive_weight_is_clamped(scene):
    """By 1e4: a critic that is constant has no gradient to divide by."""
    zero = {"critic": jax.tree.map(jnp.zeros_like, scene[1].params["critic"])}
    decoder = scene[1].params["decoder"]
    large = {**decoder["conv_out"], "kernel": 1e3 * decoder["conv_out"]["kernel"]}
    zero["decoder"] = {**decoder, "conv_out": large}
    _, metrics, _, _ = evaluated(scene, 0, "autoencoder", zero)
    np.testing.assert_allclose(metrics["adaptive_weight"], 0.5 * 1e4, rtol=1e-6)


def test_the_critic_loss_by_hand(scene):
    """Half the hinge loss; pictures, then reconstructions, normalised apart; statistics advance with both."""
    x, applies, params, variables = own(scene)
    y = jax.jit(
        lambda: applies["decoder"]({"params": params["decoder"]}, quantised(scene, params)[2])
    )()

    def judged(critic):
        logits, statistics = [], variables["critic"]
        for pictures in (x, y):
            judge = {"params": critic, **statistics}
            out, statistics = applies["critic"](
                judge, pictures, train=True, mutable=["batch_stats"]
            )
            logits.append(out)
        real, fake = logits
        losses = jnp.mean(jnp.maximum(1 - real, 0)), jnp.mean(jnp.maximum(1 + fake, 0))
        return 0.5 * sum(losses), (statistics, jnp.mean(real), jnp.mean(fake))

    (expected, (statistics, real, fake)), by_hand = jax.jit(
        jax.value_and_grad(judged, has_aux=True)
    )(params["critic"])
    value, metrics, moved, gradients = evaluated(scene, 0, "critic")
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["real"], real, rtol=1e-4)
    np.testing.assert_allclose(metrics["fake"], fake, rtol=1e-4)
    same_gradients(gradients, {"critic": by_hand})
    assert moved.keys() == {"critic"}
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        moved["critic"],
        dict(statistics),
    )


@pytest.mark.slow
def test_the_transformer_loss_by_hand(scene):
    """The label, then codes of which half are random; the targets are the true codes; with dropout."""
    engine, state, batch = scene
    _, applies, params, _ = own(scene)
    play = engine.play(state, batch, jax.random.key(5))
    target = jax.jit(lambda: quantised(scene, params)[1])().reshape(8, 64)
    kept = jax.random.bernoulli(play.rng("keep"), 0.5, (8, 64))
    noise = jax.random.randint(play.rng("noise"), (8, 64), 0, 16)
    given = jnp.where(kept, target, noise)
    assert 0.4 < float(jnp.mean(given == target)) < 0.7
    tokens = jnp.concatenate([16 + batch["label"][:, None], given[:, :63]], axis=1)

    def value(transformer):
        rngs = {"dropout": play.rng("dropout")}
        logits = applies["transformer"]({"params": transformer}, tokens, train=True, rngs=rngs)
        right = jnp.take_along_axis(jax.nn.log_softmax(logits), target[..., None], axis=-1)
        return -jnp.mean(right), jnp.mean(logits.argmax(-1) == target, dtype=jnp.float32)

    grad = jax.jit(jax.value_and_grad(value, has_aux=True))
    (expected, accuracy), by_hand = grad(params["transformer"])
    found, metrics, moved, gradients = evaluated(scene, 1, "transformer")
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], accuracy, rtol=1e-5)
    same_gradients(gradients, {"transformer": by_hand})
    assert not moved


@pytest.mark.slow
def test_averaged_codes_move_once_whatever_the_micro_batches():
    """By the counts and the sums of the whole batch."""
    made = game(
        codebook="ema", codebook_init="uniform", codebook_decay=0.9, revive_after=0, critic_from=2,
        adversarial_from=2,
    )  # fmt: skip
    turn, batch = made.stages[0].turns[0], battery.batch(SPEC, 0, made.stages[0], 0)
    state, states = Engine(made, seed=3).init(), []
    for accumulate in (1, 2):
        engine = Engine(made, seed=3, accumulate=accumulate)
        # Only the codes: XLA leaves the gradients out.
        move = jax.jit(
            lambda *args, engine=engine: engine._play_turn(turn, *args)[0].variables["codebook"]
        )
        states.append(battery.host(move(state, batch, engine.run_key, 0)["codes"]))
    whole, parts = states
    assert whole.keys() == parts.keys() == {"count", "sum", "unused", "idle"}
    # 16 codes start with a count of 1; 8 pictures have 512 latents.
    np.testing.assert_allclose(whole["count"].sum(), 0.9 * 16 + 0.1 * 512, rtol=1e-5)
    for name in whole:
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-4, atol=1e-6, err_msg=name)


# Hyper-parameters -----------------------------------------------------------------------------------------


def test_the_defaults_are_the_papers():
    """imagenet_vqgan.yaml and faceshq_transformer.yaml of the reference, but for what the model file says."""
    options = vqgan.Options()
    autoencoder = {
        "channels": 128, "channel_multiples": (1, 1, 2, 2, 4), "blocks": 2, "attention_resolutions": (16,),
        "latent_channels": 256, "codes": 1024, "code_dim": 256, "commitment_weight": 0.25,
        "codebook_weight": 1.0, "perceptual": "lpips_vgg", "perceptual_weight": 1.0, "critic_width": 64,
        "critic_layers": 3, "adversarial_weight": 0.8, "adaptive_delta": 1e-6, "batch_size": 12,
        "learning_rate_per_image": 4.5e-6, "beta1": 0.5, "beta2": 0.9, "adversarial_from": 250_000,
    }  # fmt: skip
    transformer = {
        "layers": 24, "heads": 16, "width": 1024, "dropout": 0.0, "keep": 1.0, "weight_decay": 0.01,
        "transformer_learning_rate_per_image": 4.5e-6,
    }  # fmt: skip
    for name, value in (autoencoder | transformer).items():
        assert getattr(options, name) == value, name


@pytest.mark.parametrize("player", ["encoder", "codebook", "decoder", "critic", "transformer"])
def test_optimisers_by_hand(player):
    """Adam with (0.5, 0.9) of rate 4.5e-6 a picture; AdamW with (0.9, 0.95) for the transformer, on matrices only."""
    made = vqgan.game(
        vqgan.Options(**TINY | {"learning_rate_per_image": 4.5e-6, "weight_decay": 0.3}), SPEC
    )
    b1, b2, rate, decay = (0.5, 0.9, 8 * 4.5e-6, 0.0)
    if player == "transformer":
        b1, b2, rate, decay = (0.9, 0.95, 8 * 1e-4, 0.3)
    optimizer = made.players[player].optimizer
    params = {"kernel": jnp.float32([[2.0]]), "scale": jnp.float32([2.0])}
    state = optimizer.init(params)
    with jax.numpy_dtype_promotion("standard"):  # as the engine calls it
        for g in (0.3, -1.2):
            tree = jax.tree.map(lambda p, g=g: jnp.full_like(p, g), params)
            updates, state = optimizer.update(tree, state, params)
    mean = (b1 * (1 - b1) * 0.3 + (1 - b1) * -1.2) / (1 - b1**2)
    square = (b2 * (1 - b2) * 0.3**2 + (1 - b2) * 1.2**2) / (1 - b2**2)
    step = -rate * mean / np.sqrt(square)
    np.testing.assert_allclose(updates["scale"], [step], rtol=1e-5)
    np.testing.assert_allclose(updates["kernel"], [[step - rate * decay * 2.0]], rtol=1e-5)


def test_the_transformer_alone_is_averaged():
    averages = {name: p.average for name, p in game(ema_half_life_kimg=7.0).players.items()}
    assert averages.pop("transformer") == Ema(7.0)
    assert set(averages.values()) == {None}


# The game -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def played():
    """(engine, state) after two rounds of each phase."""
    return battery.check_trains(game(), SPEC, rounds=4)


@pytest.fixture(scope="module")
def again(played):
    """The same rounds once more: (arrays before each and after the last, metrics of each)."""
    engine, _ = played
    state, kept, seen = engine.init(), [], []
    for step in range(4):
        kept.append(battery.host(state))
        state, metrics = battery.play(engine, SPEC, step + 1, step, state)
        seen += metrics
    return [*kept, battery.host(state)], seen


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 3])
def test_resume_is_bit_exact_in_the_middle_of_both_phases(played, again, at):
    engine, whole = played
    state = jax.tree.map(
        lambda x, shape: jax.device_put(jnp.asarray(x), shape.sharding),
        again[0][at],
        engine.state_shape,
    )
    state, _ = battery.play(engine, SPEC, 4, first=at, state=state)
    jax.tree.map(np.testing.assert_array_equal, battery.host(whole), battery.host(state))


@pytest.mark.slow
def test_one_and_eight_devices_agree(played, again):
    state, seen = battery.play(make_engine(played[0].game, TrainOptions(devices=8), 3), SPEC, 4)
    for one, many in zip(again[1], seen, strict=True):
        assert one.keys() == many.keys()
        for name, value in one.items():
            np.testing.assert_allclose(many[name], value, rtol=1e-3, atol=1e-4, err_msg=name)
    for name, params in again[0][-1].params.items():
        a, b = (
            np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])
            for tree in (params, state.params[name])
        )
        assert np.linalg.norm(a - b) <= 1e-4 * np.linalg.norm(a), name


def test_which_players_train_in_which_stage(again):
    kept, _ = again

    def movers(first, last):
        a, b = kept[first].params, kept[last].params
        same = {n: all(jax.tree.leaves(jax.tree.map(np.array_equal, a[n], b[n]))) for n in a}
        return {name for name in same if not same[name]}

    assert movers(0, 2) == {"encoder", "codebook", "decoder", "critic"}
    assert movers(2, 4) == {"transformer"}


def test_the_critic_learns_before_its_loss_counts():
    stages = game(critic_from=3, adversarial_from=7, transformer_from=20).stages
    assert [stage.until for stage in stages] == [3, 7, 20, None]
    turns = [[turn.name for turn in stage.turns] for stage in stages]
    assert turns == [["autoencoder"], *2 * [["autoencoder", "critic"]], ["transformer"]]
    engine = Engine(game())
    batch, key = battery.batch(SPEC, 0, stages[0], 0), jax.random.key(0)

    def metrics(state, turn):
        return turn.loss(engine.play(state, batch, key)).metrics

    found = [
        jax.eval_shape(lambda state, turn=stage.turns[0]: metrics(state, turn), engine.state_shape)
        for stage in stages[:3]
    ]
    assert ["adversarial" in metrics for metrics in found] == [False, False, True]


def test_stages_that_would_last_no_round_are_left_out():
    stages = game(critic_from=9, adversarial_from=9, transformer_from=5).stages
    assert [[turn.name for turn in stage.turns] for stage in stages] == [
        ["autoencoder"],
        ["transformer"],
    ]
    turn = game(codebook="ema").stages[0].turns[0]
    assert turn.players == ("encoder", "decoder")


def test_the_codebook_starts_as_latents_of_the_first_batch(played, again):
    engine, _ = played
    kept, stage = again[0], engine.game.stages[0]
    batch = battery.batch(SPEC, 0, stage, 0)
    # The state before round 0, in which codes are still random.
    state = jax.tree.map(jnp.asarray, kept[0])

    @jax.jit
    def enter(state):
        return stage.enter(state, engine.play(state, batch, jax.random.key(0)))

    entered = enter(state)
    encoder = Encoder((8, 8), (False, False), 0, 8, 4, groups=4)
    x = jnp.asarray(batch["image"], jnp.float32) / 127.5 - 1
    z = jax.jit(encoder.apply)({"params": state.params["encoder"]}, x).reshape(-1, 4)
    nearest = jnp.abs(entered.params["codebook"]["embedding"][:, None] - z[None]).max(2).min(1)
    assert nearest.max() < 1e-5


LABELS = np.arange(3, dtype=np.int32)


def sampled(played, seed=0, **options):
    given = lambda rows: {"label": LABELS[rows]}  # noqa: E731
    return make_output(*played, "samples", jax.random.key(seed), 3, given, **options)


@pytest.mark.slow
def test_samples_and_reconstructions(played):
    engine, state = played
    samples = sampled(played)
    assert (samples.shape, samples.dtype) == ((3, 16, 16, 3), np.float32)
    assert np.abs(samples).max() <= 1
    np.testing.assert_array_equal(sampled(played, 0, top_k=1), sampled(played, 1, top_k=1))
    batch = battery.batch(SPEC, 0, engine.game.stages[0], 0)
    made = train.outputs.transform(engine, state, batch, jax.random.key(0))
    assert made.shape == batch["image"].shape
    assert np.abs(made).max() <= 1
    x = SPEC.decode({"image": jnp.asarray(batch["image"])})["image"]
    networks = engine.game.networks(state)
    decoded = jax.jit(lambda networks: networks["decoder"](encode(networks, x)[2]))(networks)
    np.testing.assert_allclose(made, np.clip(decoded, -1, 1), atol=1e-4)


def test_samples_follow_their_label_and_their_options(played):
    """Pictures of the codes that are drawn for the labels: greedy ones, against the network without a cache."""
    engine, state = played
    rng = np.random.default_rng(0)

    def larger(path, leaf):
        """Weights with which a code depends on the tokens before it, and not only on its position."""
        scale = 0.1 if path[-1].key == "positions" else 1.0
        return leaf + jnp.asarray(scale * rng.normal(size=leaf.shape), leaf.dtype)

    transformer = jax.tree_util.tree_map_with_path(larger, state.params["transformer"])
    state = state.replace(params={**state.params, "transformer": transformer})
    networks = engine.game.networks(state)

    @jax.jit
    def greedy(networks, label):
        def step(place, codes):
            tokens = jnp.concatenate([16 + label[:, None], codes[:, :-1]], axis=1)
            drawn = networks["transformer"](tokens)[:, place].argmax(-1)
            return codes.at[:, place].set(drawn.astype(jnp.int32))

        codes = jax.lax.fori_loop(0, 64, step, jnp.zeros((3, 64), jnp.int32))
        e = networks["codebook"](codes.reshape(3, 8, 8), method="lookup")
        return jnp.clip(networks["decoder"](e), -1, 1)

    by_hand = greedy(networks, LABELS)
    assert np.abs(by_hand[0] - by_hand[1]).max() > 1e-3
    np.testing.assert_allclose(sampled((engine, state), top_k=1), by_hand, atol=1e-4)
    cold = sampled((engine, state), temperature=1e-4)
    np.testing.assert_allclose(cold, by_hand, atol=1e-4)
    programs = len(engine.traces())
    narrow = sampled((engine, state), top_p=1e-4)
    np.testing.assert_allclose(narrow, by_hand, atol=1e-4)
    assert len(engine.traces()) == programs  # floats are traced
    assert np.abs(sampled((engine, state)) - by_hand).max() > 1e-3


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"temperature": 0}, r"temperature is 0.0, but it must be above 0"),
        ({"top_k": -1}, "top_k is -1, but it must be at least 0"),
        ({"top_p": 1.5}, "top_p is 1.5, but it must be above 0, at most 1"),
        ({"top_q": 0.5}, "top_q.*top_p"),
    ],
)
def test_samples_that_cannot_be_drawn_are_refused_by_a_sentence(options, text):
    engine = Engine(game())
    with pytest.raises(ValueError, match=text):
        make_output(engine, None, "samples", jax.random.key(0), 1, **options)


# Tools ----------------------------------------------------------------------------------------------------


def a_play(networks):
    return Play(networks, {}, jax.random.key(0), Clock(*map(jnp.float32, (0, 0, 0, 0, 0))), 0)


def test_tools(played):
    engine, state = played
    play, tools = a_play(engine.game.networks(state)), engine.game.tools
    image = battery.pictures(np.random.default_rng(0), (1, 16, 16, 3))[0].astype(np.float32)
    image = image / 127.5 - 1

    made = tools["reconstruct"](play, {"image": np.tile(image, (1, 2, 1))})
    assert made.pictures.shape == (2, 16, 32, 3)
    error = np.mean(np.square(np.diff(made.pictures, axis=0)))
    assert made.numbers["psnr"] == pytest.approx(10 * np.log10(4 / error), rel=1e-4)

    made = tools["codes"](play, {"image": image})
    codes, vectors = made.arrays["codes"], made.arrays["vectors"]
    assert (codes.shape, vectors.shape) == ((8, 8), (8, 8, 4))
    assert made.numbers["different_codes"] == len(np.unique(codes))
    book = state.params["codebook"]["embedding"] + state.variables["codebook"]["codes"]["offset"]
    np.testing.assert_array_equal(np.asarray(book)[codes], vectors)

    made = tools["complete"](play, {"image": image}, num=2, label=1, top_k=4)
    assert made.pictures.shape == (3, 16, 16, 3)
    np.testing.assert_array_equal(made.pictures[0], image)
    made = tools["sample_large"](play, height=18, width=24, num=1)
    assert made.pictures.shape == (1, 18, 24, 3)
    assert np.abs(made.pictures).max() <= 1


@pytest.mark.parametrize(
    ("tool", "shape", "options", "text"),
    [
        (
            "reconstruct",
            (15, 16, 3),
            {},
            r"\(15, 16, 3\).* 2x2 pixels, .*multiples of 2 and 3 chan",
        ),
        ("codes", (16, 16, 1), {}, "multiples of 2 and 3 channels"),
        ("complete", (32, 16, 3), {}, r"shape of the training pictures, \(16, 16, 3\)"),
        ("complete", (16, 16, 3), {"rows": 1.0}, "rows is 1.0, but it must be at least 0, below 1"),
        ("complete", (16, 16, 3), {"label": 3}, "label is 3, but it must be from -1 to 2"),
        ("sample_large", None, {"num": 0}, "num is 0, but it must be at least 1"),
        (
            "sample_large",
            None,
            {"height": 17},
            "height is 17, but .* multiple of 2, .*: set height=18",
        ),
        ("sample_large", None, {"width": 8}, "width is 8, but it must be at least 16"),
        ("sample_large", None, {"temperature": 0}, "temperature is 0.0, but it must be above 0"),
    ],
)
def test_what_a_tool_cannot_make_is_refused_by_a_sentence(tool, shape, options, text):
    pictures = {} if shape is None else {"image": np.zeros(shape, np.float32)}
    with pytest.raises(ValueError, match=text):
        game().tools[tool](a_play({}), pictures, **options)


# Errors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "changes", "text"),
    [
        (
            Spec({"image": Field("points", (2,)), "label": Field("label", number=3)}, 100),
            {},
            "vqgan needs a picture 'image' in each example, but the data has only 'image'",
        ),
        (
            Spec({"image": Field("image", (18, 18, 3)), "label": Field("label", number=3)}, 100),
            {"channel_multiples": (1, 2, 2)},
            "halves pictures 2 times, .* multiples of 4, not 18x18: set data.resolution=16",
        ),
        (SPEC, {"channel_multiples": (1, 0)}, r"channel_multiples is \(1, 0\), but it must be at"),
        (SPEC, {"attention_resolutions": ("low",)}, "it must be a tuple of whole numbers"),
        (SPEC, {"groups": 3}, r"groups is 3, but it does not divide the channels \(8, 8\)"),
        (
            Spec({"image": Field("image", (16, 16, 3)), "label": Field("label", number=3)}, 4),
            {"codes": 257},
            "codes is 257, but all pictures together have only 256 latents",
        ),
        (
            SPEC,
            {"codes": 513},
            "codebook_init is 'data', but the first batch has 512 latents, too few for 513",
        ),
        (
            SPEC,
            {"context": 63},
            "context is 63, but a picture is a longer sequence of 64 codes; .*: set context=64",
        ),
        (SPEC, {"heads": 0}, "heads is 0, but it must be at least 1"),
        (
            SPEC,
            {"channel_multiples": ()},
            "it needs at least one number",
        ),
        (
            SPEC,
            {"perceptual": "lpips_alex"},
            "too small for the poolings of 'alex'; enlarge them to 32",
        ),
        (SPEC, {"heads": 3}, "width is 16, but it must be a multiple of the 3 heads: set width=18"),
        (SPEC, {"keep": 1.5}, "keep is 1.5, but it must be from 0 to 1"),
        (
            SPEC,
            {"critic_layers": 3},
            "critic_layers is 3, but this needs pictures of 24 pixels or more, not 16x16",
        ),
        (SPEC, {"critic_from": 2}, "critic_from is 2, but .* from round 0"),
        (SPEC, {"codebook": "mean"}, "codebook is 'mean', but it must be one of gradient, ema"),
        (
            SPEC,
            {"codebook_init": "ones"},
            "codebook_init is 'ones', but it must be one of uniform, data",
        ),
        (
            SPEC,
            {"perceptual": "lpips_vg"},
            "perceptual is 'lpips_vg', .*: set perceptual=lpips_vgg",
        ),
        (Spec({"image": Field("image", (16, 16, 3))}, 100), {}, "the data has no labels"),
        (SPEC, {"dtype": "float16"}, "one of float32, bfloat16"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_a_sentence(spec, changes, text):
    battery.assert_refused(vqgan.game, vqgan.Options(**TINY | changes), spec, text)


@pytest.mark.slow
def test_bfloat16_trains_without_nan():
    """500 steps: 50 with the critic for itself, 200 with both, 250 of the transformer."""
    changes = {
        "dtype": "bfloat16",
        "blocks": 1,
        "attention_resolutions": (8,),
        "adversarial_from": 50,
        "transformer_from": 250,
    }
    battery.check_trains(game(**changes), SPEC, rounds=500)
