"""VQGAN of CompVis/taming-transformers (MIT): last.ckpt of a VQModel or of a Net2NetTransformer, and its config.

The config (configs/...-project.yaml) states what no tensor tells: the size of the pictures, which is taken to be 256
pixels without it, and of a transformer its heads and its condition. Transformers without a condition and of classes
are read. Their prefix shares the numbers of codes: the token of the start is that of code `sos_token`, the token of a
class that of the code of the same number. Here prefixes are tokens of their own, so these rows of the table are copied.

In the run only the transformer is trained, as in the program (`transformer_from` is 0). It starts anew if the file is
that of a VQModel. The perceptual network in such a file, LPIPS, is therefore left out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from jaxgan.imports import Imported, Leaf, Tensors, _patchgan
from jaxgan.spec import Field, Spec

ABOUT = "CompVis/taming-transformers (MIT): VQGAN, last.ckpt and ...-project.yaml"
SIDE = 256  # of all published networks
CONTEXT = 256  # of a transformer that starts anew, at least
INNER = "first_stage_model."  # the autoencoder in the file of a transformer
CRITIC = "loss.discriminator.main"
TARGET = "model.target"  # of a config
MODELS = ("VQModel", "Net2NetTransformer")
BLOCK = {"norm1": "norm0", "conv1": "conv0", "norm2": "norm1", "conv2": "conv1"}
ATTENTION = {"q": "query", "k": "key", "v": "value", "proj_out": "project"}
HEADS = 8  # the program's default
REFUSAL = (
    "taming-transformers writes all networks into one file: give one checkpoint (last.ckpt) and, if you have it, its"
    " config (...-project.yaml)."
)


def files(names: Collection[str]) -> bool:
    parts = {"encoder.conv_in.weight", "quantize.embedding.weight", "post_quant_conv.weight"}
    inner = {f"{INNER}{name}" for name in parts}
    return parts <= set(names) or inner <= set(names) or TARGET in names


def read(given: Sequence[Tensors]) -> Imported:
    configs = [file for file in given if TARGET in file.settings]
    checkpoints = [file for file in given if TARGET not in file.settings]
    if len(checkpoints) != 1 or len(configs) > 1:
        raise ValueError(REFUSAL)
    file, config = checkpoints[0], configs[0] if configs else None
    prefix = INNER if f"{INNER}encoder.conv_in.weight" in file else ""
    known = _settings(config, "model.params.first_stage_config" if _is_gpt(config) else "model")
    side = int(known.get("ddconfig.resolution", SIDE))
    encoder, options = _encoder(file, prefix, side)
    levels = len(options["channel_multiples"])
    players = {
        "encoder": encoder,
        "codebook": _codebook(file, f"{prefix}quantize.embedding.weight"),
        "decoder": _decoder(file, prefix, levels),
    }
    codes, code_dim = file.shape(f"{prefix}quantize.embedding.weight", 2)
    options |= {"codes": codes, "code_dim": code_dim, "perceptual": "none", "transformer_from": 0}
    fields = {
        "image": Field("image", (side, side, file.shape(f"{prefix}encoder.conv_in.weight")[1]))
    }
    notes = []
    if "ddconfig.resolution" not in known:
        notes.append(
            f"the size of the pictures is in the config; they are taken to be of {SIDE} pixels"
        )
    if f"{prefix}{CRITIC}.0.weight" in file:
        players["critic"], width, layers = _patchgan.critic(file, f"{prefix}{CRITIC}")
        options |= {"critic_width": width, "critic_layers": layers}
    if prefix:
        prompts, classes = _prefixes(file, config)
        players["transformer"], more = _transformer(file, codes, prompts)
        options |= more | {"heads": _heads(config), "conditional": classes is not None}
        if classes is not None:
            fields["label"] = Field("label", number=classes)
    else:
        options["context"] = max(CONTEXT, (side >> (levels - 1)) ** 2)
    file.drop(*(n for n in file.names if n.startswith(f"{prefix}loss.perceptual_loss.")))
    file.finish()
    return Imported("vqgan", options, Spec(fields, 1), players, notes=notes)


# The config ------------------------------------------------------------------------------------------------


def _settings(config: Tensors | None, part: str) -> dict[str, Any]:
    """The parameters of a part of the config; none without a config."""
    if config is None:
        return {}
    if str(config.settings[TARGET]).rpartition(".")[2] not in MODELS:
        raise ValueError(
            f"{config.where} describes a {config.settings[TARGET]}, and only {' and '.join(MODELS)} can be imported;"
            " give the checkpoint and the config of such a model."
        )
    start = f"{part}.params."
    return {
        name.removeprefix(start): value
        for name, value in config.settings.items()
        if name.startswith(start)
    }


def _is_gpt(config: Tensors | None) -> bool:
    """Whether a config is that of a transformer, which contains that of its autoencoder."""
    return config is not None and str(config.settings[TARGET]).endswith(f".{MODELS[1]}")


def _heads(config: Tensors | None) -> int:
    """The heads of the transformer's attention."""
    return int(_settings(config, "model.params.transformer_config").get("n_head", HEADS))


