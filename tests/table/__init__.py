"""One table of every public function of the pure modules; `tests/test_table.py` holds each to the same battery.

A module's cases are in the file of its name here. What only one function promises (errors by their text, parity with
another library, properties of its own) is tested in `tests/test_<module>.py`.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from types import ModuleType

import jax

PURE = ("losses", "penalties", "spectral", "divergences", "averaging", "resample", "augment")

# What can be skipped, for a reason.
PROPERTIES = (
    "hand",
    "reference",
    "gradients",
    "extremes",
    "one",
    "bfloat16",
    "jit",
    "vmap",
    "devices",
)


@dataclasses.dataclass(frozen=True)
class Case:
    """A public function and how to hold it to the battery.

    Arrays may be trees of arrays. Of the arrays that `draw` gives, those not in `shared` have the batch first.
    """

    function: str  # "losses.hinge.critic", as imported from jaxgan
    # (rng, batch) -> the arrays given to `call`, float32 or integer NumPy.
    draw: Callable
    # (*arrays in float64) -> the result, in NumPy or Python written from the paper.
    reference: Callable | None = None
    # ((nested lists in the place of the arrays), result), worked out by hand.
    hand: tuple[tuple, ...] = ()
    # (*arrays) -> an array or a tree of arrays; closures, keys and options are bound here. None: the function itself.
    call: Callable | None = None
    variant: str = ""  # tells the cases of one function apart
    wrt: tuple[int, ...] = (0,)  # arrays that it is differentiated by
    order: int = 1  # to which order
    # (rng, batch) -> arrays away from kinks, for the gradients; `draw` if None.
    smooth: Callable | None = None
    # Arrays, drawn and multiplied by these, at which value and gradient stay finite ...
    scales: tuple[float, ...] = (0.0, 1e4)
    scaled: tuple[int, ...] | None = None  # ... which of them; None: every floating-point one
    shared: tuple[int, ...] = ()  # arrays without a batch axis
    keeps_dtype: bool = False  # bfloat16 in, bfloat16 out; otherwise float32 out whatever came in
    rtol: float = 1e-5
    atol: float = 1e-6
    bfloat16_rtol: float = (
        1e-5  # greater where part of the work is the caller's, or is kept in bfloat16
    )
    slow: bool = False  # its programs compile for long: all but the paper's formula are marked slow
    skip: Mapping[str, str] = dataclasses.field(default_factory=dict)  # property -> why

    def __str__(self):
        return f"{self.function} ({self.variant})" if self.variant else self.function


def public_functions(module: ModuleType) -> dict[str, Callable]:
    """The functions of a module's `__all__` (all its own public ones without it), and those of its namespaces."""
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    ]
    prefix = module.__name__.removeprefix("jaxgan.")
    found = {}
    for name in names:
        value = getattr(module, name)
        if inspect.isfunction(value) or isinstance(value, jax.custom_jvp | jax.custom_vjp):
            found[f"{prefix}.{name}"] = value
        elif inspect.isclass(value):
            static = [n for n, v in vars(value).items() if isinstance(v, staticmethod)]
            found |= {
                f"{prefix}.{name}.{n}": getattr(value, n) for n in static if not n.startswith("_")
            }
    return found
