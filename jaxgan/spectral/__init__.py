"""Spectral norms, true norms of convolutions, and Lipschitz constants of whole networks.

Four quantities that are often confused:

  - The spectral norm of a kernel *flattened* to a matrix, by which spectral normalisation divides:
    `flatten_kernel`, `sigma`, `normalised_kernel`. Its singular vector is updated in each step by
    `power_iteration` or `leading_vector` (`gram_iteration` or `krylov_iteration`); for several
    singular values see `orthogonal_iteration`. `spectral_norm` computes the norm without state.
  - The norm of the convolution as a *map of images*, which depends on size, stride and padding:
    `conv_norm`, `conv_transpose_norm`, and of any linear map: `operator_norm`. Dividing by the
    flattened norm does not make it 1.
  - The Lipschitz constants of nonlinear layers: `activation_lipschitz`, `max_pool_lipschitz`,
    `average_pool_lipschitz`.
  - The Lipschitz constant of a *network*; `lipschitz_certificate` computes a lower and an upper bound.

All are pure functions for the l2 norm, in float32 at full precision. The docstrings of the modules have
conventions, derivations and sources.
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
