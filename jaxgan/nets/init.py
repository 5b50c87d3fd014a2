"""Initialisers of the GAN papers."""

from flax.linen import initializers

# Glorot's uniform with gain sqrt(2), variance 4 / (fan_in + fan_out): 3x3 convolutions before a ReLU
# (the reference implementations of SN-GAN and WGAN-GP).
glorot_relu = initializers.variance_scaling(2.0, "fan_avg", "uniform")

# Gain 1: 1x1 shortcuts, first and last layers.
glorot = initializers.glorot_uniform()

# U(-r, r) with r = 1 / sqrt(fan_in), variance 1 / (3 fan_in): PyTorch's default for convolutions and dense layers.
pytorch_default = initializers.variance_scaling(1 / 3, "fan_in", "uniform")

# N(0, 0.02): DCGAN, Section 4.
normal_002 = initializers.normal(0.02)
