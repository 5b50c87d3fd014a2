"""The training losses of GANs: pure functions of logits, features and samples.

Each adversarial objective (`NAMES`) is a namespace with two losses, both to be minimised:

    losses.hinge.critic(real_logits, fake_logits, where=None)
    losses.hinge.generator(fake_logits, real_logits=None, where=None)

Notation. C(x) is the critic's output before any sigmoid, D(x) = sigmoid(C(x)), x a real sample, x'
= G(z) a generated one, E the mean.

Shapes. Logits are `[B]`, `[B, 1]`, maps of a patch critic `[B, h, w, 1]`, or a list or tuple of
these with one entry per scale of a multi-scale critic. The losses are averaged over the scales. Real
and fake batches may differ in size but not in their other axes: `[B]` and `[B, 1]` raise an error,
because broadcasting would silently give `[B, B]`.

Masks. `where` is boolean with shape `[B]` (one entry per sample) or the shape of the logits. The mean
is over the entries where it is True; the other entries, including NaN, affect neither the value nor
the gradient. The same mask applies to real and fake logits. For several scales, give one `[B]` mask
for all or a list of masks. If no entry is True, the result is NaN.

All arithmetic is float32 and every result is a float32 scalar, whatever the dtype of the logits.
Logarithms of D are computed as softplus, log D = -softplus(-C) and log(1 - D) = -softplus(C), which is
finite for any logit. If `compares` of an objective is true, its generator loss needs `real_logits`; the
other objectives ignore them.

The other losses, on classes, codes, features, reconstructions and codebooks, are in `jaxgan.losses.auxiliary`.
They are plain functions. Only `twin_classifier` and `discriminative_classifier`, which differ between critic and
generator, are namespaces too.
"""

from jaxgan.losses.auxiliary import (
    attribute_classifier,
    auxiliary_classifier,
    categorical_code,
    contrastive_2c,
    cycle,
    d2d_ce,
    discriminative_classifier,
    feature_matching,
    gaussian_code,
    identity,
    mean_feature_distance,
    multiclass_hinge,
    paired_feature_matching,
    perceptual,
    twin_classifier,
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
    "attribute_classifier",
    "auxiliary_classifier",
    "by_name",
    "categorical_code",
    "contrastive_2c",
    "cycle",
    "d2d_ce",
    "discriminative_classifier",
    "feature_matching",
    "gaussian_code",
    "hinge",
    "identity",
    "least_squares",
    "mean_feature_distance",
    "minimax",
    "multiclass_hinge",
    "non_saturating",
    "paired_feature_matching",
    "perceptual",
    "relativistic_average",
    "relativistic_average_hinge",
    "relativistic_average_least_squares",
    "relativistic_paired",
    "twin_classifier",
    "vq_codebook",
    "vq_commitment",
    "wasserstein",
]
