"""Runs of published weights, and the comparison with the programs that wrote them, which tests write out in PyTorch."""

import jax
import numpy as np
import yaml
from flax.traverse_util import unflatten_dict

from jaxgan import config, imports, models
from jaxgan.cli.main import main
from jaxgan.network import Network

TOLERANCE = 2e-5  # of the largest difference, relative to the largest value: rounding


def run_of(folder, kind, files):
    """(the imported run, its networks, with averages) of {file name: what `torch.save` writes, or YAML}."""
    import torch

    for name, content in files.items():
        if name.endswith(".yaml"):
            (folder / name).write_text(yaml.safe_dump(content))
        else:
            torch.save(content, folder / name)
    return imported(folder, kind, [folder / name for name in files])


def imported(folder, kind, paths):
    """(the imported run, its networks, with averages) of files."""
    out = folder / "run"
    assert main(["import", kind, *map(str, paths), "--out", str(out)]) == 0
    run, _, _, state = config.restore(out)
    return run, run.game.networks(state)


def networks_of(kind, files):
    """{player: network} of {file name: its tensors of PyTorch}, without a run."""
    opened = [
        imports.Tensors({n: tensor.numpy() for n, tensor in tensors.items()}, name)
        for name, tensors in files.items()
    ]
    found = imports.load(kind).read(opened)
    model = models.load(found.model)
    game = model.game(model.Options(**found.options), found.spec)
    return {
        player: Network(
            game.players[player].module,
            unflatten_dict({path: leaf.value for path, leaf in leaves.items()}, sep="/"),
        )
        for player, leaves in found.players.items()
    }


def called(network, x, label=None):
    """The output of a network in evaluation mode; one program, as one for each operation takes longer to compile."""
    return jax.jit(lambda network, x, label: network(x, label, train=False))(network, x, label)


def assert_same(found, published):
    """Both are outputs for the same inputs; pictures of PyTorch have channels first."""
    published = published.detach().numpy()
    if published.ndim == 4:
        published = published.transpose(0, 2, 3, 1)
    found = np.asarray(found)
    assert found.shape == published.shape
    assert np.abs(published).max() > 1e-3
    assert np.abs(found - published).max() <= TOLERANCE * np.abs(published).max()
