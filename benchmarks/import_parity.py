"""Compares imported weights with the programs that wrote them: random weights in their formats, the same inputs.

    python benchmarks/import_parity.py KIND CHECKOUT

runs the networks of a program in CHECKOUT, a folder of its source, with PyTorch, imports what it saves, and prints the
largest difference of each network's output, relative to its largest value. They are in docs/tutorials/elsewhere.md.
Widths are small, batch statistics and biases random. Vectors of spectral normalisation have made two or three steps.
"""

from __future__ import annotations

import argparse
import importlib
import io
import itertools
import pickle
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
import yaml

from jaxgan import config
from jaxgan.cli.main import main as jaxgan
from jaxgan.nets.vqgan import encode
from jaxgan.network import Network


class Case(NamedTuple):
    """The networks of a program, and inputs.

    Attributes:
      name: what varies.
      files: {file: what is saved in it}.
      generator, critic: () -> output; critic may be None.
      z, x, label: the inputs as PyTorch's tensors; label may be None.
      outputs: of programs with other networks instead, {output: (() -> it, imported networks -> it)}.
    """

    name: str
    files: dict[str, Any]
    generator: Callable[[], torch.Tensor] = torch.Tensor
    critic: Callable[[], torch.Tensor] | None = None
    z: torch.Tensor = torch.zeros(0)
    x: torch.Tensor = torch.zeros(0)
    label: torch.Tensor | None = None
    outputs: Mapping[str, tuple[Callable[[], torch.Tensor], Callable[[Any], Any]]] = {}


def randomise(*networks: torch.nn.Module) -> None:
    """Moves biases, gains and running statistics from their initial values, which would hide mistakes."""
    with torch.no_grad():
        for network in networks:
            for parameter in network.parameters():
                if parameter.ndim <= 1:
                    parameter.add_(0.3 * torch.randn_like(parameter))
            for name, buffer in network.named_buffers():
                if "mean" in name or "w_avg" in name:
                    buffer.normal_(0, 0.3)
                if "var" in name or "magnitude" in name:
                    buffer.uniform_(0.5, 2)


def package(name: str, folder: Path) -> types.ModuleType:
    """A package of a folder whose own __init__.py, which may need more libraries, does not run."""
    module = types.ModuleType(name)
    module.__path__ = [str(folder)]
    sys.modules[name] = module
    return module


def mimicry(kind: str, checkout: Path) -> Iterator[Case]:
    for name in ("torch_mimicry", "torch_mimicry.nets", "torch_mimicry.modules"):
        package(name, checkout / name.replace(".", "/"))
    modules = sys.modules["torch_mimicry.modules"]
    layers = importlib.import_module("torch_mimicry.modules.layers")
    for layer in ("SNConv2d", "SNLinear", "SNEmbedding", "SelfAttention", "ConditionalBatchNorm2d"):
        setattr(modules, layer, getattr(layers, layer))
    for part in ("losses", "resblocks"):
        setattr(modules, part, importlib.import_module(f"torch_mimicry.modules.{part}"))
    models = {"mimicry_sngan": ("sngan", "SNGAN"), "mimicry_wgan_gp": ("wgan_gp", "WGANGP")}[kind]
    cases = [(*models, side, 0) for side in (32, 48, 64, 128)]
    if kind == "mimicry_sngan":
        cases += [("cgan_pd", "CGANPD", side, 7) for side in (32, 128)]
    for folder, prefix, side, classes in cases:
        found = importlib.import_module(f"torch_mimicry.nets.{folder}.{folder}_{side}")
        given = {"num_classes": classes} if classes else {}
        generator = getattr(found, f"{prefix}Generator{side}")(ngf=32, **given)
        critic = getattr(found, f"{prefix}Discriminator{side}")(ndf=32, **given)
        yield plain_case(
            f"{folder} {side}", generator, critic, side, 128, classes, "model_state_dict"
        )


def plain_case(name, generator, critic, side, latent, classes, key, output=lambda y: y) -> Case:
    """The case of two modules (z[, label]) and (x[, label])."""
    randomise(generator, critic)
    z, x = torch.randn(3, latent), torch.randn(3, 3, side, side)
    label = torch.arange(3) % classes if classes else None
    more = () if label is None else (label,)
    critic.train()
    with torch.no_grad():
        for _ in range(3):
            critic(x.clone(), *more)
    generator.eval(), critic.eval()
    files = {
        "G.pth": {key: generator.state_dict()} if key else generator.state_dict(),
        "D.pth": {key: critic.state_dict()} if key else critic.state_dict(),
    }
    return Case(
        name,
        files,
        lambda: generator(z, *more),
        lambda: output(critic(x.clone(), *more)),
        z,
        x,
        label,
    )


