"""Files that tests of data write."""

from PIL import Image


def save(root, **pictures):
    """save(root, **{"A/0.png": pixels}); the folder."""
    for name, pixels in pictures.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return root
