"""jaxgan: the GAN canon in JAX.

`from jaxgan import losses, penalties, spectral` costs nothing beyond `import jax`: this file imports nothing.
"""

__version__ = "0.1.0"
