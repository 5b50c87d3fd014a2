"""Networks bound to their variables, so that a loss calls them as functions.

fake = play.networks["generator"](latent)     no state changes
critic = play.moving("critic")                each call updates its state
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.errors import ScopeParamNotFoundError, ScopeParamShapeError

PyTree = Any
Collections = dict[str, PyTree]

# Collections that a call in training updates.
BATCH_STATS, SPECTRAL = "batch_stats", "spectral"


class Signature(NamedTuple):
    """The shapes that a network accepts, from the arguments of its initialisation.

    Without this check, labels [B, 1] broadcast to logits [B, B] in a critic, and latents [L] or [B, K, L] pass as other
    batches. Other wrong shapes fail inside Flax or XLA.

    Attributes:
      network: the network's name in errors.
      names: its positional arguments.
      examples: {argument: array of its initialisation} as pairs, for arguments with a batch axis.
    """

    network: str = ""
    names: tuple[str, ...] = ()
    examples: tuple[tuple[str, jax.core.ShapedArray], ...] = ()

    @classmethod
    def of(cls, network: str, module: Any, example: tuple) -> Signature:
        """The signature of a module; empty if it has no `__call__`, and so no argument that could be checked."""
        names = tuple(inspect.signature(module).parameters) if callable(module) else ()
        pairs = zip(names, example, strict=False)
        examples = ((name, jax.typeof(x)) for name, x in pairs if getattr(x, "ndim", 0))
        return cls(network, names, tuple(examples))

    def given(self, args, kwargs) -> dict[str, Any]:
        """The arguments of a call that have an example, by their names."""
        named = {**dict(zip(self.names, args, strict=False)), **kwargs}
        return {name: named.get(name) for name, _ in self.examples}

    def check(self, args, kwargs) -> None:
        """Raises unless each argument has the rank of its example, its channels or features, and the same batch axis.

        The sides of pictures may differ, since some networks are convolutional throughout or have several levels.
        """
        arrays = self.given(args, kwargs)
        for name, example in self.examples:
            if arrays[name] is None:
                raise ValueError(
                    f"{self.network} is called without '{name}'; give one for each row."
                )
            features = example.ndim > 1 and jnp.issubdtype(example.dtype, jnp.floating)
            last = example.shape[-1] if features else None
            chex.assert_shape(
                arrays[name],
                (*[None] * (example.ndim - 1), last),
                custom_message=f"{self.network} is given this as '{name}'; None stands for any size",
                include_default_message=False,
                exception_type=ValueError,
            )
        if any(jnp.issubdtype(x.dtype, jnp.integer) for x in arrays.values()):
            chex.assert_equal_shape_prefix(
                list(arrays.values()),
                1,
                custom_message=f"{self.network} is given these as {', '.join(arrays)}: one label for each row",
                include_default_message=False,
                exception_type=ValueError,
            )

    def sentence(self, args, kwargs) -> str:
        """The difference between the initialisation and a call."""
        was = ", ".join(f"{name} {list(x.shape)}" for name, x in self.examples)
        now = ", ".join(f"{name} {list(x.shape)}" for name, x in self.given(args, kwargs).items())
        return f"{self.network} was initialised with {was} and cannot be called with {now}."


UNCHECKED = Signature()


@jax.tree_util.register_pytree_node_class
class Network:
    """A Linen module bound to its variables; calls have the module's arguments and do not change state.

    A call raises unless its arguments fit the `signature`.

    In training, batch normalisation uses the statistics of the batch and does not update the running statistics; `u`
    vectors of spectral normalisation are not updated either. `network["noise"]` is the collection of that name,
    `network.params` the parameters. A network is a pytree of its variables, so it can be an argument of a jitted
    function.
    """

    def __init__(self, module: nn.Module, variables: Collections, signature: Signature = UNCHECKED):
        self.module, self.variables, self.signature = module, variables, signature

    def __call__(self, *args, **kwargs):
        return self._apply((BATCH_STATS,), args, kwargs)[0]

    def __getitem__(self, collection: str) -> PyTree:
        if collection not in self.variables:
            raise KeyError(
                f"there is no collection '{collection}'; there are {', '.join(self.variables)}"
            )
        return self.variables[collection]

    @property
    def params(self) -> PyTree:
        return self.variables["params"]

    @property
    def state(self) -> Collections:
        """The collections that are not parameters."""
        return {name: tree for name, tree in self.variables.items() if name != "params"}

    def replace(self, **collections: PyTree) -> Network:
        """The same network with other collections."""
        return Network(self.module, {**self.variables, **collections}, self.signature)

    def _apply(self, mutable: tuple[str, ...], args, kwargs):
        known = [name for name in mutable if name in self.variables]
        checked = "method" not in kwargs
        if checked:
            self.signature.check(args, kwargs)
        try:
            return self.module.apply(self.variables, *args, mutable=known, **kwargs)
        except (ScopeParamNotFoundError, ScopeParamShapeError) as error:
            if not checked or not self.signature.examples:
                raise
            raise ValueError(self.signature.sentence(args, kwargs)) from error

    def tree_flatten(self):
        return (self.variables,), (self.module, self.signature)

    @classmethod
    def tree_unflatten(cls, static, children):
        (variables,), (module, signature) = children, static
        return cls(module, variables, signature)


class Moving(Network):
    """A network whose calls update its state: the first call updates `u` vectors, every call batch statistics.

    Call it directly in the loss, not inside `jax.grad`, `jax.vmap` or `jax.checkpoint`, where JAX would report a leaked
    tracer. Use `frozen` inside those.
    """

    def __init__(self, module: nn.Module, variables: Collections, signature: Signature = UNCHECKED):
        super().__init__(module, variables, signature)
        self.assigned: Collections = {}  # collections that `set` gave a new value
        self._called = False

    def __call__(self, *args, **kwargs):
        advancing = (BATCH_STATS,) if self._called else (BATCH_STATS, SPECTRAL)
        output, new = self._apply(advancing, args, kwargs)
        self.variables, self._called = {**self.variables, **new}, True
        return output

    @property
    def frozen(self) -> Network:
        """The network with its current state, without updates; for penalties, inside `jax.grad`."""
        return Network(self.module, self.variables, self.signature)

    def set(self, **collections: PyTree) -> None:
        """Assigns new values to collections of the player, such as running means; no gradient flows into them.

        They are set once per update. With gradient accumulation, each micro-batch computes values from the state before
        the update, and the engine stores their mean (for integers, their minimum).
        """
        collections = jax.lax.stop_gradient(collections)
        self.variables = {**self.variables, **collections}
        self.assigned = {**self.assigned, **collections}


def batch_statistics(network: Network, *args, **kwargs) -> PyTree:
    """The statistics of one batch, as the collection "batch_stats", for any momentum of the layers.

    A layer with momentum m updates its running statistics r with those of the batch, s: r' = m r + (1 - m) s. Starting
    from r = 0 and from r = 1, the results are (1 - m) s and m + (1 - m) s, which determine m and s.

    Args:
      network: the network; its `u` vectors are not updated.
      *args, **kwargs: arguments of the call.
    """

    def updated(fill: float) -> PyTree:
        start = jax.tree.map(lambda x: jax.numpy.full_like(x, fill), network[BATCH_STATS])
        return network.replace(batch_stats=start)._apply((BATCH_STATS,), args, kwargs)[1][
            BATCH_STATS
        ]

    return separate_momentum(updated(0.0), updated(1.0))


def separate_momentum(from_zero: PyTree, from_one: PyTree) -> PyTree:
    """The statistics of a batch, from the updated running statistics that started at 0 and at 1."""
    return jax.tree.map(lambda low, high: low / (1.0 - (high - low)), from_zero, from_one)
