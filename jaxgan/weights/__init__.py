"""Published weight files: where they are, how they are fetched, checked, kept and read.

    tensors, sha256 = weights.load("vgg16")

fetches the file from its publisher on first use and reads it from the user's cache later. Nothing
in a file is ever executed: PyTorch's pickles, TorchScript archives, frozen TensorFlow graphs and npz
files are read by parsers in this package, without PyTorch or TensorFlow, safetensors files by the
`safetensors` package; other files are refused.
"""

from jaxgan.weights.published import (
    PUBLISHED,
    Published,
)
from jaxgan.weights.read import (
    UNPUBLISHED,
    kind_of_file,
    load_file,
)
from jaxgan.weights.store import (
    cache_folder,
    load,
)

__all__ = [
    "PUBLISHED",
    "UNPUBLISHED",
    "Published",
    "cache_folder",
    "kind_of_file",
    "load",
    "load_file",
]
