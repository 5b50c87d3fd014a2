"""Pictures per second through the networks that scores look through, and the Fréchet distance of their statistics.

Inception runs under random weights, which torch-fidelity's network draws and both share: beside it where that package
is installed, else alone. CIFAR-10's ResNet-56, which the training step is scored by, is alone. Each takes uint8
pictures from the host and returns arrays there. The Fréchet distance is computed on the host, in float64.
"""

from __future__ import annotations

import numpy as np

from on_device_steps import timing


def parts(task) -> list[str]:
    if task.tiny:
        return ["cifar10_resnet20 32", "frechet 16"]
    return ["inception 32", "inception 299", "cifar10_resnet56 32", "frechet 2048"]


def run(part: str, task) -> dict:
    name, size = part.split()
    seconds = 0.05 if task.tiny else 2.0
    if name == "frechet":
        import frechet_speed

        # As many examples as make the covariance regular.
        return frechet_speed.measure(2 * int(size), int(size), 1 if task.tiny else 3, {})
    batch = 2 if task.tiny else 256
    shape = (batch, int(size), int(size), 3)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found, note = contestants(name, images, task)
    players = {who: _repeated(play, images) for who, play in found.items()}
    times = timing.alternate(players, seconds)
    rates = {who: 1e3 * batch / of["ms"] for who, of in times.items()}
    note = {"torch_note": note} if note else {}
    return {"batch": batch, "pictures_per_second": rates, **note}


def contestants(name: str, images: np.ndarray, task) -> tuple[dict, str]:
    """({who: a function from pictures to arrays}, why torch-fidelity is not among them)."""
    import features_speed

    def port():
        net, play = features_speed.torch_player(device)
        play(images)  # if it fails, then here
        return net, play

    device, peer, note = ("cuda" if task.facts["platform"] == "gpu" else "cpu"), None, ""
    if name == "inception":
        peer, note = timing.peer(port)
    if peer is None:
        return {"jaxgan": features_speed.extractor_player(name, random_variables(name))}, note
    net, play = peer
    return {"jaxgan": features_speed.jaxgan_player(net), "torch-fidelity": play}, note


def random_variables(name: str):
    """Variables of a feature network: normal ones of a small deviation, and variances of 1."""
    import jax

    from jaxgan.nets import features
    from jaxgan.nets.features import cifar_resnet, inception

    modules = {"inception": inception.Inception(), "cifar10_resnet20": cifar_resnet.CifarResNet(3)}
    modules["cifar10_resnet56"] = cifar_resnet.CifarResNet(9)
    size = features.by_name(name).size or (32, 32)
    picture = jax.ShapeDtypeStruct((1, *size, 3), np.float32)
    shapes = jax.eval_shape(modules[name].init, jax.random.key(0), picture)
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        if path[-1].key in ("var", "scale"):
            return np.ones(leaf.shape, leaf.dtype)
        return rng.normal(0, 0.05, leaf.shape).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def _repeated(play, images) -> timing.Player:
    def repeat(times: int) -> None:
        for _ in range(times):
            play(images)

    return repeat
