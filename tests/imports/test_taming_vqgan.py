"""CompVis/taming-transformers: its networks as functions of the tensors of its checkpoints."""

import dataclasses
import importlib
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from importing import assert_same, networks_of, run_of

from jaxgan import imports
from jaxgan.imports import Tensors, yaml_config
from jaxgan.models import vqgan
from jaxgan.nets.vqgan import encode

torch = pytest.importorskip("torch")
F = torch.nn.functional
SIDE, WIDTHS, LATENT, DIM, CODES = 32, (32, 64), 6, 4, 24  # attention at the lower of two levels
WIDTH, LAYERS, HEADS, CLASSES, SOS = 12, 2, 3, 5, 7
CONTEXT = (SIDE // 2) ** 2


class Weights(dict):
    """Random tensors by name, with a prefix."""

    def __init__(self, prefix=""):
        super().__init__()
        self.prefix = prefix

    def add(self, name, *shape, bias=True):
        self[f"{self.prefix}{name}.weight"] = torch.randn(*shape) / np.sqrt(np.prod(shape[1:]))
        if bias:
            self[f"{self.prefix}{name}.bias"] = 0.3 * torch.randn(shape[0])

    def norm(self, name, features):
        self[f"{self.prefix}{name}.weight"] = torch.rand(features) + 0.5
        self[f"{self.prefix}{name}.bias"] = torch.randn(features)

    def of(self, name):
        return self[f"{self.prefix}{name}.weight"], self.get(f"{self.prefix}{name}.bias")

    def residual(self, name, before, after):
        self.norm(f"{name}.norm1", before)
        self.norm(f"{name}.norm2", after)
        self.add(f"{name}.conv1", after, before, 3, 3)
        self.add(f"{name}.conv2", after, after, 3, 3)
        if before != after:
            self.add(f"{name}.nin_shortcut", after, before, 1, 1)

    def attention(self, name, width):
        self.norm(f"{name}.norm", width)
        for layer in ("q", "k", "v", "proj_out"):
            self.add(f"{name}.{layer}", width, width, 1, 1)


def middle(weights, name):
    weights.residual(f"{name}.mid.block_1", WIDTHS[1], WIDTHS[1])
    weights.attention(f"{name}.mid.attn_1", WIDTHS[1])
    weights.residual(f"{name}.mid.block_2", WIDTHS[1], WIDTHS[1])


def autoencoder(prefix=""):
    weights = Weights(prefix)
    weights.add("encoder.conv_in", WIDTHS[0], 3, 3, 3)
    weights.residual("encoder.down.0.block.0", WIDTHS[0], WIDTHS[0])
    weights.add("encoder.down.0.downsample.conv", WIDTHS[0], WIDTHS[0], 3, 3)
    weights.residual("encoder.down.1.block.0", *WIDTHS)
    weights.attention("encoder.down.1.attn.0", WIDTHS[1])
    middle(weights, "encoder")
    weights.norm("encoder.norm_out", WIDTHS[1])
    weights.add("encoder.conv_out", LATENT, WIDTHS[1], 3, 3)
    weights.add("quant_conv", DIM, LATENT, 1, 1)
    weights.add("quantize.embedding", CODES, DIM, bias=False)
    weights.add("post_quant_conv", LATENT, DIM, 1, 1)
    weights.add("decoder.conv_in", WIDTHS[1], LATENT, 3, 3)
    middle(weights, "decoder")
    for i in range(2):
        weights.residual(f"decoder.up.1.block.{i}", WIDTHS[1], WIDTHS[1])
        weights.attention(f"decoder.up.1.attn.{i}", WIDTHS[1])
        weights.residual(f"decoder.up.0.block.{i}", WIDTHS[1 - i], WIDTHS[0])
    weights.add("decoder.up.1.upsample.conv", WIDTHS[1], WIDTHS[1], 3, 3)
    weights.norm("decoder.norm_out", WIDTHS[0])
    weights.add("decoder.conv_out", 3, WIDTHS[0], 3, 3)
    return weights


def conv(weights, name, x):
    weight, bias = weights.of(name)
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


def normalised(weights, name, x):
    return F.group_norm(x, 32, *weights.of(name), eps=1e-6)


def residual(weights, name, x):
    y = conv(weights, f"{name}.conv1", F.silu(normalised(weights, f"{name}.norm1", x)))
    y = conv(weights, f"{name}.conv2", F.silu(normalised(weights, f"{name}.norm2", y)))
    shortcut = f"{weights.prefix}{name}.nin_shortcut.weight" in weights
    return y + (conv(weights, f"{name}.nin_shortcut", x) if shortcut else x)


def attended(weights, name, x):
    y = normalised(weights, f"{name}.norm", x)
    q, k, v = (conv(weights, f"{name}.{n}", y).flatten(2) for n in "qkv")
    scores = torch.softmax(q.transpose(1, 2) @ k * x.shape[1] ** -0.5, dim=2)
    return x + conv(weights, f"{name}.proj_out", (v @ scores.transpose(1, 2)).reshape(x.shape))


def bottom(weights, name, x):
    x = residual(weights, f"{name}.mid.block_1", x)
    return residual(weights, f"{name}.mid.block_2", attended(weights, f"{name}.mid.attn_1", x))


def latents(weights, x):
    x = residual(weights, "encoder.down.0.block.0", conv(weights, "encoder.conv_in", x))
    down = weights.of("encoder.down.0.downsample.conv")
    x = F.conv2d(F.pad(x, (0, 1, 0, 1)), *down, stride=2)
    x = attended(weights, "encoder.down.1.attn.0", residual(weights, "encoder.down.1.block.0", x))
    x = F.silu(normalised(weights, "encoder.norm_out", bottom(weights, "encoder", x)))
    return conv(weights, "quant_conv", conv(weights, "encoder.conv_out", x))


def nearest(weights, z):
    """The codes [B, h, w]."""
    difference = z.permute(0, 2, 3, 1)[..., None, :] - weights.of("quantize.embedding")[0]
    return difference.square().sum(-1).argmin(-1)


def decoded(weights, codes):
    e = weights.of("quantize.embedding")[0][codes].permute(0, 3, 1, 2)
    x = conv(weights, "decoder.conv_in", conv(weights, "post_quant_conv", e))
    x = bottom(weights, "decoder", x)
    for i in range(2):
        x = residual(weights, f"decoder.up.1.block.{i}", x)
        x = attended(weights, f"decoder.up.1.attn.{i}", x)
    x = conv(weights, "decoder.up.1.upsample.conv", F.interpolate(x, scale_factor=2))
    for i in range(2):
        x = residual(weights, f"decoder.up.0.block.{i}", x)
    return conv(weights, "decoder.conv_out", F.silu(normalised(weights, "decoder.norm_out", x)))


def critic():
    weights = Weights("loss.discriminator.main.")
    weights.add("0", 4, 3, 4, 4)
    weights.add("2", 8, 4, 4, 4, bias=False)
    weights.add("5", 16, 8, 4, 4, bias=False)
    weights.add("8", 1, 16, 4, 4)
    for name, features in (("3", 8), ("6", 16)):
        weights.norm(name, features)
        weights[f"{weights.prefix}{name}.running_mean"] = torch.randn(features)
        weights[f"{weights.prefix}{name}.running_var"] = torch.rand(features) + 0.5
        weights[f"{weights.prefix}{name}.num_batches_tracked"] = torch.tensor(3)
    return weights


def judged(weights, x):
    def layer(name, x, stride):
        return F.conv2d(x, *weights.of(name), stride=stride, padding=1)

    x = F.leaky_relu(layer("0", x, 2), 0.2)
    for name, norm, stride in (("2", "3", 2), ("5", "6", 1)):
        running = (weights[f"{weights.prefix}{norm}.running_{n}"] for n in ("mean", "var"))
        x = F.batch_norm(layer(name, x, stride), *running, *weights.of(norm))
        x = F.leaky_relu(x, 0.2)
    return layer("8", x, 1)[:, 0]


def transformer(tokens=CODES):
    weights = Weights("transformer.")
    weights.add("tok_emb", tokens, WIDTH, bias=False)
    weights["transformer.pos_emb"] = torch.randn(1, CONTEXT, WIDTH)
    for i in range(LAYERS):
        for norm in ("ln1", "ln2"):
            weights.norm(f"blocks.{i}.{norm}", WIDTH)
        for layer in ("key", "query", "value", "proj"):
            weights.add(f"blocks.{i}.attn.{layer}", WIDTH, WIDTH)
        weights[f"transformer.blocks.{i}.attn.mask"] = torch.tril(
            torch.ones(1, 1, CONTEXT, CONTEXT)
        )
        weights.add(f"blocks.{i}.mlp.0", 4 * WIDTH, WIDTH)
        weights.add(f"blocks.{i}.mlp.2", WIDTH, 4 * WIDTH)
    weights.norm("ln_f", WIDTH)
    weights.add("head", tokens, WIDTH, bias=False)
    return weights


def predicted(weights, tokens):
    """The logits that follow each token."""

    def heads(x):
        return x.unflatten(2, (HEADS, -1)).transpose(1, 2)

    def norm(name, x):
        return F.layer_norm(x, (WIDTH,), *weights.of(name))

    n = tokens.shape[1]
    x = weights.of("tok_emb")[0][tokens] + weights["transformer.pos_emb"][:, :n]
    hidden = torch.ones(n, n, dtype=torch.bool).triu(1)
    for i in range(LAYERS):
        name, y = f"blocks.{i}", norm(f"blocks.{i}.ln1", x)
        q, k, v = (
            heads(F.linear(y, *weights.of(f"{name}.attn.{n}"))) for n in ("query", "key", "value")
        )
        scores = (q @ k.transpose(2, 3) / (WIDTH // HEADS) ** 0.5).masked_fill(hidden, -torch.inf)
        y = (torch.softmax(scores, dim=3) @ v).transpose(1, 2).flatten(2)
        x = x + F.linear(y, *weights.of(f"{name}.attn.proj"))
        y = F.gelu(F.linear(norm(f"{name}.ln2", x), *weights.of(f"{name}.mlp.0")))
        x = x + F.linear(y, *weights.of(f"{name}.mlp.2"))
    return F.linear(norm("ln_f", x), weights.of("head")[0])


def config(condition, **changes):
    """The config of a transformer."""
    first = {"ddconfig": {"resolution": SIDE, "ch_mult": [1, 2]}}
    return {
        "model": {
            "target": "taming.models.cond_transformer.Net2NetTransformer",
            "params": {
                "transformer_config": {"params": {"n_head": HEADS, "n_layer": LAYERS}},
                "first_stage_config": {"target": "taming.models.vqgan.VQModel", "params": first},
                "cond_stage_config": condition,
                **changes,
            },
        }
    }


LABELS = {"target": "taming.modules.util.Labelator", "params": {"n_classes": CLASSES}}


class Callback:
    """An object that a checkpoint of PyTorch Lightning holds beside its tensors; its state has a cycle."""

    def __init__(self):
        self.trainer = self


def checkpoint(*parts):
    """What the program saves: tensors, an optimiser, and objects of classes."""
    tensors = {name: tensor for part in parts for name, tensor in part.items()}
    moments = {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-4}]}
    return {
        "epoch": 3,
        "callbacks": {Callback: {"best": Callback(), "seen": {1, 2}}},
        "optimizer_states": [moments],
        "hyper_parameters": Callback(),
        "state_dict": tensors,
    }


def assert_autoencoder(networks, weights):
    """The networks encode and decode as the published ones do."""
    x = torch.rand(2, 3, SIDE, SIDE) * 2 - 1
    pictures = jnp.asarray(x.numpy().transpose(0, 2, 3, 1))

    @jax.jit
    def both(networks, x):
        z, codes, e = encode(networks, x)
        return z, codes, networks["decoder"](e)

    z, codes, y = both(networks, pictures)
    published = nearest(weights, latents(weights, x))
    assert_same(z, latents(weights, x))
    np.testing.assert_array_equal(codes, published.numpy())
    assert_same(y, decoded(weights, published))


def assert_transformer(network, weights, prefix, token):
    """The network continues the prefix as the published one continues its token."""
    codes = torch.randint(CODES, (3, 9))
    tokens = torch.cat([torch.as_tensor(token)[:, None], codes], dim=1)
    start = network.module.start(jnp.asarray(prefix))[:, None]
    given = jnp.concatenate([start, jnp.asarray(codes.numpy(), jnp.int32)], axis=1)
    assert_same(jax.jit(lambda n, t: n(t))(network, given), predicted(weights, tokens)[..., :CODES])


def test_an_autoencoder():
    torch.manual_seed(0)
    weights, judge = autoencoder(), critic()
    lpips = {"loss.perceptual_loss.lin0.model.1.weight": torch.ones(1, 64, 1, 1)}
    files = {"last.ckpt": {**weights, **judge, **lpips}}
    networks = networks_of("taming_vqgan", files)
    assert_autoencoder(networks, weights)
    x = torch.randn(2, 3, SIDE, SIDE)
    found = jax.jit(lambda n, x: n(x, train=False))(
        networks["critic"], jnp.asarray(x.numpy().transpose(0, 2, 3, 1))
    )
    assert_same(found, judged(judge, x))


def test_a_transformer_of_classes_and_its_autoencoder(tmp_path, capsys):
    torch.manual_seed(0)
    weights, gpt = autoencoder("first_stage_model."), transformer()
    files = {"last.ckpt": checkpoint(weights, gpt), "a-project.yaml": config(LABELS)}
    run, networks = run_of(tmp_path, "taming_vqgan", files)
    assert run.spec.shape == (SIDE, SIDE, 3)
    assert run.spec.num_classes == CLASSES
    assert_transformer(networks["transformer"], gpt, [0, 4, 2], [0, 4, 2])
    assert "no file held the critic, which has random weights" in capsys.readouterr().out


def found_in(weights, config=None):
    """The run that tensors and a config describe."""
    given = [Tensors({n: tensor.numpy() for n, tensor in weights.items()}, "last.ckpt")]
    if config is not None:
        settings = yaml_config.settings(yaml.safe_dump(config).encode(), "a-project.yaml")
        given.append(Tensors({}, "a-project.yaml", settings))
    return imports.load("taming_vqgan").read(given)


@pytest.fixture(scope="module")
def whole():
    torch.manual_seed(0)
    return {**autoencoder("first_stage_model."), **transformer(CODES + 2)}


@pytest.mark.parametrize(
    ("given", "row"),
    [(config("__is_unconditional__"), 0), (config(None, unconditional=True, sos_token=SOS), SOS)],
)
def test_the_token_of_the_start(whole, given, row):
    found = found_in(whole, given)
    assert "label" not in found.spec.fields
    table = found.players["transformer"]["params/tokens/embedding"].value
    published = whole["transformer.tok_emb.weight"]
    np.testing.assert_array_equal(table, published[[*range(CODES), row]])
    assert found.players["transformer"]["params/head/kernel"].value.shape == (WIDTH, CODES)


def test_only_the_transformer_is_trained(whole):
    found = found_in(whole, config("__is_unconditional__"))
    game = vqgan.game(vqgan.Options(**found.options), found.spec)
    assert [turn.players for stage in game.stages for turn in stage.turns] == [("transformer",)]


def first_stage(resolution):
    """The config of an autoencoder."""
    params = {"ddconfig": {"resolution": resolution}}
    return {"model": {"target": "taming.models.vqgan.VQModel", "params": params}}


@pytest.mark.parametrize("given", [None, first_stage(SIDE)])
def test_the_config_of_a_transformer_is_needed(whole, given):
    with pytest.raises(ValueError, match="in the config of a Net2NetTransformer; give that too"):
        found_in(whole, given)


@pytest.mark.parametrize(
    ("condition", "named"),
    [
        ({"target": "taming.modules.misc.coord.CoordStage", "params": {}}, "CoordStage"),
        ("__is_first_stage__", "__is_first_stage__"),
    ],
)
def test_other_conditions_are_refused(whole, condition, named):
    with pytest.raises(
        ValueError, match=rf"conditioned by .*{named}, .* give the checkpoint of its"
    ):
        found_in(whole, config(condition))


def test_the_config_of_another_model_is_refused(whole):
    given = {"model": {"target": "taming.models.vqgan.GumbelVQ", "params": {}}}
    with pytest.raises(ValueError, match=r"describes a taming\.models\.vqgan\.GumbelVQ"):
        found_in(whole, given)


def test_a_transformer_that_sees_what_follows_is_refused(whole):
    mask = torch.ones_like(whole["transformer.blocks.0.attn.mask"])
    with pytest.raises(ValueError, match=r"blocks\.0\.attn\.mask.*cannot be imported"):
        found_in({**whole, "transformer.blocks.0.attn.mask": mask}, config(LABELS))


def test_too_few_tokens_are_refused(whole):
    few = {**whole, **transformer(CODES - 1)}
    with pytest.raises(ValueError, match=f"has {CODES - 1} tokens, but there are {CODES} codes"):
        found_in(few, config(LABELS))


def test_the_config_says_the_size(whole):
    first = {n.removeprefix("first_stage_model."): x for n, x in whole.items() if "first" in n}
    assert found_in(first, first_stage(64)).spec.shape == (64, 64, 3)
    assert found_in(first, config(LABELS)).spec.shape == (SIDE, SIDE, 3)
    alone = found_in(first)
    assert alone.spec.shape == (256, 256, 3)
    assert alone.options["context"] == 128**2
    assert "they are taken to be of 256 pixels" in alone.notes[0]


def test_two_checkpoints_are_refused(whole):
    file = Tensors({n: tensor.numpy() for n, tensor in whole.items()}, "last.ckpt")
    with pytest.raises(ValueError, match="give one checkpoint"):
        imports.load("taming_vqgan").read([file, file])


@pytest.mark.parametrize(("part", "command"), [("", "make list"), ("transformer", "sample")])
def test_a_random_transformer_is_not_sampled(whole, part, command):
    found = found_in(whole, config("__is_unconditional__"))
    game = vqgan.game(vqgan.Options(**found.options), found.spec)
    players = {
        name: x
        for name, x in found.players.items()
        if name in ("encoder", "decoder", "codebook", part)
    }
    given = dataclasses.replace(found, players=players)
    cli = importlib.import_module("jaxgan.cli.import")
    assert (
        cli.next_command(SimpleNamespace(game=game), given, "run")
        == f"jaxgan {command} --workdir run"
    )


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_checkpoint_is_executed(tmp_path, zipped, protocol):
    """Its classes are not even known here."""

    class Trap:
        def __reduce__(self):
            return (tmp_path / "written").touch, ()

    content = {"state_dict": {"a": torch.ones(2)}, "callbacks": {"b": Trap(), "c": {b"1", 2}}}
    torch.save(
        content,
        tmp_path / "a.ckpt",
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=zipped,
    )
    file, _ = Tensors.open(tmp_path / "a.ckpt")
    assert file.names == ["a"]
    assert not (tmp_path / "written").exists()
