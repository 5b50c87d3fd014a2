"""Rematerialisation: the backward pass recomputes activations where it would else read kept ones.

Of a level that is recomputed only the inputs are kept. That costs about a third more arithmetic, and in turns with a
gradient of a gradient somewhat more; the memory is that of the inputs of all levels and of one level's activations.
Parameters, their names and the random numbers are the same with it and without, and results are equal to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn


def recomputed(method: Callable[..., Any], remat: bool, static: int = 1) -> Callable[..., Any]:
    """`method` if not `remat`; else the same function of its arguments, recomputed in the backward pass.

    Args:
      method: of a module class: (module, *static, *arrays) -> arrays. The layers that it builds become the module's.
      remat: the model's option of this name.
      static: how many arguments behind the module are Python values.
    """
    return nn.remat(method, static_argnums=tuple(range(1, 1 + static))) if remat else method
