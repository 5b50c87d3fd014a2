"""Vision Transformers against PyTorch's layers on the same tensors, under the published names."""

import re

import jax
import numpy as np
import pytest

from jaxgan.nets.features import by_name, vit

torch = pytest.importorskip("torch", reason="the yardstick is PyTorch")

SIDE, PATCH, WIDTH, DEPTH, HEADS, REGISTERS, PROJECTION = 20, 4, 12, 2, 3, 2, 7
TRAINED = 7  # DINOv2's grid, here resized to 5 x 5


def twin(activation, epsilon, patch_bias, pre_norm, layer_scale, registers, projection):
    """Layers under openai/CLIP's names; what only DINOv2 has, under its."""
    nn = torch.nn
    scale = 0.5  # large enough that every parameter matters

    def parameter(*shape):
        return nn.Parameter(scale * torch.randn(shape))

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln_1, self.ln_2 = (nn.LayerNorm(WIDTH, eps=epsilon) for _ in range(2))
            self.attn = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
            self.mlp = nn.Sequential()
            self.mlp.c_fc, self.mlp.c_proj = nn.Linear(WIDTH, 48), nn.Linear(48, WIDTH)
            self.gamma1, self.gamma2 = parameter(WIDTH), parameter(WIDTH)

        def forward(self, x):
            y = self.ln_1(x)
            y, _ = self.attn(y, y, y)
            x = x + (self.gamma1 * y if layer_scale else y)
            y = self.mlp.c_proj(activation(self.mlp.c_fc(self.ln_2(x))))
            return x + (self.gamma2 * y if layer_scale else y)

    class Tower(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, WIDTH, PATCH, PATCH, bias=patch_bias)
            self.class_embedding = parameter(WIDTH)
            self.positional_embedding = parameter(1 + (SIDE // PATCH) ** 2, WIDTH)
            self.ln_pre, self.ln_post = (nn.LayerNorm(WIDTH, eps=epsilon) for _ in range(2))
            self.transformer = nn.Module()
            self.transformer.resblocks = nn.Sequential(*(Residual() for _ in range(DEPTH)))
            self.proj, self.register_tokens = (
                parameter(WIDTH, PROJECTION),
                parameter(registers, WIDTH),
            )

        def forward(self, x):
            x = self.conv1(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1)
            x = x + self.positional_embedding
            x = torch.cat([x[:, :1], self.register_tokens.expand(len(x), -1, -1), x[:, 1:]], 1)
            x = self.transformer.resblocks(self.ln_pre(x) if pre_norm else x)
            x = self.ln_post(x[:, 0])
            return x @ self.proj if projection else x

    torch.manual_seed(0)
    tower = Tower()
    with torch.no_grad():
        for weights in tower.parameters():
            if weights.ndim == 1:  # biases and gains would start as zeros and ones
                weights.add_(scale * torch.randn(weights.shape))
    return tower


def arrays(tower) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in tower.state_dict().items()}


def as_dinov2(tensors: dict[str, np.ndarray], positions: np.ndarray) -> dict[str, np.ndarray]:
    """The same tensors, named and shaped as facebookresearch/dinov2 has them."""
    renamed = {
        "pos_embed": positions[None],
        "cls_token": tensors["class_embedding"][None, None],
        "register_tokens": tensors["register_tokens"][None],
        "mask_token": np.zeros((1, WIDTH), np.float32),
    }
    pairs = (
        ("conv1", "patch_embed.proj"), ("transformer.resblocks", "blocks"), ("ln_1", "norm1"),
        ("ln_2", "norm2"), ("ln_post", "norm"), ("in_proj_", "qkv."), ("out_proj", "proj"),
        ("c_fc", "fc1"), ("c_proj", "fc2"), (r"gamma(\d)", r"ls\1.gamma"),
    )  # fmt: skip
    for name, tensor in tensors.items():
        for ours, theirs in pairs:
            name = re.sub(ours, theirs, name)
        renamed.setdefault(name, tensor)
    if not renamed["register_tokens"].size:
        del renamed["register_tokens"]
    return renamed


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(3, SIDE, SIDE, 3)).astype(np.float32)


