"""Networks bound to their variables, so that a loss calls them as functions.

fake = play.networks["generator"](latent)     no state changes
critic = play.moving("critic")                its state advances as it is called
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax

PyTree = Any
Collections = dict[str, PyTree]

# Collections that a call of a training network advances.
BATCH_STATS, SPECTRAL = "batch_stats", "spectral"


@jax.tree_util.register_pytree_node_class
class Network:
    """A Linen module with its variables: called as the module is, with no change of state.

    Batch normalisation in training uses the statistics of the batch and leaves the running ones alone; `u` vectors of
    spectral normalisation do not iterate. `network["noise"]` is the collection of that name, `network.params` the
    parameters. A network is a pytree of its variables, and so can be an argument of a jitted function.
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
    """A network whose state advances as it is called: `u` vectors with the first call, batch statistics with each.

    Call it in the loss itself, not inside `jax.grad`, `jax.vmap` or `jax.checkpoint`, where JAX would report a leaked
    tracer; `frozen` is for those.
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
        """The network in its present state, which does not advance: for penalties, inside `jax.grad`."""
        return Network(self.module, self.variables)

    def set(self, **collections: PyTree) -> None:
        """Gives collections of the player a new value, such as a running mean; no gradient flows into it.

        It is set once per move: with gradient accumulation, each micro-batch computes a value from the state before the
        move, and the engine keeps their mean, or the smallest of whole numbers.
        """
        collections = jax.lax.stop_gradient(collections)
        self.variables = {**self.variables, **collections}
        self.assigned = {**self.assigned, **collections}


def batch_statistics(network: Network, *args, **kwargs) -> PyTree:
    """The collection "batch_stats" as this batch alone would have it, whatever the layers' momentum.

    A layer of momentum m updates running statistics r by those of the batch, s: r' = m r + (1 - m) s. From r = 0 and
    from r = 1 that is (1 - m) s and m + (1 - m) s, which give m and s.

    Args:
      network: in its present state, of which `u` vectors do not iterate.
      *args, **kwargs: of the call whose statistics are wanted.
    """

    def updated(fill: float) -> PyTree:
        start = jax.tree.map(lambda x: jax.numpy.full_like(x, fill), network[BATCH_STATS])
        return network.replace(batch_stats=start)._apply((BATCH_STATS,), args, kwargs)[1][
            BATCH_STATS
        ]

    return separate_momentum(updated(0.0), updated(1.0))


def separate_momentum(from_zero: PyTree, from_one: PyTree) -> PyTree:
    """The statistics of a batch, from the running ones that it left when they were 0 and when they were 1."""
    return jax.tree.map(lambda low, high: low / (1.0 - (high - low)), from_zero, from_one)