def biggan_pytorch(kind: str, checkout: Path) -> Iterator[Case]:
    del kind
    sys.path.insert(0, str(checkout))
    networks = importlib.import_module("BigGAN")
    for side, attention in ((32, "0"), (64, "32"), (128, "64"), (256, "128")):
        given = {"resolution": side, "n_classes": 7}
        generator = networks.Generator(
            G_ch=8, dim_z=40, shared_dim=12, hier=True, no_optim=True, G_attn=attention, **given
        )
        critic = networks.Discriminator(D_ch=8, D_attn="64" if side > 64 else attention, **given)
        case = plain_case(str(side), generator, critic, side, generator.dim_z, 7, "")
        yield case._replace(generator=lambda g=generator, c=case: g(c.z, g.shared(c.label)))


def biggan_huggingface(kind: str, checkout: Path) -> Iterator[Case]:
    del kind
    name = "pytorch_pretrained_biggan"
    package(name, checkout / name)
    files = types.ModuleType(f"{name}.file_utils")
    files.cached_path = None  # type: ignore[attr-defined]  # it downloads
    sys.modules[files.__name__] = files
    model = importlib.import_module(f"{name}.model")
    Config = importlib.import_module(f"{name}.config").BigGANConfig
    layers = Config().layers
    for side in (128, 256):
        if side == 256:
            layers = [*layers[:4], (False, 8, 8), (True, 8, 8), *layers[4:]]
        given = {"z_dim": 24, "class_embed_dim": 24, "channel_width": 16, "num_classes": 7}
        network = model.BigGAN(Config(layers=layers, **given))
        randomise(network)
        with torch.no_grad():
            network.generator.bn.weight.uniform_(0.5, 1)
        z, label = torch.randn(2, 24), torch.tensor([2, 5])
        hot = torch.eye(7)[label]
        network.train()(z, hot, 1.0)
        network.eval()
        yield Case(
            str(side),
            {"pytorch_model.bin": network.state_dict()},
            lambda n=network, z=z, hot=hot: n(z, hot, 1.0),
            None,
            z,
            z,
            label,
        )


def studiogan_biggan(kind: str, checkout: Path) -> Iterator[Case]:
    del kind
    sys.path.insert(0, str(checkout / "src"))
    utils, misc = package("utils", checkout / "src" / "utils"), types.ModuleType("utils.misc")
    misc.dummy_context_mgr = __import__("contextlib").nullcontext  # type: ignore[attr-defined]
    sys.modules["utils.misc"] = utils.misc = misc  # type: ignore[attr-defined]
    ops = importlib.import_module("utils.ops")
    networks = importlib.import_module("models.big_resnet")
    relu = torch.nn.ReLU(inplace=True)
    layers = types.SimpleNamespace(
        g_conv2d=ops.snconv2d,
        g_linear=ops.snlinear,
        g_bn=ops.ConditionalBatchNorm2d,
        g_act_fn=relu,
        d_conv2d=ops.snconv2d,
        d_linear=ops.snlinear,
        d_embedding=ops.sn_embedding,
        d_act_fn=relu,
    )
    no_info = types.SimpleNamespace(info_type="N/A")
    end = (7, "ortho", "N/A", False, layers, no_info)
    for side, at, parts in ((32, 2, 4), (128, 4, 6)):
        generator = networks.Generator(5 * parts, 12, side, 8, True, [at], "cBN", *end)
        generator.train()(torch.randn(3, 5 * parts), torch.arange(3))  # moves its vectors
        critic = networks.Discriminator(side, 8, True, True, [1], "PD", "W/O", "N/A", False, *end)
        yield plain_case(
            str(side),
            generator,
            critic,
            side,
            5 * parts,
            7,
            "state_dict",
            lambda y: y["adv_output"],
        )


