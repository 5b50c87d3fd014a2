"""From a published file on a server to a score: Inception's formats and names, with random values."""

import hashlib
import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from PIL import Image

from jaxgan.cli.main import main
from jaxgan.metrics import frechet_distance
from jaxgan.metrics.networks import NetworkExtractor, network_extractor
from jaxgan.metrics.resize import resize_on_host
from jaxgan.nets.features import by_name
from jaxgan.nets.features.inception import SIZE, Inception, convert

PORT = "inception_2015_12_05_pytorch_fid"
SIZES = ((32, 32), (20, 50), (64, 64), (300, 299))


@pytest.fixture(scope="module")
def port():
    """{name: tensor} as the PyTorch port has them, values that keep the maps of order one."""
    pictures = jax.ShapeDtypeStruct((1, *SIZE, 3), jnp.float32)
    params = jax.eval_shape(Inception().init, jax.random.key(0), pictures)["params"]
    rng, tensors = np.random.default_rng(0), {}

    def uniform(low, high, size):
        return rng.uniform(low, high, size).astype(np.float32)

    for (*layer, kind), leaf in flatten_dict(params).items():
        name = ".".join(layer)
        if kind != "kernel" or name == "fc":
            continue
        height, width, inputs, outputs = leaf.shape
        scale = (6 / (height * width * inputs)) ** 0.5
        tensors[f"{name}.conv.weight"] = uniform(-scale, scale, (outputs, inputs, height, width))
        tensors[f"{name}.bn.weight"] = uniform(0.7, 1.3, outputs)
        tensors[f"{name}.bn.bias"] = uniform(-0.3, 0.3, outputs)
        tensors[f"{name}.bn.running_mean"] = uniform(-0.3, 0.3, outputs)
        tensors[f"{name}.bn.running_var"] = uniform(0.6, 1.4, outputs)
        tensors[f"{name}.bn.num_batches_tracked"] = np.int64(0)
    tensors["fc.weight"] = uniform(-0.1, 0.1, (1008, 2048))
    tensors["fc.bias"] = uniform(-0.1, 0.1, 1008)
    return tensors


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """(a folder of pictures of several sizes, an .npz of pictures of one size, both as arrays)."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(1)
    real = rng.integers(0, 256, (12, 48, 40, 3), dtype=np.uint8)
    np.savez(folder / "real.npz", images=real)
    (folder / "fake").mkdir()
    fake = [rng.integers(0, 200, (*SIZES[i % 4], 3), dtype=np.uint8) for i in range(12)]
    for i, picture in enumerate(fake):
        Image.fromarray(picture).save(folder / "fake" / f"{i}.png")
    return folder / "fake", folder / "real.npz", fake, real


@pytest.fixture(scope="module")
def expected(port, pictures):
    """The Fréchet distance of the features, picture by picture."""
    _, _, fake, real = pictures
    extractor = NetworkExtractor(by_name("inception"), convert(port), "")
    resized = [
        np.stack([resize_on_host(x, SIZE, "tf1") for x in images]) for images in (real, fake)
    ]
    features = [np.asarray(extractor(x)["features"]) for x in resized]
    gaussians = [(x.mean(0), np.cov(x.astype(np.float64).T)) for x in features]
    return frechet_distance(*gaussians[0], *gaussians[1])


def evaluate(pictures, capsys, *more):
    fake, real, *_ = pictures
    words = ["evaluate", "--fake", fake, "--real", real, "--features", "inception", "--num", 12]
    capsys.readouterr()
    code = main([str(word) for word in (*words, "--scores", "fd,class", *more)])
    out, err = capsys.readouterr()
    return code, json.loads(out.splitlines()[-1]) if code == 0 else err


@pytest.mark.slow
def test_from_the_ports_file_to_a_score(
    port, pictures, expected, publish, server, cache, capsys, monkeypatch
):
    torch = pytest.importorskip("torch")
    file = io.BytesIO()
    torch.save({name: torch.as_tensor(tensor) for name, tensor in port.items()}, file)
    data = file.getvalue()
    digest = hashlib.sha256(data).hexdigest()
    entry = publish(PORT, data, checksum=digest[:8])
    code, result = evaluate(pictures, capsys)
    assert code == 0, result
    assert result["fid"] == pytest.approx(expected, rel=1e-4)
    assert 1 <= result["is"] <= 1008
    protocol = result["protocol"]
    assert (protocol["features"], protocol["resize"]) == ("inception", "tf1")
    assert protocol["features_checksum"] == digest
    assert protocol["num_fake"] == 12
    # The second time nothing is fetched; and no network is needed where the file is given.
    assert network_extractor("inception").checksum == digest
    assert server.requests == [f"/{entry.file}"]
    server.files.clear()
    monkeypatch.setenv("JAXGAN_CACHE", str(cache / "another"))
    elsewhere = cache / "mine.pth"
    elsewhere.write_bytes(data)
    assert network_extractor("inception", elsewhere).checksum == digest
    elsewhere.write_bytes(data[:-1000])
    code, sentence = evaluate(pictures, capsys, "--weights", elsewhere)
    assert code == 2
    assert sentence.startswith(f"jaxgan: {elsewhere} is not pt_inception-2015-12-05-6726825d.pth")
    for start, kind in ((b"\n", "a TensorFlow graph"), (b"\x1f\x8b", "a gzipped file")):
        elsewhere.write_bytes(start)
        code, sentence = evaluate(pictures, capsys, "--weights", elsewhere)
        told = f"{elsewhere} is {kind}, not a PyTorch file; get {entry.file} from {entry.url}"
        assert (code, sentence.strip()) == (2, f"jaxgan: {told}")
    code, sentence = evaluate(pictures, capsys)  # neither a network nor a file
    assert code == 2
    for part in (
        entry.file,
        entry.url,
        digest[:8],
        "or give this file itself: set --weights=FILE.",
    ):
        assert part in sentence
