"""Sphinx's settings. `sphinx-build -W --keep-going -b html docs docs/build/html` needs no network."""

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
# The checkout itself, the extensions of this site, and the specs of the shipped configs.
sys.path.insert(0, str(DOCS.parent / "benchmarks"))
sys.path.insert(0, str(DOCS))
sys.path.insert(0, str(DOCS / "_ext"))
sys.path.insert(0, str(DOCS.parent))

import api_pages
import model_pages

project = "jaxgan"
author = "The jaxgan authors"
copyright = "The jaxgan authors; Apache-2.0"
html_title = "jaxgan"

extensions = [
    "myst_parser",
    "plain_docstrings",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["build", "_ext"]
html_theme = "sphinx_book_theme"
html_theme_options = {
    "show_toc_level": 2,
    "home_page_in_toc": True,
    "navbar_persistent": [],  # a second search field
}
html_static_path = ["_static"]
html_css_files = ["site.css"]

smartquotes = False  # which would change --config
# Names between backticks in docstrings: links if they are documented here, code otherwise.
default_role = "py:obj"
autodoc_inherit_docstrings = False  # Flax's and Python's own
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Source", "Sources"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4


def setup(app):
    def write_pages(app):
        model_pages.write(DOCS / model_pages.FOLDER)
        api_pages.write(DOCS / api_pages.FOLDER)

    def state_language(app, page, template, context, doctree):
        """Pages in Chinese say so: browsers choose fonts by it, and screen readers voices."""
        if page.startswith("zh/"):
            context["language"] = "zh-CN"

    app.connect("builder-inited", write_pages)
    app.connect("html-page-context", state_language)
