"""Spectral normalisation of Linen layers, with explicit state.

    from jaxgan.nets.spectral import spectral_norm

    Conv = spectral_norm(nn.Conv)
    x = Conv(64, (3, 3), dtype=jnp.bfloat16)(x)

The layer computes with kernel / sigma instead of kernel. The parameter `params/<layer>/kernel` keeps
its name and its unnormalised values. There is one additional vector per kernel, `spectral/<layer>/u`.
The rules:

  - u is updated, by `n_steps` of power iteration or to the leading singular vector, if and only if
    the collection "spectral" is mutable in the call. Make one `apply(..., mutable=["spectral"])` per
    critic turn, and pass its new u to all other calls of that turn (real, fake, penalty), where the
    collection is immutable. Do not update u in the generator's turn or at evaluation. sigma is a
    function of the kernel and u, so all these calls use the same normalised kernel. A layer that is
    called twice in one mutable `apply` is updated twice.
  - Initialisation gives the same kernel and bias as the plain layer, bit for bit. u starts after
    `init_steps` of power iteration.
  - sigma is differentiable in the kernel, with u and v constant. It is float32 whatever the dtypes of
    the layer.
  - Biases and all parameters other than the kernel are not changed.
  - `apply(..., mutable=["intermediates"])` also returns each layer's sigma, as `<layer>/sigma`, for
    logging.

This module exists because `flax.linen.SpectralNorm`

  - replaces the parameters by normalised ones at initialisation;
  - iterates in every call, even with `update_stats=False`, so that evaluation uses a different sigma
    than training;
  - stores u in `batch_stats`, where code that resets or averages batch statistics changes it;
  - uses variable names that contain slashes;
  - flattens every kernel to its last axis, which is wrong for DenseGeneral, attention, embeddings and
    `ConvTranspose(transpose_kernel=True)`.

`jaxgan.spectral` has the functions, with equations and sources.
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

    It has the name and the fields of `layer_class`, so automatic names and checkpoints of parameters do
    not change. The same arguments return the same class.

    Args:
      layer_class: `nn.Dense`, `nn.DenseGeneral` (without `batch_dims`), `nn.Conv`,
        `nn.ConvTranspose` (both layouts), `nn.Embed`, or a subclass of one.
      n_steps: power iterations in a call in which the collection "spectral" is mutable. The paper's
        number is 1. It underestimates sigma of kernels that change fast: in the first few hundred
        steps of small critics (Adam, 2e-4) sigma was 5 % too low, against 1.5 % with 20 steps, and
        accurate later. None uses `jaxgan.spectral.leading_vector` instead, whose relative error is
        about 1e-3 (wide kernels: 1e-2).
      eps: norms up to this count as zero; a kernel of zeros is not normalised.
      init_steps: power iterations at initialisation.

    >>> import jax, jax.numpy as jnp
    >>> layer = spectral_norm(nn.Dense)(3)
    >>> variables = layer.init(jax.random.key(0), jnp.ones((1, 5)))
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'bias': (3,), 'kernel': (5, 3)}, 'spectral': {'u': (3,)}}
    >>> y, new = layer.apply(variables, jnp.ones((1, 5)), mutable=["spectral"])  # updates u
    >>> y = layer.apply({**variables, **new}, jnp.ones((1, 5)))                  # does not
    """
    if not isinstance(layer_class, type):
        raise ValueError(
            f"spectral_norm takes a layer class, not a {type(layer_class).__name__} object; wrap "
            "the class first, then configure it: spectral_norm(nn.Conv)(64, (3, 3)), or "
            "partial(spectral_norm(nn.Conv), kernel_size=(3, 3))."
        )
    if issubclass(layer_class, _SpectralParam):
        raise ValueError(
            f"{layer_class.__name__} is spectrally normalised already; wrap it only once."
        )
    if not issubclass(layer_class, _LAYERS):
        raise ValueError(
            f"spectral_norm does not support {layer_class.__name__}; give "
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
        # Without an annotation, so that it is a class attribute and not a field of the dataclass.
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
    """Overrides `param`, the method by which every Linen layer gets its kernel."""

    def param(self, name: str, init_fn, *init_args, **init_kwargs) -> Any:
        value = super().param(name, init_fn, *init_args, **init_kwargs)
        if name != ("embedding" if isinstance(self, nn.Embed) else "kernel"):
            return value
        return _normalised(self, value)


@jax.named_scope("spectral_norm")  # for profiles and compiled programs
def _normalised(layer: nn.Module, kernel: jax.Array) -> jax.Array:
    """The layer's kernel / sigma, after updating u if its collection is mutable."""
    n_steps, eps, init_steps = layer._spectral_settings
    # The layer multiplies the kernel by its `mask` afterwards; sigma is the norm of the product.
    mask = getattr(layer, "mask", None)
    w = spectral.flatten_kernel(kernel if mask is None else kernel * mask, *_kind(layer))
    initialising = layer.is_initializing()
    path = "/".join((COLLECTION, *layer.path, "u"))
    if not initialising and not layer.has_variable(COLLECTION, "u"):
        raise ValueError(
            f"there is no '{path}' in the variables given to apply; pass the collection "
            f"'{COLLECTION}' that init returned along with 'params'."
        )
    # A fixed key: `make_rng` would change the random numbers of the parameters that are created later.
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
    """The kernel of every Linen layer that a call applies, as the layer uses it.

    Args:
      call: a function that applies a network; plain and spectrally normalised layers may be mixed.

    Returns:
      {"block0/conv0": (kernel, kind, n_in)}, the arguments of `jaxgan.spectral.flatten_kernel`; the kernel of a
      normalised layer is divided by its sigma.

    >>> import jax, jax.numpy as jnp
    >>> layer, x = nn.Dense(3), jnp.ones((1, 5))
    >>> variables = layer.init(jax.random.key(0), x)
    >>> [(kernel.shape, kind) for kernel, kind, _ in kernels(lambda: layer.apply(variables, x)).values()]
    [((5, 3), 'dense')]
    """
    found: dict[str, tuple[jax.Array, str, int]] = {}

    def record_kernel(call_layer, args, kwargs, context):
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

    with nn.intercept_methods(record_kernel):
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
            f"DenseGeneral with batch_dims={layer.batch_dims} has one matrix per batch index "
            "and so has no single spectral norm; leave batch_dims empty or use the plain layer."
        )
    return "dense_general", 1 if isinstance(layer.axis, int) else len(layer.axis)