def nvidia(kind: str, checkout: Path) -> Iterator[Case]:
    sys.path.insert(0, str(checkout))
    versions = types.ModuleType("pkg_resources")  # which newer Pythons lack
    versions.parse_version = __import__("packaging.version").version.parse  # type: ignore[attr-defined]
    sys.modules.setdefault("pkg_resources", versions)
    for variant, classes in itertools.product((0, 1), (0, 3)):
        side, given = 32, {"c_dim": classes, "img_resolution": 32, "img_channels": 3}
        if kind == "stylegan2_ada":
            networks = critics = importlib.import_module("training.networks")
            synthesis = {"synthesis_kwargs": {"channel_base": 512, "channel_max": 24}}
        else:
            networks = importlib.import_module("training.networks_stylegan3")
            critics = importlib.import_module("training.networks_stylegan2")
            wide = 1 + variant
            synthesis = {
                "channel_base": 512 * wide,
                "channel_max": 24 * wide,
                "num_layers": 6,
                "conv_kernel": 1 if variant else 3,
                "use_radial_filters": bool(variant),
            }
        make = {"z_dim": 12, "w_dim": 16, "mapping_kwargs": {"num_layers": 2}, **synthesis, **given}
        raw, average = networks.Generator(**make).eval(), networks.Generator(**make).eval()
        plain = kind == "stylegan2_ada" and variant
        critic = critics.Discriminator(
            channel_base=512, channel_max=24, architecture="orig" if plain else "resnet", **given
        ).eval()
        randomise(raw, average, critic)
        z, x, label = torch.randn(3, 12), torch.randn(3, 3, side, side), torch.arange(3)
        hot = torch.eye(3)[label] if classes else torch.zeros(3, 0)
        content = {"G": raw, "D": critic, "G_ema": average, "augment_pipe": None}
        yield Case(
            f"variant {variant}, {classes} classes",
            {"network.pkl": pickle.dumps(content)},
            lambda g=average, z=z, hot=hot: g(z, hot, noise_mode="const"),
            lambda d=critic, x=x, hot=hot: d(x, hot),
            z,
            x,
            label if classes else None,
        )


def stargan(kind: str, checkout: Path) -> Iterator[Case]:
    del kind
    sys.path.insert(0, str(checkout))
    networks = importlib.import_module("model")
    for side, domains in ((128, 5), (64, 8)):
        generator = networks.Generator(conv_dim=8, c_dim=domains, repeat_num=3)
        critic = networks.Discriminator(image_size=side, conv_dim=8, c_dim=domains, repeat_num=5)
        randomise(generator, critic)
        x, given = torch.rand(2, 3, side, side) * 2 - 1, torch.rand(2, domains)
        yield Case(
            str(side),
            {"1-G.ckpt": generator.state_dict(), "1-D.ckpt": critic.state_dict()},
            lambda g=generator, x=x, given=given: g(x, given),
            lambda d=critic, x=x: d(x)[0],
            x,
            x,
            given,
        )


def taming_vqgan(kind: str, checkout: Path) -> Iterator[Case]:
    """Its networks without PyTorch Lightning; the autoencoder and the critic are compared with the transformer's."""
    del kind
    sys.path.insert(0, str(checkout))
    lightning, main_, filters = (
        types.ModuleType(n) for n in ("pytorch_lightning", "main", "transformers")
    )
    lightning.LightningModule = torch.nn.Module  # type: ignore[attr-defined]
    filters.top_k_top_p_filtering = None  # type: ignore[attr-defined]

    def instantiate_from_config(config):
        folder, _, name = config["target"].rpartition(".")
        return getattr(importlib.import_module(folder), name)(**config.get("params", {}))

    main_.instantiate_from_config = instantiate_from_config  # type: ignore[attr-defined]
    sys.modules |= {m.__name__: m for m in (lightning, main_, filters)}
    critics = importlib.import_module("taming.modules.discriminator.model")
    models = importlib.import_module("taming.models.cond_transformer")
    for side, multiples, levels, condition in (
        (32, [1, 2], [16], "__is_unconditional__"),
        (
            64,
            [1, 1, 2],
            [64, 16],
            {"target": "taming.modules.util.Labelator", "params": {"n_classes": 7}},
        ),
    ):
        shape = {"ch": 32, "out_ch": 3, "ch_mult": multiples, "num_res_blocks": 2, "z_channels": 12}
        shape |= {
            "attn_resolutions": levels,
            "in_channels": 3,
            "resolution": side,
            "double_z": False,
        }
        first = {"ddconfig": shape, "n_embed": 40, "embed_dim": 6}
        first["lossconfig"] = {"target": "torch.nn.Identity"}  # its own needs torchvision
        places = (side >> (len(multiples) - 1)) ** 2
        gpt = {"vocab_size": 40, "block_size": places, "n_layer": 3, "n_head": 4, "n_embd": 32}
        parameters = {
            "transformer_config": {
                "target": "taming.modules.transformer.mingpt.GPT",
                "params": gpt,
            },
            "first_stage_config": {"target": "taming.models.vqgan.VQModel", "params": first},
            "cond_stage_config": condition,
        }
        model = models.Net2NetTransformer(**parameters).eval()
        model.first_stage_model.loss.discriminator = critics.NLayerDiscriminator(ndf=8).eval()
        model.transformer.pos_emb.data.normal_(0, 0.3)
        randomise(model)
        target = "taming.models.cond_transformer.Net2NetTransformer"
        yield Case(
            f"{side}, {'classes' if isinstance(condition, dict) else 'no condition'}",
            {
                "last.ckpt": {
                    "state_dict": model.state_dict(),
                    "callbacks": {types.SimpleNamespace: 1},
                },
                "project.yaml": {"model": {"target": target, "params": parameters}},
            },
            outputs=vqgan_outputs(model, torch.rand(2, 3, side, side) * 2 - 1, condition),
        )


