"""Each mode against the tool it is named after, on a device and on the host."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from reference import torchvision_ready

from jaxgan.metrics.resize import MODES, resize, resize_on_host
from jaxgan.resample import resize_antialiased

NEW = (299, 299)
SHAPES = [
    ((32, 32), NEW),
    ((64, 64), NEW),
    ((299, 299), NEW),
    ((500, 333), NEW),
    ((333, 500), NEW),
    ((32, 32), (500, 333)),
    ((500, 333), (32, 64)),
    ((299, 299), (128, 299)),
    ((1, 1), (3, 5)),
    ((5, 7), (1, 1)),
    ((2, 3), (3, 2)),
]


def pictures(shape, count=2, dtype=np.uint8):
    """Noise, whose every pixel stands against its neighbours, and the same between black and white."""
    noise = np.random.default_rng(0).integers(0, 256, (count, *shape, 3), dtype=np.uint8)
    noise[-1] = 255 * (noise[-1] > 127)
    return noise.astype(dtype)


@functools.cache
def jitted(size, mode):
    return jax.jit(lambda images: resize(images, size, mode))


def clean_fid(images, size):
    pytest.importorskip("torch")  # clean-fid imports it
    module = pytest.importorskip("cleanfid.resize")
    resizer = module.make_resizer("PIL", False, "bicubic", size[::-1])
    return np.stack([resizer(image) for image in images])


def torch_fidelity(images, size):
    torch = pytest.importorskip("torch")
    torchvision_ready()
    module = pytest.importorskip("torch_fidelity.interpolate_compat_tensorflow")
    x = torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2)
    y = module.interpolate_bilinear_2d_like_tensorflow1x(x, size=size, align_corners=False)
    return y.permute(0, 2, 3, 1).numpy()


def interpolate(images, size):
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2)
    y = torch.nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=False)
    return y.permute(0, 2, 3, 1).numpy()


TOOLS = {"clean": clean_fid, "tf1": torch_fidelity, "torch": interpolate}


def levels(x):
    return np.round(np.asarray(x)).clip(0, 255)


@pytest.mark.parametrize(("old", "new"), SHAPES)
@pytest.mark.parametrize("mode", MODES)
def test_equals_the_tool(mode, old, new):
    images = pictures(old)
    expected = TOOLS[mode](images, new)
    for x in (images, images.astype(np.float32)):
        actual = resize(x, new, mode)
        assert actual.dtype == jnp.float32
        error = np.abs(np.asarray(actual) - expected)
        assert error.max() < 5e-4  # of 255
        ties = np.abs(expected % 1 - 0.5) < 5e-4
        assert (levels(actual) == levels(expected))[~ties].all()
    for image, one in zip(images, expected, strict=True):
        assert np.abs(resize_on_host(image, new, mode) - one).max() < 5e-4


@pytest.mark.parametrize("mode", MODES)
def test_device_and_host_agree_and_flat_pictures_stay_flat(mode):
    images = pictures((500, 333))
    host = np.stack([resize_on_host(image, NEW, mode) for image in images])
    assert host.dtype == np.float32
    assert np.abs(jitted(NEW, mode)(images) - host).max() < 2e-4
    flat = np.full((1, 97, 41, 3), 255, np.uint8)
    assert np.abs(resize(flat, NEW, mode) - 255).max() < 1e-4
    assert np.array_equal(resize_on_host(images[0], (500, 333), mode), images[0])
    assert np.array_equal(resize(images, (500, 333), mode), images)


def test_clean_is_bicubic_of_the_antialiased_kind():
    images = pictures((90, 70)).astype(np.float32)
    for new in ((40, 70), (99, 299)):
        other = jnp.clip(resize_antialiased(jnp.asarray(images), new, "cubic"), 0, 255)
        assert np.abs(resize(images, new, "clean") - other).max() < 2e-2  # weights of float32


def test_only_clean_averages_what_it_shrinks():
    """A chequerboard is grey from afar; two neighbours cannot know."""
    board = 255 * (np.indices((256, 256)).sum(0) % 2).astype(np.uint8)[None, :, :, None]
    spread = {mode: float(np.std(resize(board, (32, 32), mode))) for mode in MODES}
    assert spread["clean"] < 1
    assert spread["tf1"] == 0  # every eighth pixel: all are alike
    assert np.mean(resize(board, (32, 32), "tf1")) in (0, 255)
    middle = resize(board, (33, 33), "torch")
    assert np.std(middle) > 30


def test_clean_overshoots_and_is_clipped():
    edge = np.repeat(np.uint8([[0] * 8 + [255] * 8]), 16, 0)[None, :, :, None]
    raw = np.asarray(Image.fromarray(edge[0, :, :, 0].astype(np.float32)).resize((64, 64), 3))
    assert raw.min() < -10
    assert raw.max() > 265
    for x in (resize(edge, (64, 64), "clean"), resize_on_host(edge[0], (64, 64), "clean")):
        assert x.min() == 0
        assert x.max() == 255


@pytest.mark.parametrize("mode", MODES)
def test_many_pictures_need_no_memory_but_their_own(mode):
    many = jax.ShapeDtypeStruct((256, 32, 32, 3), np.uint8)
    compiled = jitted(NEW, mode).lower(many).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 0.2 * 256 * 299 * 299 * 3 * 4


@pytest.mark.parametrize("function", [resize, resize_on_host])
def test_refuses(function):
    good = np.zeros((2, 4, 4, 3) if function is resize else (4, 4, 3), np.uint8)
    name = function.__name__
    with pytest.raises(ValueError, match=rf"{name} takes the modes clean, tf1, torch, not 'pil'"):
        function(good, NEW, "pil")
    with pytest.raises(ValueError, match=rf"{name} takes .* with pixels, not \[4, 4\]"):
        function(np.zeros((4, 4), np.uint8), NEW, "tf1")
    with pytest.raises(ValueError, match=rf"{name} takes .* with pixels, not .*0"):
        function(good[..., :0, :], NEW, "tf1")
    with pytest.raises(ValueError, match="uint8 or float32 pixels of values 0 to 255, not float64"):
        function(good.astype(np.float64), NEW, "tf1")
    for size in ((299, 0), (299,), (2.5, 4)):
        with pytest.raises(ValueError, match=r"needs size as \(height, width\), each at least 1"):
            function(good, size, "clean")
