"""Vision Transformers: DINOv2 for Fréchet distances, and the image tower of CLIP.

Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021; Oquab et al., "DINOv2: Learning Robust
Visual Features without Supervision", 2023 (facebookresearch/dinov2, whose state dicts are read here);
Darcet et al., "Vision Transformers Need Registers", 2024; Radford et al., "Learning Transferable
Visual Models From Natural Language Supervision", 2021 (openai/CLIP).

Stein et al., "Exposing flaws of generative model evaluation metrics and their unfair treatment of
diffusion models", 2023, compute Fréchet distances (FD-DINOv2) on the class token of DINOv2's ViT-L/14
at 224 pixels, resized with Pillow's bicubic filter (layer6ai-labs/dgm-eval). This is the mode "clean"
here, except that dgm-eval rounds the pixels to bytes without `--clean_resize`. torch-fidelity resizes
like TensorFlow 1 for the same features, which gives different scores.
"""

import functools
import math
import re
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import resample
from jaxgan.nets.features import FeatureNet, Tensors, Variables
from jaxgan.nets.features._tensors import (
    check_pictures,
    from_torch,
    full_precision,
    standardise,
    take,
)
from jaxgan.nets.features.vgg import DEVIATION, MEAN

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
_CLIP_VISUAL = "visual."  # prefix of the image tower's tensors


def gelu(x: jax.Array) -> jax.Array:
    """x Phi(x), the default of PyTorch; the default of Flax is the approximation by tanh."""
    return nn.gelu(x, approximate=False)


def quick_gelu(x: jax.Array) -> jax.Array:
    """x sigmoid(1.702 x), the activation of CLIP."""
    return x * nn.sigmoid(1.702 * x)


class ViT(nn.Module):
    """Normalised pictures [B, size, size, 3] to the class token after the last norm, [B, width] or [B, projection].

    Attributes:
      size: side of the pictures in pixels.
      patch: side of a patch in pixels, a divisor of `size`.
      width, depth, heads: features, blocks and heads of the transformer; its MLPs have 4 `width` hidden units.
      registers: number of additional tokens without position embeddings.
      projection: size of a last linear map without bias; None for none.
      activation: activation of the MLPs.
      epsilon: epsilon of the layer norms.
      patch_bias: whether the patch embedding has a bias.
      pre_norm: whether tokens are normalised before the first block.
      layer_scale: whether each branch has a gain per channel before it is added.
    """

    size: int
    patch: int
    width: int
    depth: int
    heads: int
    registers: int = 0
    projection: int | None = None
    activation: Callable[[jax.Array], jax.Array] = gelu
    epsilon: float = 1e-6
    patch_bias: bool = True
    pre_norm: bool = False
    layer_scale: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def tokens(name, *shape):
            return self.param(name, nn.initializers.normal(0.02), (*shape, self.width))

        # The fast variance, E x^2 - (E x)^2, is less accurate than the reference.
        norm = functools.partial(nn.LayerNorm, self.epsilon, use_fast_variance=False)
        window = (self.patch, self.patch)
        x = nn.Conv(
            self.width, window, window, "VALID", use_bias=self.patch_bias, name="patch_embed"
        )(x)
        x = x.reshape(x.shape[0], -1, self.width)
        start = jnp.broadcast_to(tokens("class_token"), (x.shape[0], 1, self.width))
        x = jnp.concatenate([start, x], axis=1)
        x = x + tokens("position", x.shape[1])[None]
        if self.registers:
            registers = tokens("registers", self.registers)[None]
            registers = jnp.broadcast_to(registers, (x.shape[0], *registers.shape[1:]))
            x = jnp.concatenate([x[:, :1], registers, x[:, 1:]], axis=1)
        if self.pre_norm:
            x = norm(name="norm_in")(x)
        for i in range(self.depth):
            x = Block(self.heads, self.activation, self.layer_scale, norm, name=f"block{i}")(x)
        x = norm(name="norm_out")(x[:, 0])
        if self.projection is not None:
            x = nn.Dense(self.projection, use_bias=False, name="projection")(x)
        return x


