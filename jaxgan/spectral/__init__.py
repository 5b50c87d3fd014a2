"""Spectral norms, true norms of convolutions, and Lipschitz constants of whole networks.

Four things that are often taken for one another:

  - The spectral norm of a kernel *flattened* to a matrix, which spectral normalisation divides by:
    `flatten_kernel`, `sigma`, `normalised_kernel`, followed by `power_iteration` or
    `leading_vector`, which is `gram_iteration` or `krylov_iteration` (several values:
    `orthogonal_iteration`), or found at once: `spectral_norm`.
  - The norm of the convolution as a *map of images*, which depends on size, stride and padding:
    `conv_norm`, `conv_transpose_norm`, and of any linear map: `operator_norm`. Dividing by the
    flattened norm does not make it 1.
  - The Lipschitz constant of what is not linear: `activation_lipschitz`, `max_pool_lipschitz`,
    `average_pool_lipschitz`.
  - The Lipschitz constant of a *network*, which lies between two numbers that
    `lipschitz_certificate` finds.

All are pure functions in l2, float32 at full precision. The modules' docstrings have conventions,
derivations and sources.
"""

from jaxgan.spectral.block import init_basis, orthogonal_iteration, singular_values
from jaxgan.spectral.certificate import (
    LipschitzCertificate,
    lipschitz_certificate,
    lipschitz_lower_bound,
)
from jaxgan.spectral.constants import (
    ACTIVATIONS,
    activation_lipschitz,
    average_pool_lipschitz,
    max_pool_lipschitz,
)
from jaxgan.spectral.flattened import (
    GRAM_STEPS,
    INIT_STEPS,
    KINDS,
    divide,
    flatten_kernel,
    gram_iteration,
    init_u,
    krylov_iteration,
    leading_vector,
    normalised_kernel,
    power_iteration,
    sigma,
)
from jaxgan.spectral.operator import (
    NormBounds,
    conv_norm,
    conv_transpose_norm,
    operator_norm,
    operator_norm_bounds,
    spectral_norm,
)
from jaxgan.spectral.rules import LayerNorm

__all__ = [
    "ACTIVATIONS",
    "GRAM_STEPS",
    "INIT_STEPS",
    "KINDS",
    "LayerNorm",
    "LipschitzCertificate",
    "NormBounds",
    "activation_lipschitz",
    "average_pool_lipschitz",
    "conv_norm",
    "conv_transpose_norm",
    "divide",
    "flatten_kernel",
    "gram_iteration",
    "init_basis",
    "init_u",
    "krylov_iteration",
    "leading_vector",
    "lipschitz_certificate",
    "lipschitz_lower_bound",
    "max_pool_lipschitz",
    "normalised_kernel",
    "operator_norm",
    "operator_norm_bounds",
    "orthogonal_iteration",
    "power_iteration",
    "sigma",
    "singular_values",
    "spectral_norm",
]