def vqgan_outputs(model, x: torch.Tensor, condition) -> dict:
    """Reconstructions, logits of the critic and of the transformer."""
    label = torch.tensor([3, 5]) if isinstance(condition, dict) else torch.tensor([0, 0])
    first = model.first_stage_model

    def ours(networks):
        _, codes, _ = encode(networks, last(x))
        network = networks["transformer"]
        start = network.module.start(last(label))[:, None]
        return network(jnp.concatenate([start, codes.reshape(2, -1)[:, :-1]], axis=1))

    return {
        "pictures": (lambda: first(x)[0], lambda n: n["decoder"](encode(n, last(x))[2])),
        "critic": (
            lambda: first.loss.discriminator(x),
            lambda n: n["critic"](last(x), train=False)[..., None],
        ),
        "transformer": (lambda: model(x, label if isinstance(condition, dict) else x)[0], ours),
    }


def chainer_sngan(kind: str, checkout: Path) -> Iterator[Case]:
    """Its networks with Chainer 7.8.1, which needs names that NumPy has removed; its norm of a vector needs CUDA."""
    del kind
    sys.path.insert(0, str(checkout))
    for removed in (int, bool, float, object, str, complex):
        np.__dict__.setdefault(removed.__name__, removed)
    kinds = {
        "float": [np.float32],
        "int": [np.int32],
        "uint": [np.uint8],
        "complex": [np.complex64],
    }
    np.__dict__.setdefault("sctypes", kinds)
    chainer = importlib.import_module("chainer")
    singular = importlib.import_module("source.functions.max_sv")
    singular._l2normalize = lambda v, eps=1e-12: v / (np.sqrt((v * v).sum()) + eps)
    chainer.config.train = False

    def saved(network) -> bytes:
        file = io.BytesIO()
        chainer.serializers.save_npz(file, network)
        return file.getvalue()

    for (side, suffix), classes in itertools.product(((32, "_32"), (64, "_64"), (128, "")), (0, 7)):
        made = importlib.import_module(f"gen_models.resnet{suffix}")
        judge = importlib.import_module(f"dis_models.snresnet{suffix}")
        generator = made.ResNetGenerator(ch=8, dim_z=20, n_classes=classes)
        critic = judge.SNResNetProjectionDiscriminator(ch=8, n_classes=classes)
        randomise_chainer(generator, critic)
        z, x = torch.randn(3, 20), torch.randn(3, 3, side, side)
        label = torch.arange(3) if classes else None
        y = None if label is None else label.numpy().astype(np.int32)
        yield Case(
            f"{side}, {classes} classes",
            {"ResNetGenerator.npz": saved(generator), "SNResNetProjection.npz": saved(critic)},
            lambda g=generator, z=z, y=y: torch.tensor(g(z=z.numpy(), y=y).array),
            lambda d=critic, x=x, y=y: torch.tensor(d(x.numpy(), y).array),
            z,
            x,
            label,
        )


def randomise_chainer(*networks) -> None:
    """As `randomise`; running variances are so small that the epsilon of batch normalisation matters."""
    rng = np.random.default_rng(0)
    for network in networks:
        for path, parameter in network.namedparams():
            if path.endswith(("/b", "/beta", "/betas/W")):
                parameter.array[:] = rng.normal(0, 0.3, parameter.shape)
            if path.endswith(("/gamma", "/gammas/W")):
                parameter.array[:] = rng.uniform(0.02, 0.06, parameter.shape)
        for link in network.links():
            if hasattr(link, "avg_var"):
                link.avg_mean[:] = rng.normal(0, 0.3, link.avg_mean.shape)
                link.avg_var[:] = rng.uniform(1e-3, 4e-3, link.avg_var.shape)