def assert_equal(module, variables, tower, images):
    ours = np.asarray(jax.jit(module.apply)(variables, images))
    with torch.no_grad():
        theirs = tower.double()(torch.tensor(images).double().permute(0, 3, 1, 2)).numpy()
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("registers", [0, REGISTERS])
def test_dinov2_is_the_torch_one(images, registers):
    gelu = torch.nn.functional.gelu
    tower = twin(gelu, 1e-6, True, False, True, registers, projection=False)
    trained = np.random.default_rng(1).normal(size=(1 + TRAINED**2, WIDTH)).astype(np.float32)
    tensors = as_dinov2(arrays(tower), trained)
    resized = torch_resize(trained, SIDE // PATCH, bool(registers))
    tower.positional_embedding.data = torch.tensor(resized)
    module = vit.DINOv2(SIDE, PATCH, WIDTH, DEPTH, HEADS, registers)
    assert_equal(module, vit.convert_dinov2(module, tensors), tower, images)


def test_clip_is_the_torch_one(images):
    def quick_gelu(x):
        return x * torch.sigmoid(1.702 * x)

    tower = twin(quick_gelu, 1e-5, False, True, False, 0, projection=True)
    tensors = {f"visual.{name}": tensor for name, tensor in arrays(tower).items()}
    tensors["transformer.resblocks.0.ln_1.weight"] = np.zeros(5, np.float16)  # the text tower's
    module = vit.CLIP(SIDE, PATCH, WIDTH, DEPTH, HEADS, projection=PROJECTION)
    assert_equal(module, vit.convert_clip(module, tensors), tower, images)


def test_half_precision_files_are_read_as_float32():
    tower = twin(torch.relu, 1e-5, False, True, False, 0, projection=True)
    tensors = {f"visual.{name}": x.astype(np.float16) for name, x in arrays(tower).items()}
    module = vit.CLIP(SIDE, PATCH, WIDTH, DEPTH, HEADS, projection=PROJECTION)
    leaves = jax.tree.leaves(vit.convert_clip(module, tensors))
    assert {leaf.dtype for leaf in leaves} == {np.dtype(np.float32)}


def torch_resize(positions: np.ndarray, grid: int, antialias: bool) -> np.ndarray:
    """The two ways of the reference: to a size, or by a scale with its workaround of a tenth."""
    side = int(np.sqrt(len(positions) - 1))
    patches = torch.tensor(positions[1:]).reshape(1, side, side, -1).permute(0, 3, 1, 2)
    to = {"size": (grid, grid)} if antialias else {"scale_factor": ((grid + 0.1) / side,) * 2}
    patches = torch.nn.functional.interpolate(patches, mode="bicubic", antialias=antialias, **to)
    patches = patches.permute(0, 2, 3, 1).reshape(grid * grid, -1)
    return np.concatenate([positions[:1], patches.numpy()])


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize(("side", "grid"), [(37, 16), (7, 5), (4, 9)])
def test_positions_are_resized_as_the_reference_does(side, grid, antialias):
    positions = np.random.default_rng(0).normal(size=(1 + side**2, 5)).astype(np.float32)
    resized = vit.resize_positions(positions, grid, antialias)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, torch_resize(positions, grid, antialias), atol=1e-5)


def test_positions_of_the_right_grid_stay():
    positions = np.random.default_rng(0).normal(size=(1 + 16, 5)).astype(np.float32)
    for antialias in (False, True):
        np.testing.assert_array_equal(vit.resize_positions(positions, 4, antialias), positions)


def test_another_files_tensors_are_refused():
    net = by_name("dinov2_vits14")
    with pytest.raises(ValueError, match=r"no tensor 'pos_embed': this is a file of another netw"):
        net.convert({"conv1.weight": np.zeros(3)})
    large = {"pos_embed": np.zeros((1, 1 + 37**2, 1024))}
    with pytest.raises(ValueError, match=r"'pos_embed' has shape \[1, 1370, 1024\], but this.*384"):
        net.convert(large)
    with pytest.raises(ValueError, match=r"has shape \[3\], but this network needs \[1, 1, 384\]"):
        net.convert({"pos_embed": np.zeros(3)})
    registers = {
        "pos_embed": np.zeros((1, 1 + 37**2, 384)),
        "cls_token": np.zeros((1, 1, 384)),
        "register_tokens": np.zeros((1, 4, 384)),
    }
    with pytest.raises(
        ValueError, match="'register_tokens', but this network has no registers: use"
    ):
        net.convert(registers)
