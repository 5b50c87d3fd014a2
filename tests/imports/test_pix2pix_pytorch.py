"""junyanz/pytorch-CycleGAN-and-pix2pix: the networks of pix2pix as functions of the tensors of its files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from importing import assert_same, networks_of, run_of

from jaxgan import imports
from jaxgan.cli.main import main
from jaxgan.imports import Tensors
from jaxgan.network import Network

torch = pytest.importorskip("torch")
F = torch.nn.functional
WIDTH, DOWNS, CHANNELS, CONDITION, LAYERS = 2, 6, 3, 1, 2
SIDE = 2**DOWNS


def norm(weights, name, features):
    weights[f"{name}.weight"] = torch.rand(features) + 0.5
    weights[f"{name}.bias"] = torch.randn(features)
    weights[f"{name}.running_mean"] = torch.randn(features)
    weights[f"{name}.running_var"] = torch.rand(features) + 0.5
    weights[f"{name}.num_batches_tracked"] = torch.tensor(9)


def part(level):
    """The name of the part of the U-Net at a level; each is inside the one above it."""
    return "model.model" + (".1.model" + (level - 1) * ".3.model" if level else "")


def numbers(level, downs):
    """(convolution, transposed convolution) in the part of a level."""
    return (0, 3) if level == 0 else (1, 3) if level == downs - 1 else (1, 5)


def generator(downs=DOWNS, condition=CONDITION):
    weights, widths = {}, [WIDTH * min(2**i, 8) for i in range(downs)]
    for level in range(downs):
        name, (down, up) = part(level), numbers(level, downs)
        before = widths[level - 1] if level else condition
        after = widths[level - 1] if level else CHANNELS
        inside = widths[level] * (1 if level == downs - 1 else 2)
        weights[f"{name}.{down}.weight"] = torch.randn(widths[level], before, 4, 4) / 4
        weights[f"{name}.{up}.weight"] = torch.randn(inside, after, 4, 4) / 4
        if 0 < level < downs - 1:
            norm(weights, f"{name}.{down + 1}", widths[level])
        if level:
            norm(weights, f"{name}.{up + 1}", after)
    weights["model.model.3.bias"] = torch.randn(CHANNELS)
    return weights


def translated(weights, x, level=0):
    """The U-Net from a level on, without dropout and with the statistics of the batch."""
    name, (down, up) = part(level), numbers(level, DOWNS)

    def normalised(number, x):
        gains = weights[f"{name}.{number}.weight"], weights[f"{name}.{number}.bias"]
        return F.batch_norm(x, None, None, *gains, training=True)

    y = F.leaky_relu(x, 0.2) if level else x
    y = F.conv2d(y, weights[f"{name}.{down}.weight"], stride=2, padding=1)
    if 0 < level < DOWNS - 1:
        y = normalised(down + 1, y)
    if level < DOWNS - 1:
        y = torch.cat([y, translated(weights, y, level + 1)], dim=1)
    bias = weights.get(f"{name}.{up}.bias")
    y = F.conv_transpose2d(F.relu(y), weights[f"{name}.{up}.weight"], bias, stride=2, padding=1)
    return normalised(up + 1, y) if level else torch.tanh(y)


def critic(condition=CONDITION):
    weights, widths = {}, [condition + CHANNELS, *(4 * 2**i for i in range(LAYERS + 1)), 1]
    for i in range(LAYERS + 2):
        number = max(0, 3 * i - 1)
        weights[f"model.{number}.weight"] = torch.randn(widths[i + 1], widths[i], 4, 4) / 4
        if i in (0, LAYERS + 1):
            weights[f"model.{number}.bias"] = torch.randn(widths[i + 1])
        else:
            norm(weights, f"model.{number + 1}", widths[i + 1])
    return weights


def judged(weights, x):
    """Logits, with the running statistics."""
    for i in range(LAYERS + 2):
        number, stride = max(0, 3 * i - 1), 2 if i < LAYERS else 1
        kernel, bias = weights[f"model.{number}.weight"], weights.get(f"model.{number}.bias")
        x = F.conv2d(x, kernel, bias, stride=stride, padding=1)
        if 0 < i <= LAYERS:
            names = ("running_mean", "running_var", "weight", "bias")
            x = F.batch_norm(x, *(weights[f"model.{number + 1}.{n}"] for n in names))
        if i <= LAYERS:
            x = F.leaky_relu(x, 0.2)
    return x[:, 0]


def last(x):
    return jnp.asarray(x.numpy().transpose(0, 2, 3, 1))


def test_the_networks_are_those_of_the_program():
    torch.manual_seed(0)
    made, judge = generator(), critic()
    networks = networks_of("pix2pix_pytorch", {"latest_net_G.pth": made, "latest_net_D.pth": judge})
    network = networks["generator"]
    assert network.module.dropout_layers == (1,)
    plain = Network(network.module.clone(dropout=0.0), network.variables)
    x = torch.rand(3, CONDITION, SIDE, SIDE) * 2 - 1
    found = jax.jit(lambda network, x: network(x, train=True))(plain, last(x))
    assert_same(found, translated(made, x))
    shown = torch.rand(3, CONDITION + CHANNELS, SIDE, SIDE) * 2 - 1
    found = jax.jit(lambda network, x: network(x, train=False))(networks["critic"], last(shown))
    assert_same(found, judged(judge, shown))


def test_the_run_is_like_any_other(tmp_path, capsys):
    torch.manual_seed(0)
    files = {"latest_net_G.pth": generator(5, 3), "latest_net_D.pth": critic(3)}
    run, _ = run_of(tmp_path, "pix2pix_pytorch", files)
    assert run.spec.shape == run.spec["condition"].shape == (32, 32, 3)
    out = tmp_path / "run"
    said = capsys.readouterr().out
    assert f"measure the run on yours: jaxgan evaluate --workdir {out} --data PATH" in said
    assert main(["evaluate", "--workdir", str(out)]) == 2
    assert "there is no such folder, zip or .npz of pairs" in capsys.readouterr().err
    pairs = np.random.default_rng(0).integers(0, 256, (2, 4, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "pairs.npz", conditions=pairs[0], images=pairs[1])
    data = ["--data", str(tmp_path / "pairs.npz"), "--scores", "fd", "--features", "pixels"]
    assert main(["evaluate", "--workdir", str(out), *data, "--num", "4"]) == 0


def read(weights):
    file = Tensors({n: tensor.numpy() for n, tensor in weights.items()}, "latest_net_G.pth")
    return imports.load("pix2pix_pytorch").read([file])


@pytest.mark.parametrize(("downs", "layers"), [(7, (1, 2)), (8, (1, 2, 3))])
def test_dropout_is_where_the_program_has_it(downs, layers):
    """`unet_128` and `unet_256`."""
    found = read(generator(downs))
    assert found.options["dropout_layers"] == layers
    assert found.spec.shape == (2**downs, 2**downs, CHANNELS)


def test_instance_normalisation_is_refused():
    with pytest.raises(ValueError, match="was trained with --norm instance"):
        read({**generator(), "model.model.0.bias": torch.zeros(WIDTH)})


def test_deeper_networks_are_refused():
    with pytest.raises(ValueError, match="halves pictures 9 times, and only those with at most 8"):
        read(generator(9))
