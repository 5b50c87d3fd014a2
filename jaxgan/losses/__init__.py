"""The objectives that GANs are trained with: pure functions of logits, features and samples.

Each adversarial objective (`NAMES`) is a namespace with two functions, both to be minimised:

    losses.hinge.critic(real_logits, fake_logits, where=None)
    losses.hinge.generator(fake_logits, real_logits=None, where=None)

Notation. C(x) is the critic's output before any sigmoid, D(x) = sigmoid(C(x)), x a real sample, x'
= G(z) a generated one, E the mean.

Shapes. Logits are `[B]`, `[B, 1]`, maps of a patch critic `[B, h, w, 1]`, or a list or tuple of
such, one per scale of a multi-scale critic, over which the losses are averaged. Real and fake
batches may differ in size but not in their other axes: `[B]` against `[B, 1]` is refused, since
elsewhere it silently becomes `[B, B]`.

Masks. `where` is boolean, `[B]` (one entry per sample) or of the logits' own shape: the mean is
over the entries that it keeps, and the others, NaN included, touch neither value nor gradient. It
holds for real and fake alike. For several scales give `[B]` for all, or a list. A mask that keeps
nothing gives NaN, the mean of nothing.

All arithmetic is float32 and every result a float32 scalar, whatever the dtype of the logits.
Logarithms of D are softplus forms: log D = -softplus(-C), log(1 - D) = -softplus(C), finite for any
logit. The generator of an objective whose `compares` is true needs `real_logits`; the others ignore
them.

The losses beside the adversarial one, on classes, codes, features, reconstructions and codebooks,
are plain functions, each documented at its place in `jaxgan.losses.auxiliary`.
"""

from jaxgan.losses.auxiliary import (
    auxiliary_classifier,
    categorical_code,
    contrastive_2c,
    cycle,
    feature_matching,
    gaussian_code,
    identity,
    multiclass_hinge,
    paired_feature_matching,
    perceptual,
    vq_codebook,
    vq_commitment,
)
from jaxgan.losses.objectives import (
    NAMES,
    by_name,
    hinge,
    least_squares,
    minimax,
    non_saturating,
    relativistic_average,
    relativistic_average_hinge,
    relativistic_average_least_squares,
    relativistic_paired,
    wasserstein,
)

__all__ = [
    "NAMES",
    "auxiliary_classifier",
    "by_name",
    "categorical_code",
    "contrastive_2c",
    "cycle",
    "feature_matching",
    "gaussian_code",
    "hinge",
    "identity",
    "least_squares",
    "minimax",
    "multiclass_hinge",
    "non_saturating",
    "paired_feature_matching",
    "perceptual",
    "relativistic_average",
    "relativistic_average_hinge",
    "relativistic_average_least_squares",
    "relativistic_paired",
    "vq_codebook",
    "vq_commitment",
    "wasserstein",
]