class Block(nn.Module):
    """x + gain1 attention(norm1(x)), then x + gain2 MLP(norm2(x)): [B, N, D] -> [B, N, D]."""

    heads: int
    activation: Callable[[jax.Array], jax.Array]
    layer_scale: bool
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]

        def scaled(name, y):
            if not self.layer_scale:
                return y
            return y * self.param(name, nn.initializers.ones, (width,)).reshape(1, 1, -1)

        y = nn.Dense(3 * width, name="qkv")(self.norm(name="norm1")(x))
        q, k, v = jnp.moveaxis(y.reshape(*y.shape[:2], 3, self.heads, -1), 2, 0)
        # The implementation that computes in float32.
        y = jax.nn.dot_product_attention(q, k, v, implementation="xla").reshape(x.shape)
        x = x + scaled("gain1", nn.Dense(width, name="attention")(y))
        y = nn.Dense(4 * width, name="hidden")(self.norm(name="norm2")(x))
        return x + scaled("gain2", nn.Dense(width, name="mlp")(self.activation(y)))


DINOv2 = functools.partial(ViT, layer_scale=True)
CLIP = functools.partial(ViT, activation=quick_gelu, epsilon=1e-5, patch_bias=False, pre_norm=True)


def convert_dinov2(module: ViT, tensors: Tensors) -> Variables:
    """A state dict of facebookresearch/dinov2, its positions resized to the module's grid of patches."""
    width = module.width
    trained = math.isqrt(max(0, np.size(tensors.get("pos_embed", ())) // width - 1))
    positions = take(tensors, "pos_embed", (1, 1 + trained**2, width))[0]
    adapted = {
        "cls_token": take(tensors, "cls_token", (1, 1, width))[0, 0],
        "pos_embed": resize_positions(
            positions, module.size // module.patch, antialias=bool(module.registers)
        ),
    }
    if "register_tokens" in tensors and not module.registers:
        raise ValueError(
            "the weights have a tensor 'register_tokens', but this network has no registers: use "
            "the DINOv2 whose name ends in _reg4"
        )
    if module.registers:
        registers = take(tensors, "register_tokens", (1, module.registers, width))
        adapted["register_tokens"] = registers[0]
    names = functools.partial(_torch_name, _DINOV2_NAMES, "blocks")
    return from_torch(module, [(1, module.size, module.size, 3)], {**tensors, **adapted}, names)


def convert_clip(module: ViT, tensors: Tensors) -> Variables:
    """The image tower in a state dict of openai/CLIP; tensors of the text tower are ignored."""
    assert module.projection is not None, "CLIP's image tower ends in a projection"
    projection = take(tensors, f"{_CLIP_VISUAL}proj", (module.width, module.projection))
    adapted = {**tensors, f"{_CLIP_VISUAL}proj.weight": projection.T}
    names = functools.partial(_torch_name, _CLIP_NAMES, f"{_CLIP_VISUAL}transformer.resblocks")
    return from_torch(module, [(1, module.size, module.size, 3)], adapted, names)


def resize_positions(positions: np.ndarray, grid: int, antialias: bool) -> np.ndarray:
    """DINOv2's position embedding for another number of patches, as its authors' code resizes it.

    Models with registers widen the filter when they shrink (Keys's cubic, a = -1/2). Models without
    registers do not (a = -3/4), and use the scale (grid + 0.1) / M, a workaround for a rounding error
    that affects their published scores.

    Args:
      positions: float32 [1 + M^2, D]; the first is that of the class token.
      grid: the new M.
      antialias: whether the filter is widened.

    Returns:
      float32 [1 + grid^2, D]; `positions` unchanged if grid = M.

    >>> resize_positions(np.ones((1 + 5 * 5, 3), np.float32), 2, antialias=False).shape
    (5, 3)
    """
    trained = math.isqrt(len(positions) - 1)
    if grid == trained:
        return positions
    patches = positions[1:].reshape(trained, trained, -1)
    if antialias:
        resized = resample.resize_antialiased(jnp.asarray(patches)[None], (grid, grid), "cubic")[0]
    else:
        weights = _bicubic(trained, grid, (grid + 0.1) / trained)
        resized = np.einsum("ip,jq,pqd->ijd", weights, weights, patches, optimize=True)
    return np.concatenate([positions[:1], np.reshape(resized, (grid * grid, -1))], dtype=np.float32)


def _bicubic(size: int, new: int, scale: float) -> np.ndarray:
    """[new, size]: Keys's cubic (a = -3/4) at (i + 1/2) / scale - 1/2, edges repeated.

    In float32 like PyTorch; float64 would differ in the fifth digit.
    """
    step, half, a = np.float32(1 / scale), np.float32(0.5), np.float32(-0.75)
    centres = step * (np.arange(new, dtype=np.float32) + half) - half
    matrix = np.zeros((new, size), np.float32)
    for offset in range(-1, 3):
        nearby = np.floor(centres) + np.float32(offset)
        t = np.abs(centres - nearby)
        near = ((a + 2) * t - (a + 3)) * t * t + 1
        far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
        at = np.clip(nearby, 0, size - 1).astype(int)
        np.add.at(matrix, (np.arange(new), at), np.where(t <= 1, near, far))
    return matrix


def _torch_name(names: dict[str, str], blocks: str, path: str) -> str:
    """The published name of a parameter of `ViT`, or the prefix of the names of a layer."""
    block = re.fullmatch(r"block(\d+)/(\w+)", path)
    if block is None:
        return names[path]
    return f"{blocks}.{block[1]}.{names[block[2]]}"


_DINOV2_NAMES = {
    "class_token": "cls_token",
    "position": "pos_embed",
    "registers": "register_tokens",
    "patch_embed": "patch_embed.proj.",
    "norm1": "norm1.",
    "qkv": "attn.qkv.",
    "attention": "attn.proj.",
    "gain1": "ls1.gamma",
    "norm2": "norm2.",
    "hidden": "mlp.fc1.",
    "mlp": "mlp.fc2.",
    "gain2": "ls2.gamma",
    "norm_out": "norm.",
}
_CLIP_NAMES = {
    "class_token": f"{_CLIP_VISUAL}class_embedding",
    "position": f"{_CLIP_VISUAL}positional_embedding",
    "patch_embed": f"{_CLIP_VISUAL}conv1.",
    "norm_in": f"{_CLIP_VISUAL}ln_pre.",
    "norm1": "ln_1.",
    "qkv": "attn.in_proj_",
    "attention": "attn.out_proj.",
    "norm2": "ln_2.",
    "hidden": "mlp.c_fc.",
    "mlp": "mlp.c_proj.",
    "norm_out": f"{_CLIP_VISUAL}ln_post.",
    "projection": f"{_CLIP_VISUAL}proj.",
}


def _feature_net(
    name: str,
    module: ViT,
    convert: Callable[[ViT, Tensors], Variables],
    resize: str,
    mean: tuple[float, float, float],
    deviation: tuple[float, float, float],
) -> FeatureNet:
    size = (module.size, module.size)

    @full_precision
    def apply(variables: Variables, images: jax.Array) -> dict[str, jax.Array]:
        check_pictures(name, images, size)
        x = standardise(images, np.multiply(255, mean), np.multiply(255, deviation))
        features: Any = module.apply(variables, x)
        return {"features": features}

    return FeatureNet(
        name=name,
        outputs={"features": module.projection or module.width},
        size=size,
        resize=resize,
        apply=apply,
        convert=functools.partial(convert, module),
        files=(name,),
    )


def _dinov2(letter: str, width: int, depth: int, registers: int = 0) -> FeatureNet:
    module = DINOv2(224, 14, width, depth, width // 64, registers)
    name = f"dinov2_vit{letter}14" + (f"_reg{registers}" if registers else "")
    return _feature_net(name, module, convert_dinov2, "clean", MEAN, DEVIATION)


def _clip(letter: str, patch: int, width: int, depth: int, projection: int) -> FeatureNet:
    """CLIP's image tower, with torch-fidelity's resizing; CLIP's own preprocessing is bicubic and crops."""
    module = CLIP(224, patch, width, depth, width // 64, projection=projection)
    name = f"clip_vit_{letter}_{patch}"
    return _feature_net(name, module, convert_clip, "tf1", CLIP_MEAN, CLIP_DEVIATION)


_DINOV2_SIZES = (("s", 384, 12), ("b", 768, 12), ("l", 1024, 24))
NETWORKS = (
    *(_dinov2(*size, registers) for registers in (0, 4) for size in _DINOV2_SIZES),
    _clip("b", 32, 768, 12, 512),
    _clip("l", 14, 1024, 24, 768),
)
