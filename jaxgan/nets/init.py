"""Initialisers of the GAN papers."""

from flax.linen import initializers

# Glorot's uniform with gain sqrt(2), variance 4 / (fan_in + fan_out): 3x3 convolutions before a ReLU
# (the reference implementations of SN-GAN and WGAN-GP).
glorot_relu = initializers.variance_scaling(2.0, "fan_avg", "uniform")

# Gain 1: 1x1 shortcuts, first and last layers.
glorot = initializers.glorot_uniform()

# N(0, 0.02): DCGAN, Section 4.
normal_002 = initializers.normal(0.02)
