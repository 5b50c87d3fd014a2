"""The generator and critic backbones that the classic models share, chosen by name and by the shape of the data.

mlp      points, and pictures as vectors
conv     strided convolutions (DCGAN; the SN-GAN paper's CNN, Table 3), any resolution 4 or 6 times a power of two
resnet   residual blocks (WGAN-GP, SN-GAN), at the resolutions that the papers define and at 8 and 16 pixels
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from jaxgan.nets.convnet import ConvCritic, ConvGenerator, doublings
from jaxgan.nets.heads import Labels
from jaxgan.nets.init import glorot, normal_002, pytorch_default
from jaxgan.nets.mlp import MLPCritic, MLPGenerator
from jaxgan.nets.resnet import UPSAMPLINGS, ResNetCritic, ResNetGenerator, plain
from jaxgan.options import MOST_LAYERS, OptionError, option
from jaxgan.spec import Spec

ARCHITECTURES = ("mlp", "conv", "resnet")
SHORTCUT_INITS = {"glorot": glorot, "pytorch": pytorch_default}


class ResNetShape(NamedTuple):
    """Channels of a generator and a critic, as divisors of the widest layer (`generator_width`, `critic_width`)."""

    bottom: int
    generator: tuple[int, ...]
    critic: tuple[int, ...]
    downs: int
    generator_width: int
    critic_width: int


# 32, 48, 128: Miyato et al. 2018, Tables 4 to 6 and their reference code. 64: kwotsin/mimicry, which follows them.
# 8 and 16 are additions for small pictures such as scikit-learn's digits: the networks for 32 with fewer blocks.
RESNETS = {
    8: ResNetShape(4, (1,), (1, 1, 1), 1, 128, 128),
    16: ResNetShape(4, (1, 1), (1, 1, 1), 2, 256, 128),
    32: ResNetShape(4, (1, 1, 1), (1, 1, 1, 1), 2, 256, 128),
    48: ResNetShape(6, (2, 4, 8), (16, 8, 4, 2, 1), 4, 512, 1024),
    64: ResNetShape(4, (2, 4, 8, 16), (16, 8, 4, 2, 1), 5, 1024, 1024),
    128: ResNetShape(4, (1, 2, 4, 8, 16), (16, 8, 4, 2, 1, 1), 5, 1024, 1024),
}


def biases_option() -> Any:
    """The field `convolution_biases` of options of models with residual generators."""
    return option(
        False,
        "the convolutions in front of the generator's batch normalisation have biases (resnet), as in other programs;"
        " in training they have an effect only through attention",
    )


def rectified_option() -> Any:
    """The field `rectified_shortcuts` of options of models with residual critics."""
    return option(
        False,
        "the shortcuts of the critic's blocks take the input after its ReLU (resnet), as in programs whose ReLU"
        " overwrites its input",
    )


@dataclasses.dataclass(frozen=True)
class Options:
    """Architecture and size of a model's networks."""

    architecture: str = option(
        "auto",
        "architecture of both networks; auto is mlp for points and the paper's for pictures",
        choices=("auto", *ARCHITECTURES),
    )
    generator_width: int = option(
        0,
        "channels of the generator's widest layer (conv: narrowest layer); 0 for the paper's number",
        least=0,
    )
    critic_width: int = option(
        0,
        "channels of the critic's widest layer (conv: narrowest layer); 0 for the paper's number",
        least=0,
    )
    shortcut_init: str = option(
        "glorot",
        "initialiser of the shortcuts and the generator's last convolution (resnet): Glorot's, as in the papers' code,"
        " or PyTorch's default, with a third of the variance or less",
        choices=tuple(SHORTCUT_INITS),
    )
    upsampling: str = option(
        "nearest",
        "how the generator doubles the size of its features (resnet): nearest, as in the papers' code, or bilinear",
        choices=tuple(UPSAMPLINGS),
    )
    convolution_biases: bool = biases_option()
    rectified_shortcuts: bool = rectified_option()
    depth: int = option(3, "hidden layers of each network (mlp)", least=1, most=MOST_LAYERS)
    leak: float = option(0.0, "negative slope of the critic's ReLU (mlp, conv)", least=0, most=1)


def networks(
    options: Options,
    spec: Spec,
    *,
    model: str,
    pictures: str,
    num_classes: int | None = None,
    labels: Labels | None = None,
    kernel_norm: Callable[[type], type] = plain,
    generator_kernel_norm: Callable[[type], type] = plain,
    attention: tuple[int | None, int | None] = (None, None),
    wide_critic: bool = False,
    batch_norm_critic: bool = False,
    mean_pool: bool = False,
    output_bias: bool = True,
    dtype: jnp.dtype | None = None,
) -> tuple[nn.Module, nn.Module]:
    """(generator, critic) with the architecture `options.architecture`; "auto" on pictures is `pictures`.

    `kernel_norm` maps each layer class of the critic to the class that is used. For the ResNets only:
    `generator_kernel_norm`, the same for the generator; `attention`, the sides of the feature maps in the generator and
    in the critic that attention blocks follow; `wide_critic`, `mean_pool`, `output_bias` of the critic; `labels`, its
    conditioning, if that is not projection. `batch_norm_critic` applies to the convolutional critic only.
    """
    name = options.architecture
    if name == "auto":
        name = pictures if spec.pictures else "mlp"
    if name != "mlp":
        _check_square(spec, model, name)
    request = _Request(
        options,
        spec,
        model,
        num_classes,
        labels,
        kernel_norm,
        generator_kernel_norm,
        attention,
        wide_critic,
        batch_norm_critic,
        mean_pool,
        output_bias,
        dtype,
    )
    return _BUILDERS[name](request)


