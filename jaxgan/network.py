"""Networks bound to their variables, so that a loss calls them as functions.

fake = play.networks["generator"](latent)     no state changes
critic = play.moving("critic")                each call updates its state
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax

PyTree = Any
Collections = dict[str, PyTree]

# Collections that a call in training updates.
BATCH_STATS, SPECTRAL = "batch_stats", "spectral"


@jax.tree_util.register_pytree_node_class
class Network:
    """A Linen module bound to its variables; calls have the module's arguments and do not change state.

    In training, batch normalisation uses the statistics of the batch and does not update the running statistics; `u`
    vectors of spectral normalisation are not updated either. `network["noise"]` is the collection of that name,
    `network.params` the parameters. A network is a pytree of its variables, so it can be an argument of a jitted
    function.
    """

    def __init__(self, module: nn.Module, variables: Collections):
        self.module, self.variables = module, variables

    def __call__(self, *args, **kwargs):
        return self._apply((BATCH_STATS,), args, kwargs)[0]

    def __getitem__(self, collection: str) -> PyTree:
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
        return Network(self.module, {**self.variables, **collections})

    def _apply(self, mutable: tuple[str, ...], args, kwargs):
        known = [name for name in mutable if name in self.variables]
        return self.module.apply(self.variables, *args, mutable=known, **kwargs)

    def tree_flatten(self):
        return (self.variables,), self.module

    @classmethod
    def tree_unflatten(cls, module, children):
        return cls(module, *children)


class Moving(Network):
    """A network whose calls update its state: the first call updates `u` vectors, every call batch statistics.

    Call it directly in the loss, not inside `jax.grad`, `jax.vmap` or `jax.checkpoint`, where JAX would report a leaked
    tracer. Use `frozen` inside those.
    """

    def __init__(self, module: nn.Module, variables: Collections):
        super().__init__(module, variables)
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
        return Network(self.module, self.variables)

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
