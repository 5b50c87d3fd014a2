"""yunjey/stargan: its networks as functions of the tensors of its files."""

import jax
import jax.numpy as jnp
import pytest
from importing import assert_same, run_of

from jaxgan.cli.main import main

torch = pytest.importorskip("torch")
F = torch.nn.functional
WIDTH, BLOCKS, DOMAINS, LAYERS = 4, 2, 3, 3


def generator():
    weights, widths = {}, (WIDTH, 2 * WIDTH, 4 * WIDTH)

    def add(number, *shape, norm=True, inside=""):
        name = f"main.{number}{inside}"
        weights[f"{name}.weight"] = torch.randn(*shape) / 4
        if norm:
            first, last = name.rpartition(".")[::2]
            features = shape[1] if 9 + BLOCKS <= number < 15 + BLOCKS else shape[0]
            scale = f"{first}.{int(last) + 1}"
            weights[f"{scale}.weight"] = torch.rand(features) + 0.5
            weights[f"{scale}.bias"] = torch.randn(features)
            weights[f"{scale}.running_mean"] = torch.randn(features)
            weights[f"{scale}.running_var"] = torch.rand(features)
            weights[f"{scale}.num_batches_tracked"] = torch.tensor(9)

    add(0, WIDTH, 3 + DOMAINS, 7, 7)
    for i in range(2):
        add(3 + 3 * i, widths[i + 1], widths[i], 4, 4)
    for i in range(BLOCKS):
        for j in (0, 3):
            add(9 + i, widths[2], widths[2], 3, 3, inside=f".main.{j}")
    for i in range(2):
        add(9 + BLOCKS + 3 * i, widths[2 - i], widths[1 - i], 4, 4)
    add(15 + BLOCKS, 3, WIDTH, 7, 7, norm=False)
    return weights


def translated(weights, x, domain):
    def normalised(name, h):
        return F.instance_norm(h, weight=weights[f"{name}.weight"], bias=weights[f"{name}.bias"])

    planes = domain[:, :, None, None].expand(-1, -1, *x.shape[2:])
    h = F.conv2d(torch.cat([x, planes], 1), weights["main.0.weight"], padding=3)
    h = F.relu(normalised("main.1", h))
    for at in (3, 6):
        h = F.conv2d(h, weights[f"main.{at}.weight"], stride=2, padding=1)
        h = F.relu(normalised(f"main.{at + 1}", h))
    for i in range(BLOCKS):
        name = f"main.{9 + i}.main"
        y = F.conv2d(h, weights[f"{name}.0.weight"], padding=1)
        y = F.conv2d(F.relu(normalised(f"{name}.1", y)), weights[f"{name}.3.weight"], padding=1)
        h = h + normalised(f"{name}.4", y)
    for at in (9 + BLOCKS, 12 + BLOCKS):
        h = F.conv_transpose2d(h, weights[f"main.{at}.weight"], stride=2, padding=1)
        h = F.relu(normalised(f"main.{at + 1}", h))
    return torch.tanh(F.conv2d(h, weights[f"main.{15 + BLOCKS}.weight"], padding=3))


def critic(side):
    widths = [3, *(WIDTH << i for i in range(LAYERS))]
    weights = {}
    for i in range(LAYERS):
        weights[f"main.{2 * i}.weight"] = torch.randn(widths[i + 1], widths[i], 4, 4) / 4
        weights[f"main.{2 * i}.bias"] = torch.randn(widths[i + 1])
    left = side >> LAYERS
    weights["conv1.weight"] = torch.randn(1, widths[-1], 3, 3)
    weights["conv2.weight"] = torch.randn(DOMAINS, widths[-1], left, left)
    return weights


def judged(weights, x):
    for i in range(LAYERS):
        name = f"main.{2 * i}"
        x = F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride=2, padding=1)
        x = F.leaky_relu(x, 0.01)
    logits = F.conv2d(x, weights["conv1.weight"], padding=1)[:, 0]
    return logits, F.conv2d(x, weights["conv2.weight"]).flatten(1)


def test_the_networks_are_those_of_the_program(tmp_path, capsys):
    torch.manual_seed(0)
    made, judge = generator(), critic(16)
    run, networks = run_of(tmp_path, "stargan", {"9-G.ckpt": made, "9-D.ckpt": judge})
    assert run.spec.shape == (16, 16, 3)
    assert f"jaxgan make list --workdir {tmp_path / 'run'}" in capsys.readouterr().out
    x, domain = torch.rand(2, 3, 16, 16) * 2 - 1, torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    pictures = jnp.asarray(x.numpy().transpose(0, 2, 3, 1))
    call = jax.jit(lambda network, *given: network(*given))
    found = call(networks["generator"], pictures, jnp.asarray(domain.numpy()))
    assert_same(found, translated(made, x, domain))
    found, (logits, domains) = call(networks["critic"], pictures), judged(judge, x)
    assert_same(found.logits, logits)
    assert_same(found.domain, domains)


def test_the_way_that_is_shown_works(tmp_path):
    torch.manual_seed(0)
    run_of(tmp_path, "stargan", {"9-G.ckpt": generator(), "9-D.ckpt": critic(16)})
    assert main(["make", "list", "--workdir", str(tmp_path / "run")]) == 0