class _Request(NamedTuple):
    """The arguments of `networks`, for the builders."""

    options: Options
    spec: Spec
    model: str
    num_classes: int | None
    labels: Labels | None
    kernel_norm: Callable[[type], type]
    generator_kernel_norm: Callable[[type], type]
    attention: tuple[int | None, int | None]
    wide_critic: bool
    batch_norm_critic: bool
    mean_pool: bool
    output_bias: bool
    dtype: jnp.dtype | None


def _check_square(spec: Spec, model: str, architecture: str) -> None:
    """Raises unless the data are square pictures."""
    if spec.pictures and spec.shape[0] == spec.shape[1]:
        return
    fixes: list[dict[str, Any]] = [{"architecture": "mlp"}]
    if spec.pictures:
        fixes.append({"data.resolution": min(spec.shape[:2])})
    raise OptionError(
        None,
        None,
        f"{model} with architecture '{architecture}' makes square pictures, but one example of the data has shape"
        f" {spec.shape}",
        *fixes,
    )


def _mlp(request: _Request) -> tuple[nn.Module, nn.Module]:
    options, dtype = request.options, request.dtype
    if request.num_classes is not None:
        raise OptionError(
            None,
            None,
            f"{request.model} on a multi-layer perceptron has no conditional form",
            {"conditional": False},
        )
    width = options.critic_width or 256
    return (
        MLPGenerator(request.spec.shape, options.generator_width or 256, options.depth, dtype),
        MLPCritic(width, options.depth, options.leak, request.kernel_norm, dtype),
    )


def _conv(request: _Request) -> tuple[nn.Module, nn.Module]:
    options, kernel_norm = request.options, request.kernel_norm
    resolution, _, channels = request.spec.shape
    bottom = 6 if resolution % 6 == 0 else 4  # 48 is 6 times 8 (SN-GAN, Table 3)
    doublings(resolution, bottom, request.model)
    # DCGAN and the models based on it use N(0, 0.02). With spectral normalisation the scale has no effect in the
    # critic, and the SN-GAN reference implementation uses Glorot's initialiser.
    init = normal_002 if kernel_norm is plain else glorot
    return (
        ConvGenerator(
            resolution,
            channels,
            options.generator_width or 64,
            bottom,
            request.num_classes,
            init,
            request.dtype,
        ),
        ConvCritic(
            bottom,
            options.critic_width or 64,
            request.num_classes,
            request.batch_norm_critic,
            options.leak,
            kernel_norm,
            init,
            request.dtype,
        ),
    )


def _resnet(request: _Request) -> tuple[nn.Module, nn.Module]:
    resolution, _, channels = request.spec.shape
    shape = _resnet_shape(resolution, request.model)
    top = request.options.generator_width or shape.generator_width
    widest = request.options.critic_width or shape.critic_width
    labels = request.labels
    if labels is None and request.num_classes is not None:
        labels = Labels(request.num_classes)
    return (
        ResNetGenerator(
            shape.bottom,
            top,
            tuple(max(1, top // d) for d in shape.generator),
            channels,
            request.num_classes,
            request.generator_kernel_norm,
            request.attention[0],
            SHORTCUT_INITS[request.options.shortcut_init],
            request.options.upsampling,
            request.dtype,
            request.options.convolution_biases,
        ),
        ResNetCritic(
            tuple(max(1, widest // d) for d in shape.critic),
            shape.downs,
            labels,
            request.wide_critic,
            request.mean_pool,
            request.output_bias,
            request.kernel_norm,
            request.attention[1],
            shortcut_init=SHORTCUT_INITS[request.options.shortcut_init],
            dtype=request.dtype,
            rectified=request.options.rectified_shortcuts,
        ),
    )


def resnet_sides(resolution: int) -> dict[str, list[int]]:
    """{player: the sides of the feature maps after its blocks} of the ResNets for pictures of a side.

    >>> resnet_sides(32)
    {'generator': [8, 16, 32], 'critic': [16, 8]}
    """
    shape = RESNETS[resolution]
    return {
        "generator": [shape.bottom << i for i in range(1, len(shape.generator) + 1)],
        "critic": [resolution >> i for i in range(1, shape.downs + 1)],
    }


def attention_side(name: str, chosen: int, usual: int, sides: list[int]) -> int:
    """The side of the feature maps that an attention block follows.

    Args:
      name: the option.
      chosen: its value; 0 for the usual side.
      usual: the default for the pictures; 0 for none.
      sides: of the feature maps after the network's blocks.

    Raises:
      OptionError: there are no feature maps of the chosen side, or it is odd, which pooling cannot halve.
    """
    side, even = chosen or usual, [s for s in sides if s % 2 == 0]
    if side and side not in even:
        raise OptionError(
            name,
            chosen,
            f"the feature maps have sides of {', '.join(map(str, even))}",
            {name: min(even, key=lambda s: abs(s - side))},
        )
    return side


def _resnet_shape(resolution: int, model: str) -> ResNetShape:
    """The `ResNetShape` for pictures of that resolution; raises if there is none."""
    shape = RESNETS.get(resolution)
    if shape is None:
        nearest = min(RESNETS, key=lambda r: abs(r - resolution))
        conv = any(resolution == bottom << n for bottom in (4, 6) for n in range(1, 16))
        raise OptionError(
            None,
            None,
            f"{model}'s ResNet makes pictures of {', '.join(map(str, RESNETS))} pixels, not {resolution}",
            {"data.resolution": nearest},
            *([{"architecture": "conv"}] if conv else []),
        )
    return shape


_BUILDERS = {"mlp": _mlp, "conv": _conv, "resnet": _resnet}
