"""Rematerialisation: the backward pass recomputes activations instead of storing them.

Only the inputs of a recomputed level are stored. This costs about a third more arithmetic, and somewhat more in turns
with a gradient of a gradient. The memory needed is that of the inputs of all levels and the activations of one level.
Parameters, their names and the random numbers do not change, and results are equal up to rounding. XLA's CPU compiler
merges the recomputation with the first computation, so on a CPU it saves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn


def recomputed(method: Callable[..., Any], remat: bool, static: int = 1) -> Callable[..., Any]:
    """`method`; if `remat`, wrapped so that its activations are recomputed in the backward pass.

    Args:
      method: a method of a module class: (module, *static, *arrays) -> arrays. It may create submodules. Or a module
        class, for its method `__call__`.
      remat: the model's option of this name.
      static: number of arguments after the module that are Python values.
    """
    return nn.remat(method, static_argnums=tuple(range(1, 1 + static))) if remat else method