def pix2pix_pytorch(kind: str, checkout: Path) -> Iterator[Case]:
    """Without dropout; the generator with the statistics of its batch, as in the program's test."""
    del kind
    sys.path.insert(0, str(checkout))
    networks = importlib.import_module("models.networks")
    for side, name, layers in ((128, "unet_128", 3), (256, "unet_256", 2)):
        generator = networks.define_G(1, 3, 8, name, "batch", use_dropout=True)
        critic = networks.define_D(4, 8, "n_layers", n_layers_D=layers, norm="batch")
        randomise(generator, critic)
        critic.eval()
        x, shown = torch.rand(2, 1, side, side) * 2 - 1, torch.rand(2, 4, side, side) * 2 - 1

        def translated(generator=generator, x=x):
            for module in generator.modules():
                module.train(not isinstance(module, torch.nn.Dropout))
            return generator(x)

        def ours(networks, x=x):
            network = networks["generator"]
            return Network(network.module.clone(dropout=0.0), network.variables)(last(x))

        yield Case(
            name,
            {"latest_net_G.pth": generator.state_dict(), "latest_net_D.pth": critic.state_dict()},
            outputs={
                "pictures": (translated, ours),
                "critic": (
                    lambda d=critic, x=shown: d(x),
                    lambda n, x=shown: n["critic"](last(x), train=False)[..., None],
                ),
            },
        )


PROGRAMS: dict[str, Callable[[str, Path], Iterator[Case]]] = {
    "mimicry_sngan": mimicry,
    "mimicry_wgan_gp": mimicry,
    "biggan_pytorch": biggan_pytorch,
    "biggan_huggingface": biggan_huggingface,
    "studiogan_biggan": studiogan_biggan,
    "stylegan2_ada": nvidia,
    "stylegan3": nvidia,
    "stargan": stargan,
    "taming_vqgan": taming_vqgan,
    "chainer_sngan": chainer_sngan,
    "pix2pix_pytorch": pix2pix_pytorch,
}


def last(x: torch.Tensor | None) -> jax.Array | None:
    """An array with channels last."""
    if x is None:
        return None
    array = x.detach().numpy()
    array = array.astype(np.int32) if array.dtype == np.int64 else array
    return jnp.asarray(array.transpose(0, 2, 3, 1) if array.ndim == 4 else array)


def called(network, kind: str, x: torch.Tensor, label: torch.Tensor | None) -> np.ndarray:
    """The output of an imported network."""
    evaluation = {} if kind.startswith("style") or kind == "stargan" else {"train": False}
    given = () if kind == "stargan" and label is None else (last(label),)
    found = jax.jit(lambda network, x, *given: network(x, *given, **evaluation))(
        network, last(x), *given
    )
    return np.asarray(found.logits if kind == "stargan" and label is None else found)


def difference(found: np.ndarray, published: torch.Tensor) -> float:
    expected = np.asarray(last(published)).reshape(found.shape)
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def compare(kind: str, case: Case, folder: Path) -> str:
    """A line: the name of the case and its differences."""
    for name, content in case.files.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        elif name.endswith(".yaml"):
            (folder / name).write_text(yaml.safe_dump(content))
        else:
            torch.save(content, folder / name)
    paths = [str(folder / name) for name in case.files]
    assert jaxgan(["import", kind, *paths, "--out", str(folder / "run")]) == 0
    run, _, _, state = config.restore(folder / "run")
    networks = run.game.networks(state)
    if case.outputs:
        with torch.no_grad():
            parts = {
                n: difference(ours(networks), made()) for n, (made, ours) in case.outputs.items()
            }
        return f"{kind}, {case.name}: " + ", ".join(f"{n} {part:.2g}" for n, part in parts.items())
    with torch.no_grad():
        made, judged = case.generator(), case.critic and case.critic()
    parts = [difference(called(networks["generator"], kind, case.z, case.label), made)]
    if judged is not None:
        label = None if kind == "stargan" else case.label
        parts.append(difference(called(networks["critic"], kind, case.x, label), judged))
    return f"{kind}, {case.name}: " + ", ".join(f"{part:.2g}" for part in parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kind", choices=PROGRAMS)
    parser.add_argument("checkout", type=Path)
    args = parser.parse_args()
    torch.manual_seed(0)
    for case in PROGRAMS[args.kind](args.kind, args.checkout.resolve()):
        with tempfile.TemporaryDirectory() as folder:
            print(compare(args.kind, case, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
