"""TODO"""
from jaxgan.spectral.block import init_basis, orthogonal_iteration, singular_values
from jaxgan.spectral.flattened import (
    INIT_STEPS,
    KINDS,
    divide,
    flatten_kernel,
    init_u,
    krylov_iteration,
    normalised_kernel,
    power_iteration,
    sigma,
)
from jaxgan.spectral.operator import *
from jaxgan.spectral.constants import *
from jaxgan.spectral.certificate import *