def _prefixes(file: Tensors, config: Tensors | None) -> tuple[list[int], int | None]:
    """(the tokens that precede the codes: of the start, or of all classes; number of classes)."""
    if not _is_gpt(config):
        raise ValueError(
            f"the heads and the condition of the transformer in {file.where} are in the config of a"
            f" {MODELS[1]}; give that too (...-project.yaml, beside the checkpoint)."
        )
    settings = _settings(config, "model")
    plain = settings.get("cond_stage_config") == "__is_unconditional__"
    if plain or settings.get("unconditional"):
        return [int(settings.get("sos_token", 0))], None
    kind = str(settings.get("cond_stage_config.target", settings.get("cond_stage_config")))
    classes = settings.get("cond_stage_config.params.n_classes")
    if kind.rpartition(".")[2] == "Labelator" and isinstance(classes, int):
        return list(range(classes)), classes
    raise ValueError(
        f"the transformer in {file.where} is conditioned by {kind}, and only those of classes and without a condition"
        " can be imported; give the checkpoint of its first stage (a VQModel) instead."
    )


# The autoencoder -------------------------------------------------------------------------------------------


def _encoder(file: Tensors, prefix: str, side: int) -> tuple[dict[str, Leaf], dict[str, Any]]:
    """(variables, options of the autoencoder)."""
    inside = f"{prefix}encoder"
    levels = file.count(rf"{inside}\.down\.(\d+)\.")
    blocks = file.count(rf"{inside}\.down\.0\.block\.(\d+)\.")
    found = file.conv("conv_in", f"{inside}.conv_in") | _middle(file, "", inside)
    widths, attention = [], []
    for level in range(levels):
        name = f"{inside}.down.{level}"
        widths.append(file.shape(f"{name}.block.{blocks - 1}.conv2.weight", 4)[0])
        if f"{name}.attn.0.q.weight" in file:
            attention.append(side >> level)
        found |= _level(file, f"level{level}", name, blocks)
        if level < levels - 1:
            found |= file.conv(f"level{level}_downsample/conv", f"{name}.downsample.conv")
    found |= _scaled(file, "norm_out", f"{inside}.norm_out")
    found |= file.conv("conv_out", f"{inside}.conv_out") | file.conv("quant", f"{prefix}quant_conv")
    channels = file.shape(f"{inside}.conv_in.weight", 4)[0]
    options = {
        "channels": channels,
        "channel_multiples": tuple(width // channels for width in widths),
        "blocks": blocks,
        "attention_resolutions": tuple(attention),
        "latent_channels": file.shape(f"{inside}.conv_out.weight")[0],
    }
    return found, options


def _codebook(file: Tensors, name: str) -> dict[str, Leaf]:
    """The codes, with the counters of a codebook that was never trained here."""
    from jaxgan.nets.codebook import USAGE_BATCHES  # Flax, which `jaxgan import list` does not need

    codes = file.take(name, 2)
    counters = {
        "unused": np.full(len(codes), USAGE_BATCHES),
        "idle": np.zeros(len(codes)),
        "offset": np.zeros_like(codes),
    }
    return {
        "params/embedding": Leaf(codes, name),
        **{f"codes/{counter}": Leaf(value, name) for counter, value in counters.items()},
    }


def _decoder(file: Tensors, prefix: str, levels: int) -> dict[str, Leaf]:
    """The variables."""
    inside = f"{prefix}decoder"
    found = file.conv("body/post_quant", f"{prefix}post_quant_conv")
    found |= file.conv("body/conv_in", f"{inside}.conv_in") | _middle(file, "body/", inside)
    for level in range(levels):
        name, blocks = f"{inside}.up.{level}", file.count(rf"{inside}\.up\.{level}\.block\.(\d+)\.")
        found |= _level(file, f"body/level{level}", name, blocks)
        if level:
            found |= file.conv(f"body/level{level}_upsample", f"{name}.upsample.conv")
    found |= _scaled(file, "body/norm_out", f"{inside}.norm_out")
    return found | file.conv("conv_out", f"{inside}.conv_out")


def _level(file: Tensors, path: str, name: str, blocks: int) -> dict[str, Leaf]:
    """The residual blocks of a level, and their attention if it has any."""
    found: dict[str, Leaf] = {}
    for i in range(blocks):
        found |= _residual(file, f"{path}_block{i}", f"{name}.block.{i}")
        if f"{name}.attn.{i}.q.weight" in file:
            found |= _attention(file, f"{path}_attention{i}", f"{name}.attn.{i}")
    return found


def _middle(file: Tensors, path: str, name: str) -> dict[str, Leaf]:
    return {
        **_residual(file, f"{path}middle_block0", f"{name}.mid.block_1"),
        **_attention(file, f"{path}middle_attention", f"{name}.mid.attn_1"),
        **_residual(file, f"{path}middle_block1", f"{name}.mid.block_2"),
    }


def _residual(file: Tensors, path: str, name: str) -> dict[str, Leaf]:
    found: dict[str, Leaf] = {}
    for published, ours in BLOCK.items():
        layer = _scaled if "norm" in published else Tensors.conv
        found |= layer(file, f"{path}/{ours}", f"{name}.{published}")
    if f"{name}.nin_shortcut.weight" in file:
        found |= file.conv(f"{path}/shortcut", f"{name}.nin_shortcut")
    return found


def _attention(file: Tensors, path: str, name: str) -> dict[str, Leaf]:
    found = _scaled(file, f"{path}/norm", f"{name}.norm")
    for published, ours in ATTENTION.items():
        found |= file.conv(f"{path}/{ours}", f"{name}.{published}")
    return found


def _scaled(file: Tensors, path: str, name: str) -> dict[str, Leaf]:
    """A normalisation with gain and bias, and no statistics."""
    return file.param(f"{path}/scale", f"{name}.weight") | file.param(
        f"{path}/bias", f"{name}.bias"
    )


# The transformer -------------------------------------------------------------------------------------------


def _transformer(
    file: Tensors, codes: int, prefixes: list[int]
) -> tuple[dict[str, Leaf], dict[str, Any]]:
    """(variables, options without the heads)."""
    table, places, head = (f"transformer.{n}" for n in ("tok_emb.weight", "pos_emb", "head.weight"))
    tokens, positions = file.take(table, 2), file.take(places, 3)[0]
    if len(tokens) < max(codes, max(prefixes) + 1):
        raise ValueError(
            f"the transformer in {file.where} has {len(tokens)} tokens, but there are {codes} codes and a prefix of"
            f" number {max(prefixes)}; this is a variant that cannot be imported."
        )
    # The prefixes are never predicted, and tokens that are not codes cannot be decoded.
    found = {
        "params/tokens/embedding": Leaf(np.concatenate([tokens[:codes], tokens[prefixes]]), table),
        "params/positions": Leaf(positions, places),
        "params/head/kernel": Leaf(np.ascontiguousarray(file.take(head, 2)[:codes].T), head),
        **_scaled(file, "norm", "transformer.ln_f"),
    }
    layers = file.count(r"transformer\.blocks\.(\d+)\.")
    for i in range(layers):
        name, block = f"transformer.blocks.{i}", f"block{i}"
        _check_mask(file, f"{name}.attn.mask")
        for norm, published in (("norm0", "ln1"), ("norm1", "ln2")):
            found |= _scaled(file, f"{block}/{norm}", f"{name}.{published}")
        for layer, published in (
            ("query", "query"),
            ("key", "key"),
            ("value", "value"),
            ("project", "proj"),
        ):
            found |= file.dense(f"{block}/attention/{layer}", f"{name}.attn.{published}")
        for layer, published in (("hidden", "mlp.0"), ("output", "mlp.2")):
            found |= file.dense(f"{block}/{layer}", f"{name}.{published}")
    context, width = positions.shape
    return found, {"layers": layers, "width": width, "context": context}


def _check_mask(file: Tensors, name: str) -> None:
    """Raises unless each token sees those before it and itself."""
    mask = file.take(name, 4)[0, 0]
    if not np.array_equal(mask != 0, np.tri(len(mask), dtype=bool)):
        raise ValueError(
            f"the transformer in {file.where} sees tokens that follow ('{name}'), as none here does; this is a variant"
            " that cannot be imported."
        )
