"""jaxgan: the GAN canon in JAX.

Modules are imported when they are first used: `jaxgan.losses` and `from jaxgan import losses` cost nothing beyond
`import jax` and that module.
"""

import importlib
import pkgutil
from types import ModuleType

__version__ = "0.1.0"


def __getattr__(name: str) -> ModuleType:
    if name not in _modules():
        raise AttributeError(f"module 'jaxgan' has no attribute '{name}'")
    return importlib.import_module(f"jaxgan.{name}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_modules()])


def _modules() -> list[str]:
    return [m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")]
