"""Divergences and distances between distributions, and the optimal critics and bounds of GAN theory.

Discrete distributions are arrays p, q `[..., K]`: weights along the last axis, which are divided by
their sum, so counts and densities on an even grid are valid inputs. Zeros are exact: 0 log 0 = 0, and
a divergence is infinite if q is 0 for an outcome for which p is not. Logarithm and root have an
infinite slope at 0; for an entry of 0 the slope is defined as 0, so that gradients are finite wherever
the value is.

Samples are rows, `[N, D]` and `[M, D]` (or numbers, `[N]` and `[M]`, for `wasserstein_1d`). N and M may
differ, and some functions take weights of the samples. Each docstring states whether a distance is squared.

GAN theory: `optimal_critic` and `minimax_value` are Goodfellow's D* and 2 JS - 2 log 2. `f_gan_bound`
is the lower bound of an f-divergence by a critic, and `f_gan_optimal_logits` the critic for which the
bound equals the divergence. `F_GAN_NAMES` are the names of the divergences.

All arithmetic is float32, except exact transport, and every result is float32 for inputs of any dtype.
Negative weights and weights with sum 0 raise an error; under `jit`, where values are unknown, the result is NaN.
"""

from jaxgan.divergences.discrete import (
    chi_square,
    hellinger,
    jensen_shannon,
    kl,
    reverse_kl,
    total_variation,
)
from jaxgan.divergences.entropic import EntropicTransport, sinkhorn, sinkhorn_divergence
from jaxgan.divergences.gaussian import frechet_distance
from jaxgan.divergences.kernels import energy_distance, mmd, pairwise_cost
from jaxgan.divergences.theory import (
    F_GAN_NAMES,
    OptimalCritic,
    f_gan_activation,
    f_gan_bound,
    f_gan_conjugate,
    f_gan_divergence,
    f_gan_optimal_logits,
    minimax_value,
    optimal_critic,
)
from jaxgan.divergences.transport import (
    Transport,
    optimal_transport,
    sliced_wasserstein,
    wasserstein_1d,
)

__all__ = [
    "F_GAN_NAMES",
    "EntropicTransport",
    "OptimalCritic",
    "Transport",
    "chi_square",
    "energy_distance",
    "f_gan_activation",
    "f_gan_bound",
    "f_gan_conjugate",
    "f_gan_divergence",
    "f_gan_optimal_logits",
    "frechet_distance",
    "hellinger",
    "jensen_shannon",
    "kl",
    "minimax_value",
    "mmd",
    "optimal_critic",
    "optimal_transport",
    "pairwise_cost",
    "reverse_kl",
    "sinkhorn",
    "sinkhorn_divergence",
    "sliced_wasserstein",
    "total_variation",
    "wasserstein_1d",
]
