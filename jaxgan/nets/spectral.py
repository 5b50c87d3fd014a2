"""Spectral normalisation for anybody's Linen layers, its state explicit.

    from jaxgan.nets.spectral import spectral_norm

    Conv = spectral_norm(nn.Conv)
    x = Conv(64, (3, 3), dtype=jnp.bfloat16)(x)

The layer computes with kernel / sigma instead of kernel. `params/<layer>/kernel` stays where the
plain layer has it and keeps the values that the initialiser and the optimiser give it; beside it
there is one vector per kernel, `spectral/<layer>/u`. The rules:

  - u takes `n_steps` of power iteration, or becomes the leading singular vector, if and only if the
    collection "spectral" is mutable in the call. So one `apply(..., mutable=["spectral"])` per
    critic turn, whose new u serve every other call of that turn (real, fake, penalty) immutably;
    none in the generator's turn, none at evaluation. sigma is a function of kernel and u, so those
    calls see the very kernel that the mutable one saw. A layer that one mutable `apply` calls twice
    iterates twice.
  - Initialisation leaves kernel and bias bit for bit as the plain layer's and warms u up.
  - sigma is differentiable in the kernel with u and v constant, and float32 whatever the layer's
    dtypes.
  - Biases, and everything else that is not the kernel, are left alone.
  - `apply(..., mutable=["intermediates"])` also returns each layer's sigma, as `<layer>/sigma`, for
    logging.

Why not `flax.linen.SpectralNorm`: it overwrites the parameters with normalised ones at
initialisation, iterates in every call even under `update_stats=False` (so evaluation uses a sigma
that training never had), mixes u into `batch_stats`, where resets and averages of those reach it,
files it under names with slashes in them, and flattens every kernel to its last axis, which is
wrong for DenseGeneral, for attention, for embeddings and for
`ConvTranspose(transpose_kernel=True)`.

The maths, with equations and sources, is in `jaxgan.spectral`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.linen as nn
import jax

from jaxgan import spectral

COLLECTION = "spectral"
_LAYERS = (nn.Dense, nn.DenseGeneral, nn.Conv, nn.ConvTranspose, nn.Embed)


def spectral_norm(
    layer_class: type[nn.Module],
    n_steps: int | None = 1,
    eps: float = 1e-12,
    init_steps: int = spectral.INIT_STEPS,
) -> type[nn.Module]:
    """The spectrally normalised subclass of a Linen layer class.

    It has the name and the fields of the class it is made from, so automatic names and checkpoints
    of parameters do not change. The same arguments give the same class.

    Args:
      layer_class: `nn.Dense`, `nn.DenseGeneral` (without `batch_dims`), `nn.Conv`,
        `nn.ConvTranspose` (both layouts), `nn.Embed`, or a subclass of one.
      n_steps: power iterations in a call that may write the collection "spectral". One, the
        paper's, trails kernels that move fast: in the first few hundred steps of small critics
        (Adam, 2e-4) sigma was seen 5 % low, against 1.5 % with 20. It caught up as they slowed.
        None takes `jaxgan.spectral.leading_vector` instead, which is within 1e-3 (wide kernels: 1e-2).
      eps: norms up to this count as zero; a kernel of zeros is left as it is.
      init_steps: power iterations at initialisation.

    >>> import jax, jax.numpy as jnp
    >>> layer = spectral_norm(nn.Dense)(3)
    >>> variables = layer.init(jax.random.key(0), jnp.ones((1, 5)))
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'bias': (3,), 'kernel': (5, 3)}, 'spectral': {'u': (3,)}}
    >>> y, new = layer.apply(variables, jnp.ones((1, 5)), mutable=["spectral"])  # u moves
    >>> y = layer.apply({**variables, **new}, jnp.ones((1, 5)))                  # u stays
    """
    if not isinstance(layer_class, type):
        raise ValueError(
            f"spectral_norm takes a layer class, not a {type(layer_class).__name__} object; wrap "
            "the class first and configure it then: spectral_norm(nn.Conv)(64, (3, 3)), or "
            "partial(spectral_norm(nn.Conv), kernel_size=(3, 3))."
        )
    if issubclass(layer_class, _SpectralParam):
        raise ValueError(f"{layer_class.__name__} is spectrally normalised already; wrap it once.")
    if not issubclass(layer_class, _LAYERS):
        raise ValueError(
            f"spectral_norm does not know where {layer_class.__name__} keeps its kernel; give "
            f"{', '.join(layer.__name__ for layer in _LAYERS)} or a subclass of one."
        )
    if n_steps is not None and n_steps < 1:
        raise ValueError(f"n_steps is {n_steps}; give 1 or more, or None.")
    if init_steps < 0:
        raise ValueError(f"init_steps is {init_steps}; give 0 or more.")
    return _subclass(layer_class, n_steps, eps, init_steps)  # type: ignore[arg-type]  # mypy takes no class for hashable


@functools.cache
def _subclass(layer_class, n_steps, eps, init_steps) -> type[nn.Module]:
    namespace = {
        "__module__": layer_class.__module__,
        "__qualname__": layer_class.__qualname__,
        "__doc__": f"{layer_class.__name__} with its kernel divided by its spectral norm.",
        # Without an annotation: a setting of the class, no field of the dataclass.
        "_spectral_settings": _Settings(n_steps, eps, init_steps),
    }
    return type(layer_class.__name__, (_SpectralParam, layer_class), namespace)


class _Settings(NamedTuple):
    n_steps: int | None
    eps: float
    init_steps: int


if TYPE_CHECKING:
    _Layer = nn.Module
else:
    _Layer = object  # a mixin: Linen would make a dataclass of a module


class _SpectralParam(_Layer):
    """Overrides `param`, the one door by which a Linen layer gets its kernel."""

    def param(self, name: str, init_fn, *init_args, **init_kwargs) -> Any:
        value = super().param(name, init_fn, *init_args, **init_kwargs)
        if name != ("embedding" if isinstance(self, nn.Embed) else "kernel"):
            return value
        return _normalised(self, value)


@jax.named_scope("spectral_norm")  # for profiles and compiled programs
def _normalised(layer: nn.Module, kernel: jax.Array) -> jax.Array:
    """The layer's kernel / sigma, after moving its u if this call may."""
    n_steps, eps, init_steps = layer._spectral_settings
    # A `mask` is multiplied to the kernel afterwards; the product is what has a norm.
    mask = getattr(layer, "mask", None)
    w = spectral.flatten_kernel(kernel if mask is None else kernel * mask, *_kind(layer))
    initialising = layer.is_initializing()
    path = "/".join((COLLECTION, *layer.path, "u"))
    if not initialising and not layer.has_variable(COLLECTION, "u"):
        raise ValueError(
            f"there is no '{path}' in the variables given to apply; pass the collection "
            f"'{COLLECTION}' that init returned along with 'params'."
        )
    # A fixed key: drawing one from the module would shift the random numbers of its parameters.
    u = layer.variable(
        COLLECTION, "u", lambda: spectral.init_u(jax.random.key(0), w, init_steps, eps)
    )
    if u.value.shape != w.shape[1:]:
        raise ValueError(
            f"'{path}' has shape {u.value.shape}, but its kernel of shape {kernel.shape} needs "
            f"{w.shape[1:]}; pass variables that belong to this network."
        )
    if not initialising and layer.is_mutable_collection(COLLECTION):
        if n_steps is None:
            u.value = spectral.leading_vector(w, u.value, eps)
        else:
            u.value = spectral.power_iteration(w, u.value, n_steps, eps)
    sigma = spectral.sigma(w, u.value, eps)
    layer.sow("intermediates", "sigma", sigma, reduce_fn=lambda _, latest: latest)
    return spectral.divide(kernel, sigma, eps)


