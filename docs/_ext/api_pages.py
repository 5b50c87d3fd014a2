"""The pages of the API reference: one for each module or package of jaxgan, found by walking it.

A package that lists its public names in `__all__` is documented by them; of others, each module has a section.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import model_pages

import jaxgan

FOLDER = "api"
# Not for import: the command line, and models, which have pages of their own.
WITHOUT = ("cli", "models", "__main__")


def names() -> list[str]:
    """The modules and packages with a page."""
    found = [info.name for info in pkgutil.iter_modules(jaxgan.__path__)]
    return sorted(name for name in found if name not in WITHOUT and not name.startswith("_"))


def write(folder: Path) -> list[Path]:
    """Writes all pages; returns the files."""
    pages = {f"{name}.rst": page(f"jaxgan.{name}") for name in names()}
    listed = "\n".join(f"   {name}" for name in names())
    pages["index.rst"] = "\n\n".join(
        [
            model_pages.heading("API reference", "="),
            "From the docstrings. Modules of pure functions need only JAX and NumPy: see"
            " :doc:`the index of the pure functions <../functions>`. Models have :doc:`pages of their own"
            " <../models/index>`.",
            f".. toctree::\n   :maxdepth: 1\n\n{listed}\n",
        ]
    )
    return model_pages.write_changed(folder, pages)


def page(module: str) -> str:
    found = importlib.import_module(module)
    if hasattr(found, "__all__") or not hasattr(found, "__path__"):
        return f"{model_pages.heading(module, '=')}\n\n{automodule(module)}"
    inside = [
        info.name
        for info in pkgutil.walk_packages(found.__path__, f"{module}.")
        if "._" not in info.name
    ]
    sections = [f"{model_pages.heading(name, '-')}\n\n{automodule(name)}" for name in inside]
    head = f"{model_pages.heading(module, '=')}\n\n{automodule(module)}"
    return "\n\n".join([head, *sections])


def automodule(name: str) -> str:
    return f".. automodule:: {name}\n   :members:\n   :member-order: bysource\n"
