"""Losses other than the adversarial one: on classes, codes, features, reconstructions and codebooks."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxgan import scaled
from jaxgan.losses._reduce import masked_mean, masks

Features = jax.Array | Sequence[jax.Array]


def auxiliary_classifier(
    class_logits: jax.Array, labels: jax.Array, where: jax.Array | None = None
) -> jax.Array:
    """Cross-entropy of a critic's second head: E -log softmax(class_logits)[label].

    It is added to the losses of both players: the critic's on real samples (in the paper also on
    generated samples), the generator's on generated samples.

    Args:
      class_logits: [B, K].
      labels: [B], integers from 0 to K - 1; others give NaN.
      where: boolean [B]; the mean is over the samples that it keeps.

    Returns:
      A float32 scalar, in nats.

    Source: Odena et al., Conditional Image Synthesis with Auxiliary Classifier GANs (2017), Eq. 3.

    >>> import jax.numpy as jnp
    >>> print(auxiliary_classifier(jnp.zeros((2, 10)), jnp.array([3, 7])))  # log 10
    2.3025851
    """
    logits, labels = _class_logits("class_logits", class_logits, "labels", labels, where)
    return _sample_mean(_cross_entropy(logits, labels), where)


def attribute_classifier(attribute_logits: jax.Array, attributes: jax.Array) -> jax.Array:
    """Binary cross-entropy of a critic's second head, summed over the attributes: E sum_k log(1 + exp(-s_k l_k)).

    s_k is 1 if an example has attribute k, and -1 otherwise. It is used as `auxiliary_classifier` is, for examples that
    have any number of attributes and not one label.

    Args:
      attribute_logits: l, [B, K].
      attributes: [B, K], 0 or 1, of any numeric type; numbers in between are probabilities.

    Returns:
      A float32 scalar, in nats: summed over attributes, averaged over examples.

    Source: Choi et al., StarGAN: Unified Generative Adversarial Networks for Multi-Domain Image-to-Image Translation
      (2018), Eq. 2 and 3; the sum over attributes is that of the authors' code.

    >>> import jax.numpy as jnp
    >>> print(attribute_classifier(jnp.zeros((2, 3)), jnp.array([[0, 1, 1], [1, 0, 0]])))  # 3 log 2
    2.0794415
    """
    logits, present = _float32(attribute_logits), _float32(attributes)
    _same_shape("attribute_logits", logits, "attributes", present)
    if logits.ndim != 2:
        raise ValueError(f"attribute_logits have shape {logits.shape}; give [B, K].")
    each = jax.nn.softplus(logits) - present * logits
    return jnp.mean(jnp.sum(each, axis=1))


def multiclass_hinge(
    class_logits: jax.Array, labels: jax.Array, where: jax.Array | None = None
) -> jax.Array:
    """Hinge loss of the margin between the right class and the best other class: E max(0, 1 - C_y + max_{k != y} C_k).

    For a conditional GAN the critic has K + 1 outputs, the last for generated samples: the critic's
    loss is `multiclass_hinge(C(x), y) + multiclass_hinge(C(x'), K)`, the generator's
    `multiclass_hinge(C(x'), y)`.

    Args:
      class_logits: [B, K], K >= 2.
      labels: [B], integers from 0 to K - 1; others give NaN.
      where: boolean [B]; the mean is over the samples that it keeps.

    Returns:
      A float32 scalar.

    Sources: Crammer and Singer, On the Algorithmic Implementation of Multiclass Kernel-based Vector
      Machines (2001); Kavalerov et al., A Multi-Class Hinge Loss for Conditional GANs (2021).

    >>> import jax.numpy as jnp
    >>> print(multiclass_hinge(jnp.array([[2.0, 0.5, 1.5]]), jnp.array([0])))  # 1 - 2 + 1.5
    0.5
    """
    logits, labels = _class_logits("class_logits", class_logits, "labels", labels, where)
    if logits.shape[1] < 2:
        raise ValueError(
            f"class_logits have shape {logits.shape}; a margin needs two classes or more."
        )
    right = jax.nn.one_hot(labels, logits.shape[1], dtype=bool)
    others = jnp.max(jnp.where(right, -jnp.inf, logits), axis=1)
    return _sample_mean(jax.nn.relu(1.0 - _at(logits, labels) + others), where)


class twin_classifier:
    """TAC-GAN's losses: an auxiliary classifier of real samples, and a twin of it for generated samples.

    The critic has two class heads, C and C_twin. With `auxiliary_classifier` alone, the generator's loss is least for
    samples that are easy to classify, so their diversity within a class decreases. The twin estimates the class
    probabilities of generated samples; the generator maximises its cross-entropy, which removes this bias.

    The classifier C is trained on real samples only, as in the authors' code. All terms have the same weight; for
    other weights, add calls of `auxiliary_classifier`.

    Source: Gong et al., Twin Auxiliary Classifiers GAN (2019).
    """

    @staticmethod
    def critic(
        real_logits: jax.Array,
        real_labels: jax.Array,
        fake_twin_logits: jax.Array,
        fake_labels: jax.Array,
        where: jax.Array | None = None,
    ) -> jax.Array:
        """E -log softmax(C(x))[y] + E -log softmax(C_twin(x'))[y'].

        Args:
          real_logits: [B, K], of the classifier C on real samples.
          real_labels: [B], integers from 0 to K - 1; others give NaN.
          fake_twin_logits: [B', K], of the twin classifier on generated samples.
          fake_labels: [B'], the labels that the samples were generated from.
          where: boolean [B]; the same mask applies to both batches.

        Returns:
          A float32 scalar, in nats.

        >>> import jax.numpy as jnp
        >>> zeros, labels = jnp.zeros((2, 10)), jnp.array([3, 7])
        >>> print(f"{twin_classifier.critic(zeros, labels, zeros, labels):.5f}")  # 2 log 10
        4.60517
        """
        real = _class_logits("real_logits", real_logits, "real_labels", real_labels, where)
        twin = _class_logits(
            "fake_twin_logits", fake_twin_logits, "fake_labels", fake_labels, where
        )
        _same_classes("real_logits", real[0], "fake_twin_logits", twin[0])
        return _sample_mean(_cross_entropy(*real), where) + _sample_mean(
            _cross_entropy(*twin), where
        )

    @staticmethod
    def generator(
        fake_logits: jax.Array,
        fake_twin_logits: jax.Array,
        fake_labels: jax.Array,
        where: jax.Array | None = None,
    ) -> jax.Array:
        """E -log softmax(C(x'))[y'] - E -log softmax(C_twin(x'))[y'].

        Args:
          fake_logits: [B, K], of the classifier C on generated samples.
          fake_twin_logits: [B, K], of the twin classifier on the same samples.
          fake_labels: [B], integers from 0 to K - 1; others give NaN.
          where: boolean [B]; the mean is over the samples that it keeps.

        Returns:
          A float32 scalar, in nats; 0 if both classifiers agree.

        >>> import jax.numpy as jnp
        >>> easy, uniform = jnp.array([[0.0, 99.0]]), jnp.zeros((1, 2))
        >>> print(f"{twin_classifier.generator(easy, uniform, jnp.array([1])):.5f}")  # 0 - log 2
        -0.69315
        """
        fake = _class_logits("fake_logits", fake_logits, "fake_labels", fake_labels, where)
        twin = _class_logits(
            "fake_twin_logits", fake_twin_logits, "fake_labels", fake_labels, where
        )
        _same_classes("fake_logits", fake[0], "fake_twin_logits", twin[0])
        return _sample_mean(_cross_entropy(*fake) - _cross_entropy(*twin), where)


class discriminative_classifier:
    """ADC-GAN's losses: a classifier of 2K classes, of which 2y is "real, class y" and 2y + 1 is "generated, class y".

    A classifier that also tells real samples from generated ones shows the generator where their joint
    distributions of samples and labels differ, which `auxiliary_classifier` does not.

    The caller gives labels from 0 to K - 1; the doubling is done here.

    Source: Hou et al., Conditional GANs with Auxiliary Discriminative Classifier (2022).
    """

    @staticmethod
    def critic(
        real_logits: jax.Array,
        real_labels: jax.Array,
        fake_logits: jax.Array,
        fake_labels: jax.Array,
        where: jax.Array | None = None,
    ) -> jax.Array:
        """E -log softmax(C(x))[2y] + E -log softmax(C(x'))[2y' + 1].

        Args:
          real_logits, fake_logits: [B, 2K], of the classifier C; the batches may differ in size.
          real_labels, fake_labels: [B], integers from 0 to K - 1; others give NaN.
          where: boolean [B]; the same mask applies to both batches.

        Returns:
          A float32 scalar, in nats.

        >>> import jax.numpy as jnp
        >>> zeros, labels = jnp.zeros((2, 20)), jnp.array([3, 7])
        >>> print(f"{discriminative_classifier.critic(zeros, labels, zeros, labels):.5f}")  # 2 log 20
        5.99146
        """
        real, real_labels = _double("real_logits", real_logits, "real_labels", real_labels, where)
        fake, fake_labels = _double("fake_logits", fake_logits, "fake_labels", fake_labels, where)
        _same_classes("real_logits", real, "fake_logits", fake)
        as_real = _at(jax.nn.log_softmax(real)[:, 0::2], real_labels)
        as_fake = _at(jax.nn.log_softmax(fake)[:, 1::2], fake_labels)
        return -_sample_mean(as_real, where) - _sample_mean(as_fake, where)

    @staticmethod
    def generator(
        fake_logits: jax.Array, fake_labels: jax.Array, where: jax.Array | None = None
    ) -> jax.Array:
        """E -log softmax(C(x'))[2y'] + E log softmax(C(x'))[2y' + 1] = E (C(x')[2y' + 1] - C(x')[2y']).

        The normalisers of the two softmaxes are the same, so the difference is that of two logits.

        Args:
          fake_logits: [B, 2K], of the classifier C on generated samples.
          fake_labels: [B], integers from 0 to K - 1; others give NaN.
          where: boolean [B]; the mean is over the samples that it keeps.

        Returns:
          A float32 scalar, in nats; unbounded in both directions, like a Wasserstein loss.

        >>> import jax.numpy as jnp
        >>> print(discriminative_classifier.generator(jnp.array([[9.0, 9.0, 2.0, 5.0]]), jnp.array([1])))
        3.0
        """
        logits, labels = _double("fake_logits", fake_logits, "fake_labels", fake_labels, where)
        return _sample_mean(_at(logits[:, 1::2] - logits[:, 0::2], labels), where)


def categorical_code(
    code_logits: jax.Array, codes: jax.Array, where: jax.Array | None = None
) -> jax.Array:
    """InfoGAN's loss for a categorical code: E -log Q(c | x') with Q the softmax of `code_logits`.

    The entropy of the code (log K for uniform codes of K values) minus this loss is the lower bound L_I on
    the mutual information I(c; G(z, c)). The generator and Q minimise it together.

    Args:
      code_logits: [B, K], outputs of the recognition network Q for generated samples.
      codes: [B], integers from 0 to K - 1, the inputs of the generator; others give NaN.
      where: boolean [B].

    Returns:
      A float32 scalar, in nats.

    Source: Chen et al., InfoGAN (2016), Eq. 5.

    >>> import jax.numpy as jnp
    >>> print(categorical_code(jnp.zeros((3, 4)), jnp.array([0, 1, 3])))  # log 4: no information
    1.3862944
    """
    logits, codes = _class_logits("code_logits", code_logits, "codes", codes, where)
    return _sample_mean(_cross_entropy(logits, codes), where)


def gaussian_code(
    mean: jax.Array,
    log_variance: jax.Array,
    codes: jax.Array,
    where: jax.Array | None = None,
) -> jax.Array:
    """InfoGAN's loss for continuous codes: E -log N(c; mean, exp(log_variance)), summed over codes.

        1/2 E sum_d (log 2 pi + log_variance_d + (c_d - mean_d)^2 exp(-log_variance_d))

    Like `categorical_code`, for a Gaussian Q with diagonal covariance. For unit variance, give a
    `log_variance` of zeros.

    Args:
      mean, log_variance: [B, D], outputs of the recognition network for generated samples.
      codes: [B, D], inputs of the generator.
      where: boolean [B].

    Returns:
      A float32 scalar, in nats.

    Source: Chen et al., InfoGAN (2016), Eq. 5 and Section 6.

    >>> import jax.numpy as jnp
    >>> print(gaussian_code(jnp.ones((1, 2)), jnp.zeros((1, 2)), jnp.ones((1, 2))))  # log 2 pi
    1.837877
    """
    mean, log_variance, codes = (_float32(x) for x in (mean, log_variance, codes))
    _same_shape("mean", mean, "codes", codes)
    _same_shape("log_variance", log_variance, "codes", codes)
    if codes.ndim != 2:
        raise ValueError(f"codes have shape {codes.shape}; give [B, D], one row per sample.")
    mean, log_variance, codes = (_kept(x, where, "codes") for x in (mean, log_variance, codes))
    # Where the difference is 0, the inverse variance, which may be infinite, does not matter.
    hit, difference = codes == mean, codes - mean
    inverse_deviation = jnp.exp(-0.5 * jnp.where(hit, 0.0, log_variance))
    squares = jnp.square(jnp.where(hit, 0.0, difference * inverse_deviation))
    terms = jnp.log(2 * jnp.pi) + log_variance + squares
    return _sample_mean(0.5 * jnp.sum(terms, axis=1), where)


def feature_matching(real_features: Features, fake_features: Features) -> jax.Array:
    """Squared distance of mean features: ||E f(x) - E f(x')||^2, summed over the layers of a list.

    A loss of the generator. Do not update the network of the features with it.

    Args:
      real_features, fake_features: [B, ...], the batches may differ in size; or lists of such.

    Returns:
      A float32 scalar.

    Source: Salimans et al., Improved Techniques for Training GANs (2016), Section 3.1.

    >>> import jax.numpy as jnp
    >>> print(feature_matching(jnp.array([[1.0, 0.0], [3.0, 0.0]]), jnp.array([[0.0, 1.0]])))
    5.0
    """
    differences = _mean_differences(real_features, fake_features)
    return sum((jnp.sum(jnp.square(d)) for d in differences), start=jnp.float32(0.0))


def mean_feature_distance(real_features: Features, fake_features: Features) -> jax.Array:
    """Mean absolute difference of mean features: mean |E f(x) - E f(x')|, summed over the layers of a list.

    Like `feature_matching`, but absolute values are averaged in the place of a sum of squares. A loss of the generator.
    Do not update the network of the features with it.

    Args:
      real_features, fake_features: [B, ...], the batches may differ in size; or lists of such.

    Returns:
      A float32 scalar. The multi-hinge GAN's generator adds it with weight 1 to 0.05 times `multiclass_hinge`.

    Source: Kavalerov et al., A Multi-Class Hinge Loss for Conditional GANs (2021), and its authors' code.

    >>> import jax.numpy as jnp
    >>> print(mean_feature_distance(jnp.array([[1.0, 0.0], [3.0, 0.0]]), jnp.array([[0.0, 1.0]])))
    1.5
    """
    differences = _mean_differences(real_features, fake_features)
    return sum((jnp.mean(jnp.abs(d)) for d in differences), start=jnp.float32(0.0))


def paired_feature_matching(real_features: Features, fake_features: Features) -> jax.Array:
    """Mean absolute difference of paired features, averaged within each layer and summed over the layers.

    For translated pictures with known targets; the features are hidden layers of the critic.

    Args:
      real_features, fake_features: arrays of equal shape, or equally long lists of such.

    Returns:
      A float32 scalar.

    Source: Wang et al., High-Resolution Image Synthesis and Semantic Manipulation with Conditional
      GANs (pix2pixHD, 2018), Eq. 4.

    >>> import jax.numpy as jnp
    >>> print(paired_feature_matching([jnp.ones((1, 4)), jnp.ones(3)], [jnp.zeros((1, 4)), jnp.ones(3)]))
    1.0
    """
    total = jnp.float32(0.0)
    for real, fake in _layers("real_features", real_features, "fake_features", fake_features):
        _same_shape("real_features", real, "fake_features", fake)
        total += jnp.mean(jnp.abs(real - fake))
    return total


def perceptual(
    features: Callable[[jax.Array], Features],
    generated: jax.Array,
    target: jax.Array,
    weights: Sequence[float] | None = None,
) -> jax.Array:
    """Mean squared difference of the features of two batches: sum_l w_l E (f_l(x') - f_l(y))^2.

    The mean over an array includes the paper's factor 1/(C H W) and the mean over the batch.

    Args:
      features: images -> features, an array or a list of arrays; a frozen network such as VGG-16.
      generated, target: images [B, ...] of equal shape.
      weights: one per layer; 1 for each if None.

    Returns:
      A float32 scalar.

    Source: Johnson et al., Perceptual Losses for Real-Time Style Transfer and Super-Resolution
      (2016), Eq. 2.

    >>> import jax.numpy as jnp
    >>> print(perceptual(lambda x: [x, 2 * x], jnp.ones((1, 2)), jnp.zeros((1, 2)), [1.0, 0.5]))
    3.0
    """
    _same_shape("generated", jnp.asarray(generated), "target", jnp.asarray(target))
    layers = _layers("generated", features(generated), "target", features(target))
    if weights is None:
        weights = [1.0] * len(layers)
    if len(weights) != len(layers):
        raise ValueError(
            f"there are {len(weights)} weights for {len(layers)} layers of features; give one each."
        )
    return sum(
        (
            jnp.asarray(w, jnp.float32) * jnp.mean(jnp.square(a - b))
            for w, (a, b) in zip(weights, layers, strict=True)
        ),
        start=jnp.float32(0.0),
    )


def cycle(original: jax.Array, reconstructed: jax.Array) -> jax.Array:
    """Mean absolute difference of a sample and its translation to the other domain and back: E |F(G(x)) - x|.

    It is a mean over pixels, as in the reference code, and not the paper's sum. The weight there is 10.

    Args:
      original, reconstructed: [B, ...] of equal shape.

    Returns:
      A float32 scalar.

    Source: Zhu et al., Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
      Networks (2017), Eq. 2.

    >>> import jax.numpy as jnp
    >>> print(cycle(jnp.array([[1.0, -1.0]]), jnp.array([[0.0, 2.0]])))
    2.0
    """
    original, reconstructed = _float32(original), _float32(reconstructed)
    _same_shape("original", original, "reconstructed", reconstructed)
    return jnp.mean(jnp.abs(reconstructed - original))


def identity(original: jax.Array, mapped: jax.Array) -> jax.Array:
    """Mean absolute difference of a sample of the target domain and its translation: E |G(y) - y|.

    Args:
      original, mapped: [B, ...] of equal shape.

    Returns:
      A float32 scalar.

    Source: Zhu et al. (CycleGAN, 2017), Section 5.2; the weight is half that of `cycle`.

    >>> import jax.numpy as jnp
    >>> print(identity(jnp.array([[1.0, 3.0]]), jnp.array([[1.0, 2.0]])))
    0.5
    """
    original, mapped = _float32(original), _float32(mapped)
    _same_shape("original", original, "mapped", mapped)
    return jnp.mean(jnp.abs(mapped - original))


def vq_codebook(encoded: jax.Array, quantised: jax.Array) -> jax.Array:
    """Moves the codes towards the encoder's outputs: E (sg[z_e] - e)^2. No gradient reaches `encoded`.

    Args:
      encoded: z_e, [..., D].
      quantised: e, the nearest entries of the codebook, of equal shape, differentiable in the codebook.

    Returns:
      A float32 scalar, the mean over all numbers.

    Source: van den Oord et al., Neural Discrete Representation Learning (2017), Eq. 3.

    >>> import jax.numpy as jnp
    >>> print(vq_codebook(jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 0.0]])))
    2.5
    """
    encoded, quantised = _codes(encoded, quantised)
    return jnp.mean(jnp.square(jax.lax.stop_gradient(encoded) - quantised))


def vq_commitment(encoded: jax.Array, quantised: jax.Array) -> jax.Array:
    """Moves the encoder's outputs towards their codes: E (z_e - sg[e])^2. No gradient reaches `quantised`.

    The paper's weight (beta) is 0.25.

    Args:
      encoded: z_e, [..., D].
      quantised: e, of equal shape.

    Returns:
      A float32 scalar, the mean over all numbers.

    Source: van den Oord et al., Neural Discrete Representation Learning (2017), Eq. 3.

    >>> import jax.numpy as jnp
    >>> print(vq_commitment(jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 0.0]])))
    2.5
    """
    encoded, quantised = _codes(encoded, quantised)
    return jnp.mean(jnp.square(encoded - jax.lax.stop_gradient(quantised)))


def contrastive_2c(
    embeddings: jax.Array, proxies: jax.Array, labels: jax.Array, temperature: float = 1.0
) -> jax.Array:
    """ContraGAN's conditional contrastive loss: attracts samples to their class proxy and to samples of the same class.

        -1/B sum_i log (p_i + sum_{k != i, y_k = y_i} s_ik) / (p_i + sum_{k != i} s_ik)

        p_i = exp(<h_i, e_i> / t),    s_ik = exp(<h_i, h_k> / t)

    with h the embeddings and e the proxies, each divided by its norm.

    Args:
      embeddings: [B, D], embeddings of the samples by the critic's projection head.
      proxies: [B, D], embeddings of their labels by the critic's class embedding.
      labels: [B], integers.
      temperature: t > 0.

    Returns:
      A float32 scalar; 0 for a batch of one.

    Source: Kang and Park, ContraGAN: Contrastive Learning for Conditional Image Generation (2020),
      Section 3.

    >>> import jax.numpy as jnp
    >>> h = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> print(f"{contrastive_2c(h, h, jnp.array([0, 1])):.5f}")  # log (1 + 1 / e)
    0.31326
    """
    scale = _temperature(temperature)
    to_proxy, each_other, same = _cosines(embeddings, proxies, labels)
    to_proxy, each_other = to_proxy / scale, each_other / scale
    itself = jnp.eye(len(same), dtype=bool)
    pull = _log_sum(to_proxy, each_other, same & ~itself)
    return jnp.mean(_log_sum(to_proxy, each_other, ~itself) - pull)


def d2d_ce(
    embeddings: jax.Array,
    proxies: jax.Array,
    labels: jax.Array,
    temperature: float = 0.5,
    margin: float = 0.98,
) -> jax.Array:
    """ReACGAN's data-to-data cross-entropy: attracts samples to their class proxy, repels samples of other classes.

        -1/B sum_i log p_i / (p_i + sum_{k: y_k != y_i} s_ik)

        p_i = exp(min(<h_i, e_i> - m, 0) / t),    s_ik = exp(max(<h_i, h_k> - (1 - m), 0) / t)

    with h the embeddings and e the proxies, each divided by its norm. The cosine of a sample and its proxy has no
    gradient if it is above m, that of two samples none if it is below 1 - m: such samples are placed well already.

    PyTorch-StudioGAN, the authors' code, computes another number. It divides each s_ik, but not p_i, by
    exp(max_{k != i} (<h_i, h_k> - (1 - m)) / t), with k of any class and no gradient, for numerical stability.
    The exponents of the paper's formula do not exceed m / t, so the stability does not need it.

    Args:
      embeddings: [B, D], embeddings of the samples by the critic's projection head.
      proxies: [B, D], embeddings of their labels by the critic's class embedding.
      labels: [B], integers.
      temperature: t > 0.
      margin: m, the paper's m_p, from 0 to 1; its m_n is 1 - m.

    Returns:
      A float32 scalar; 0 for a batch of one class. The authors' weight is 0.5 on CIFAR-10.

    Source: Kang et al., Rebooting ACGAN: Auxiliary Classifier GANs with Stable Training (2021), Eq. 6.

    >>> import jax.numpy as jnp
    >>> h = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> print(f"{d2d_ce(h, h, jnp.array([0, 1])):.5f}")  # log (1 + 1)
    0.69315
    """
    scale = _temperature(temperature)
    if isinstance(margin, numbers.Real) and not 0 <= margin <= 1:
        raise ValueError(f"margin is {margin}; give a cosine from 0 to 1.")
    m = jnp.asarray(margin, jnp.float32)
    to_proxy, each_other, same = _cosines(embeddings, proxies, labels)
    to_proxy = -jax.nn.relu(m - to_proxy) / scale
    each_other = jax.nn.relu(each_other - (1.0 - m)) / scale
    return jnp.mean(_log_sum(to_proxy, each_other, ~same) - to_proxy)


def _cosines(
    embeddings: jax.Array, proxies: jax.Array, labels: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Cosines of samples and their proxies [B], of samples and each other [B, B], and where labels are equal [B, B]."""
    embeddings, proxies = _float32(embeddings), _float32(proxies)
    _same_shape("embeddings", embeddings, "proxies", proxies)
    if embeddings.ndim != 2 or embeddings.size == 0:
        raise ValueError(f"embeddings have shape {embeddings.shape}; give [B, D] with B >= 1.")
    labels = _labels("labels", labels, "embeddings", embeddings)
    h, e = _unit(embeddings), _unit(proxies)
    each_other = jnp.matmul(h, h.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.sum(h * e, axis=1), each_other, labels[:, None] == labels[None, :]


def _log_sum(to_proxy: jax.Array, each_other: jax.Array, keep: jax.Array) -> jax.Array:
    """log (exp(to_proxy_i) + sum_k exp(each_other_ik)) over the k that are kept, [B]."""
    kept = jnp.where(keep, each_other, -jnp.inf)
    return jax.nn.logsumexp(jnp.concatenate([to_proxy[:, None], kept], axis=1), axis=1)


def _temperature(temperature: float) -> jax.Array:
    if isinstance(temperature, numbers.Real) and not temperature > 0:
        raise ValueError(f"temperature is {temperature}; give a number above 0.")
    return jnp.asarray(temperature, jnp.float32)


def _unit(x: jax.Array) -> jax.Array:
    """Rows divided by their norm; rows of zeros are returned unchanged, with gradient 0."""
    x = x / scaled.power_of_two(x, 1)
    square = jnp.sum(jnp.square(x), axis=1, keepdims=True)
    return jnp.where(square == 0, 0.0, x * jax.lax.rsqrt(jnp.where(square == 0, 1.0, square)))


def _cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """-log softmax(logits)[label] of each sample, [B]."""
    return -_at(jax.nn.log_softmax(logits), labels)


def _at(values: jax.Array, labels: jax.Array) -> jax.Array:
    """values[i, labels[i]]; NaN for labels out of range."""
    found = jnp.take_along_axis(values, labels[:, None], axis=1, mode="fill", fill_value=jnp.nan)
    # "fill" counts negative indices from the end.
    return jnp.where(labels < 0, jnp.nan, found[:, 0])


def _kept(x: jax.Array, where: jax.Array | None, name: str) -> jax.Array:
    """The samples where `where` is True, zeros elsewhere, so that a masked NaN does not reach the gradient."""
    (mask,) = masks(where, [x], name)
    return x if mask is None else jnp.where(mask, x, 0.0)


def _sample_mean(values: jax.Array, where: jax.Array | None) -> jax.Array:
    (mask,) = masks(where, [values], "the batch")
    return masked_mean(values, mask)


def _float32(x: jax.Array) -> jax.Array:
    return jnp.asarray(x).astype(jnp.float32)


def _class_logits(
    name: str, logits: jax.Array, labels_name: str, labels: jax.Array, where: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """The logits in float32, with zeros where they are masked, and the labels, checked."""
    logits = _float32(logits)
    if logits.ndim != 2 or logits.size == 0:
        raise ValueError(f"{name} have shape {logits.shape}; give [B, K] with B, K >= 1.")
    return _kept(logits, where, name), _labels(labels_name, labels, name, logits)


def _double(
    name: str, logits: jax.Array, labels_name: str, labels: jax.Array, where: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """As `_class_logits`, for two logits of each class."""
    logits, labels = _class_logits(name, logits, labels_name, labels, where)
    if logits.shape[1] % 2:
        raise ValueError(
            f"{name} have shape {logits.shape}; give [B, 2K], a real and a generated one for each of K classes."
        )
    return logits, labels


def _same_classes(name_a: str, a: jax.Array, name_b: str, b: jax.Array) -> None:
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"{name_a} have shape {a.shape} and {name_b} {b.shape}; make the numbers of classes equal."
        )


def _labels(labels_name: str, labels: jax.Array, name: str, of: jax.Array) -> jax.Array:
    """The labels as an array; raises unless they are integers, one for each row of `of`."""
    labels = jnp.asarray(labels)
    if labels.shape != of.shape[:1] or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"{labels_name} are {labels.dtype} of shape {labels.shape} for {name} of shape {of.shape}; give "
            f"integers of shape {of.shape[:1]}."
        )
    return labels


def _same_shape(name_a: str, a: jax.Array, name_b: str, b: jax.Array) -> None:
    if a.shape != b.shape:
        raise ValueError(f"{name_a} has shape {a.shape} and {name_b} {b.shape}; make them equal.")
    if a.size == 0:
        raise ValueError(f"{name_a} has shape {a.shape}, which is empty; give B >= 1 samples.")


def _codes(encoded: jax.Array, quantised: jax.Array) -> tuple[jax.Array, jax.Array]:
    encoded, quantised = _float32(encoded), _float32(quantised)
    _same_shape("encoded", encoded, "quantised", quantised)
    return encoded, quantised


def _mean_differences(real_features: Features, fake_features: Features) -> list[jax.Array]:
    """E f(x) - E f(x') of each layer."""
    pairs = _layers("real_features", real_features, "fake_features", fake_features)
    for real, fake in pairs:
        if real.shape[1:] != fake.shape[1:]:
            raise ValueError(
                f"real_features have shape {real.shape} and fake_features {fake.shape}; only the "
                "batch sizes may differ."
            )
    return [jnp.mean(real, axis=0) - jnp.mean(fake, axis=0) for real, fake in pairs]


def _layers(name_a: str, a: Features, name_b: str, b: Features) -> list:
    """Pairs of float32 arrays, one per layer."""
    one, other = (list(x) if isinstance(x, list | tuple) else [x] for x in (a, b))
    if not one or len(one) != len(other):
        raise ValueError(
            f"{name_a} have {len(one)} layers and {name_b} {len(other)}; give equally many, at least one."
        )
    pairs = [(_float32(x), _float32(y)) for x, y in zip(one, other, strict=True)]
    for x, y in pairs:
        if x.ndim == 0 or y.ndim == 0 or 0 in (x.size, y.size):
            raise ValueError(
                f"{name_a} have shape {x.shape} and {name_b} {y.shape}, which holds no batch; give "
                "[B, ...] with B >= 1."
            )
    return pairs
