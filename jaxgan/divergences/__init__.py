"""Divergences and distances of distributions, and the theory of GANs as numbers that can be computed.

Discrete distributions are arrays p, q `[..., K]`: weights along the last axis, which are divided by
their sum, so counts and densities on an even grid may be given as they are. What is 0 is exactly 0:
0 log 0 = 0, and a divergence is infinite where q forbids what p allows. Logarithm and root have an
infinite slope at 0; an entry of 0 is given slope 0 there, so that gradients are finite wherever the
value is.

Samples are rows, `[N, D]` and `[M, D]` (or numbers, `[N]` and `[M]`, for `wasserstein_1d`), of any
two sizes, with weights where they may differ. The distances say which of them are squared.

The theory. `optimal_critic` and `minimax_value` are Goodfellow's D* and 2 JS - 2 log 2; `f_gan_bound`
is what any critic shows of an f-divergence, and `f_gan_optimal_logits` the critic for which it shows
all of it. `F_GAN_NAMES` are the divergences' names.

All arithmetic is float32, exact transport apart, and every result float32 whatever came in.
Negative or empty weights are refused where they are known; under `jit`, where they are not, the
result is NaN.
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