def kernels(call: Callable[[], Any]) -> dict[str, tuple[jax.Array, str, int]]:
    """The kernel of every Linen layer that a call goes through, as the layer uses it.

    Args:
      call: applies a network to something; plain and spectrally normalised layers may be mixed.

    Returns:
      {"block0/conv0": (kernel, kind, n_in)}, what `jaxgan.spectral.flatten_kernel` takes; a normalised kernel is
      divided by the sigma that the call sees.

    >>> import jax, jax.numpy as jnp
    >>> layer, x = nn.Dense(3), jnp.ones((1, 5))
    >>> variables = layer.init(jax.random.key(0), x)
    >>> [(kernel.shape, kind) for kernel, kind, _ in kernels(lambda: layer.apply(variables, x)).values()]
    [((5, 3), 'dense')]
    """
    found: dict[str, tuple[jax.Array, str, int]] = {}

    def look(call_layer, args, kwargs, context):
        output = call_layer(*args, **kwargs)
        layer = context.module
        if context.method_name == "__call__" and isinstance(layer, _LAYERS):
            name = "embedding" if isinstance(layer, nn.Embed) else "kernel"
            kernel: Any = layer.get_variable("params", name)
            mask = getattr(layer, "mask", None)
            kernel = kernel if mask is None else kernel * mask
            kind, n_in = _kind(layer)
            if isinstance(layer, _SpectralParam):
                u, eps = layer.get_variable(COLLECTION, "u"), layer._spectral_settings.eps
                kernel = spectral.normalised_kernel(kernel, u, kind, n_in, eps)
            found["/".join(layer.path)] = (kernel, kind, n_in)
        return output

    with nn.intercept_methods(look):
        call()
    return found


def _kind(layer: nn.Module) -> tuple[str, int]:
    """The kernel's kind and number of input axes, as `spectral.flatten_kernel` takes them."""
    if isinstance(layer, nn.Conv):
        return "conv", 1
    if isinstance(layer, nn.ConvTranspose):
        return ("conv_transpose_transposed" if layer.transpose_kernel else "conv_transpose"), 1
    if isinstance(layer, nn.Embed):
        return "embed", 1
    if isinstance(layer, nn.Dense):
        return "dense", 1
    if layer.batch_dims:
        raise ValueError(
            f"DenseGeneral with batch_dims={layer.batch_dims} holds one matrix per batch index "
            "and so has no single spectral norm; leave batch_dims empty or use the plain layer."
        )
    return "dense_general", 1 if isinstance(layer.axis, int) else len(layer.axis)
