"""VQGAN: both phases against the reference implementation, the tools, what is refused, and the battery."""

import dataclasses
import functools
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
from jaxgan.train import Options as TrainOptions
from jaxgan.train import make_engine

CIFAR = DataSpec((32, 32, 3), 10, 50_000)
LARGE = DataSpec((256, 256, 3), None, 100_000)
SPEC = DataSpec((16, 16, 3), 3, 100)

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
    clock = np.zeros(24, np.int32)
    codes = {"offset": np.zeros((24, 8), np.float32), "unused": clock, "idle": clock}
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

        def value(moving, loss=loss):
            out = loss({**params, **moving}, variables, batch, key)
            return out.value, out.metrics | {"value": out.value}

        moving = {name: params[name] for name in movers}
        grads, metrics = jax.jit(jax.grad(value, has_aux=True))(moving)
        made |= metrics | {f"loss {movers[0]}": metrics["value"]}
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
    """VQLPIPSWithDiscriminator of the same commit, `distance_by_rule` in LPIPS's place, beta as with legacy=False."""
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


def test_who_learns_when(again):
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
    shape = engine.state_shape
    losses = [
        jax.eval_shape(stage.turns[0].loss, shape.params, shape.variables, batch, key)
        for stage in stages[:3]
    ]
    assert ["deception" in loss.metrics for loss in losses] == [False, False, True]


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
    # As round 0 is given them: arrays of state 0, in which codes are still random.
    state = jax.tree.map(jnp.asarray, kept[0])
    entered = jax.jit(stage.enter)(state, batch, jax.random.key(0))
    encoder = Encoder((8, 8), (False, False), 0, 8, 4, groups=4)
    x = jnp.asarray(batch["image"], jnp.float32) / 127.5 - 1
    z = jax.jit(encoder.apply)({"params": state.params["encoder"]}, x).reshape(-1, 4)
    nearest = jnp.abs(entered.params["codebook"]["embedding"][:, None] - z[None]).max(2).min(1)
    assert nearest.max() < 1e-5


def test_samples_and_reconstructions(played):
    engine, state = played
    key, labels = jax.random.key(0), np.arange(3, dtype=np.int32)
    samples = np.asarray(engine.sample(state, key, 3, labels))
    assert (samples.shape, samples.dtype) == ((3, 16, 16, 3), np.float32)
    assert np.abs(samples).max() <= 1
    greedy = [
        np.asarray(engine.sample(state, jax.random.key(i), 3, labels, top_k=1)) for i in (0, 1)
    ]
    np.testing.assert_array_equal(*greedy)
    batch = battery.batch(SPEC, 0, engine.game.stages[0], 0)
    made = np.asarray(engine.transform(state, key, batch))
    assert made.shape == batch["image"].shape
    assert np.abs(made).max() <= 1


# Tools ----------------------------------------------------------------------------------------------------


def test_tools(played):
    engine, state = played
    networks, tools, key = state.networks(), engine.game.tools, jax.random.key(0)
    image = battery.pictures(np.random.default_rng(0), (1, 16, 16, 3))[0].astype(np.float32)
    image = image / 127.5 - 1

    made = tools["reconstruct"](networks, key, {"image": np.tile(image, (1, 2, 1))})
    assert made.pictures.shape == (2, 16, 32, 3)
    error = np.mean(np.square(np.diff(made.pictures, axis=0)))
    assert made.numbers["psnr"] == pytest.approx(10 * np.log10(4 / error), rel=1e-4)

    made = tools["codes"](networks, key, {"image": image})
    codes, vectors = made.arrays["codes"], made.arrays["vectors"]
    assert (codes.shape, vectors.shape) == ((8, 8), (8, 8, 4))
    assert made.numbers["different_codes"] == len(np.unique(codes))
    book = state.params["codebook"]["embedding"] + state.variables["codebook"]["codes"]["offset"]
    np.testing.assert_array_equal(np.asarray(book)[codes], vectors)

    made = tools["complete"](networks, key, {"image": image}, num=2, label=1, top_k=4)
    assert made.pictures.shape == (3, 16, 16, 3)
    np.testing.assert_array_equal(made.pictures[0], image)
    made = tools["sample_large"](networks, key, height=18, width=24, num=1)
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
        ("complete", (32, 16, 3), {}, r"this run's pictures are \(16, 16, 3\)"),
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
        game().tools[tool]({}, jax.random.key(0), pictures, **options)


# Errors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "changes", "text"),
    [
        (DataSpec((2,), 3, 100), {}, r"sees pictures \[H, W, C\], but .* shape \(2,\)"),
        (
            DataSpec((18, 18, 3), 3, 100),
            {"channel_multiples": (1, 2, 2)},
            "halves pictures 2 times, .* multiples of 4, not 18x18: set data.resolution=16",
        ),
        (SPEC, {"channel_multiples": (1, 0)}, r"channel_multiples is \(1, 0\), but it must be at"),
        (SPEC, {"attention_resolutions": ("low",)}, "it must be a tuple of whole numbers"),
        (SPEC, {"groups": 3}, r"groups is 3, but it does not divide the channels \(8, 8\)"),
        (
            DataSpec((16, 16, 3), 3, 4),
            {"codes": 257},
            "codes is 257, but the pictures have only 256 latents",
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
            "critic_layers is 3, but that needs pictures of 24 pixels or more, not 16x16",
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
        (DataSpec((16, 16, 3), None, 100), {}, "the data gives no labels"),
        (SPEC, {"dtype": "float16"}, "one of float32, bfloat16"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_a_sentence(spec, changes, text):
    battery.refused(vqgan.game, vqgan.Options(**TINY | changes), spec, text)


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
