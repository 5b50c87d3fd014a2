"""TensorFlow Datasets: read without TensorFlow, and, where it is installed, really prepared."""

import functools
import http.server
import importlib.util
import io
import re
import subprocess
import sys
import tarfile
import threading

import numpy as np
import pytest

from jaxgan.data import Pipeline, open_source, prepare, tfds
from jaxgan.options import OptionError

HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None
CLASSES = ["airplane", "automobile", "bird", "cat", "deer"]
CLASSES += ["dog", "frog", "horse", "ship", "truck"]

# Importing TFDS and protobuf warns of what they themselves will have to change.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def open_tfds(name, data_dir, **options):
    return open_source("tfds", tfds_name=name, data_dir=str(data_dir), **options)


@pytest.fixture
def write(tmp_path):
    """write(features, examples) makes a prepared set "toy" with a split "train", as TFDS does."""
    import tensorflow_datasets
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.proto import tf_example_pb2

    def write_set(features, examples, suffix="array_record"):
        folder = tmp_path / "toy" / "1.0.0"
        folder.mkdir(parents=True)
        file = folder / f"toy-train.{suffix}-00000-of-00001"
        writer, size = ArrayRecordWriter(str(file), "group_size:1"), 0
        for fields in examples:
            example = tf_example_pb2.Example()
            for name, value in fields.items():
                target = example.features.feature[name]
                kind = target.bytes_list if isinstance(value, bytes) else target.int64_list
                kind.value.append(value)
            data = example.SerializeToString()
            writer.write(data)
            size += len(data)
        writer.close()
        tensorflow_datasets.folder_dataset.write_metadata(
            data_dir=str(folder),
            features=tensorflow_datasets.features.FeaturesDict(
                features(tensorflow_datasets.features)
            ),
            split_infos=[
                tensorflow_datasets.core.SplitInfo(
                    name="train", shard_lengths=[len(examples)], num_bytes=size
                )
            ],
            filename_template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            check_data=False,
        )
        return tmp_path

    return write_set


def pictures(count, size=(8, 8)):
    return np.random.default_rng(0).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def image_and_label(features, shape=(8, 8, 3)):
    return {
        "image": features.Image(shape=shape),
        "label": features.ClassLabel(names=["cat", "dog", "owl"]),
    }


class TestReading:
    def test_pictures_and_classes(self, write, png, monkeypatch):
        images = pictures(5)
        root = write(
            image_and_label, [{"image": png(x), "label": i % 3} for i, x in enumerate(images)]
        )
        source = open_tfds("toy", root)
        assert (source.spec.shape, source.spec.num_classes, source.spec.size) == ((8, 8, 3), 3, 5)
        assert source.classes == ("cat", "dog", "owl")
        assert source.summary == "TFDS toy (train): 5 pictures, 8x8x3, 3 classes"
        for indices in ([3, 0], [0, 1, 2, 3, 4], [4, 4, 1]):  # The second from the memory, partly.
            batch = source.gather(np.array(indices))
            np.testing.assert_array_equal(batch["image"], images[indices])
            assert batch["label"].tolist() == [i % 3 for i in indices]
            assert batch["label"].dtype == np.int32
        monkeypatch.setattr(tfds, "CACHE_BYTES", 0)
        uncached = open_tfds("toy", root).gather(np.array([4, 4, 1]))
        np.testing.assert_array_equal(uncached["image"], batch["image"])
        np.testing.assert_array_equal(uncached["label"], batch["label"])
        part = open_tfds("toy", root, split="train[:60%]", labels=False, channels=1)
        assert (part.spec.shape, part.spec.num_classes, part.spec.size) == ((8, 8, 1), None, 3)
        assert part[0].keys() == {"image"}

    def test_each_picture_is_decoded_once(self, write, png, monkeypatch):
        root = write(image_and_label, [{"image": png(x), "label": 0} for x in pictures(5)])
        source, decoded = open_tfds("toy", root), []
        decode = tfds.pictures.decode
        monkeypatch.setattr(
            tfds.pictures, "decode", lambda *args: decoded.append(1) or decode(*args)
        )
        iterator = Pipeline(source, 0).iterate(0, 5)
        for _ in range(8):
            next(iterator)
        iterator.close()
        source.images()
        before = len(decoded)
        source.images()
        assert len(decoded) == before

    def test_different_sizes(self, write, png):
        images = [pictures(1, size=(8 + i, 9))[0] for i in range(4)]
        any_size = functools.partial(image_and_label, shape=(None, None, 3))
        root = write(any_size, [{"image": png(x), "label": 0} for x in images])
        assert open_tfds("toy", root, resolution=6).images().shape == (4, 6, 6, 3)
        text = "TFDS toy (train): its pictures differ in size, and no resolution is set: set resolution="
        with pytest.raises(OptionError, match=re.escape(text)) as raised:
            open_tfds("toy", root)
        (fix,) = raised.value.fixes
        assert open_tfds("toy", root, **fix).images().shape == (4, 64, 64, 3)

    def test_features_under_other_names(self, write, png):
        def features(of):
            return {
                "a": of.Image(shape=(8, 8, 1)),
                "coarse": of.ClassLabel(num_classes=2),
                "label": of.ClassLabel(num_classes=4),
            }

        root = write(features, [{"a": png(pictures(1)[0, ..., 0]), "coarse": 1, "label": 3}])
        source = open_tfds("toy", root)
        assert (source.spec.shape, source.spec.num_classes, source.spec.size) == ((8, 8, 1), 4, 1)
        assert source[0]["label"] == 3

    def test_attributes_are_those_chosen_in_their_order(self, write, png):
        def features(of):
            has = {name: of.Scalar(np.bool_) for name in ("Male", "Smiling", "Young")}
            return {"image": of.Image(shape=(8, 8, 3)), "attributes": of.FeaturesDict(has)}

        expected = pictures(2)
        has = [{"Male": 1, "Smiling": 0, "Young": 1}, {"Male": 0, "Smiling": 0, "Young": 1}]
        examples = [
            {"image": png(x), **{f"attributes/{name}": value for name, value in of.items()}}
            for x, of in zip(expected, has, strict=True)
        ]
        folder = write(features, examples)
        source = open_tfds("toy", folder, attributes=("Young", "Male"))
        assert source.spec["attributes"].names == ("Young", "Male")
        for _ in range(2):  # read, and then held in memory
            batch = source.gather(np.array([1, 0]))
            assert batch["attributes"].tolist() == [[1, 0], [1, 1]]
            assert batch["attributes"].dtype == np.int32
            assert (batch["image"] == expected[::-1]).all()
        assert [*open_tfds("toy", folder).spec.fields] == ["image"]
        with pytest.raises(
            OptionError, match=r"there is no attribute 'Yuong' among .*: set attributes="
        ):
            open_tfds("toy", folder, attributes=("Yuong",))

    def test_a_set_without_attributes(self, write, png):
        examples = [{"image": png(x), "label": 0} for x in pictures(1)]
        text = r"attributes is \('Male',\), but the TFDS set toy has no true or false features called attributes"
        with pytest.raises(OptionError, match=text):
            open_tfds("toy", write(image_and_label, examples), attributes=("Male",))

    def test_no_images(self, write):
        root = write(lambda of: {"size": of.Scalar(np.int64)}, [{"size": 1}])
        with pytest.raises(
            ValueError, match="is no image set; its features are size; choose a set with"
        ):
            open_tfds("toy", root)

    def test_floating_point_images(self, write, png):
        def features(of):
            return {"image": of.Image(shape=(8, 8, 1), dtype=np.float32)}

        root = write(features, [{"image": png(pictures(1)[0])}])
        text = (
            "floating-point numbers, whose white is not defined; choose a set of uint8, or convert"
        )
        with pytest.raises(ValueError, match=text):
            open_tfds("toy", root)

    def test_wrong_split(self, write, png):
        root = write(image_and_label, [{"image": png(pictures(1)[0]), "label": 0}])
        text = (
            "split is 'test', but the TFDS set toy has no such split; it has train, "
            "and parts such as train[:90%]."
        )
        with pytest.raises(ValueError, match=re.escape(text)):
            open_tfds("toy", root, split="test")
        with pytest.raises(
            ValueError,
            match=re.escape("split is 'train[1:]', but the TFDS set toy has no such split"),
        ):
            open_tfds("toy", root, split="train[1:]")
        for split in ("train", "train[:90%]"):
            assert len(open_tfds("toy", root, split=split)) == 1


class TestRefused:
    def test_not_prepared(self, tmp_path):
        text = (
            f"the TFDS set cifar10 is not prepared in {tmp_path}/cifar10/3.0.2: "
            f"run `jaxgan prepare cifar10 --data_dir {tmp_path}` once"
        )
        with pytest.raises(FileNotFoundError, match=re.escape(text)):
            open_tfds("cifar10", tmp_path)

    def test_unknown_set(self, tmp_path):
        text = "tfds_name is 'cifar1', but TFDS (https://www.tensorflow.org/datasets) has no such set: set tfds_"
        with pytest.raises(OptionError, match=re.escape(text)) as raised:
            open_tfds("cifar1", tmp_path)
        (fix,) = raised.value.fixes
        with pytest.raises(FileNotFoundError, match=r"set cifar10\w* is not prepared"):
            open_tfds(fix["tfds_name"], tmp_path)

    def test_unknown_version(self, tmp_path):
        text = (
            "tfds_name is 'cifar10:9.9.9', but TFDS cannot make that set: "
            "Dataset cifar10 cannot be loaded at version 9.9.9, only: 3.0.2."
        )
        with pytest.raises(ValueError, match=re.escape(text)):
            open_tfds("cifar10:9.9.9", tmp_path)
        with pytest.raises(FileNotFoundError, match=r"set cifar10:3\.0\.2 is not prepared"):
            open_tfds("cifar10:3.0.2", tmp_path)

    def test_preparing_needs_tensorflow(self, tmp_path, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        text = 'preparing cifar10 needs TensorFlow (training does not): pip install "tensorflow-cpu>=2.18"'
        with pytest.raises(ModuleNotFoundError, match=re.escape(text)):
            prepare("cifar10", str(tmp_path))

    def test_another_file_format(self, write, png, monkeypatch):
        root = write(image_and_label, [{"image": png(pictures(1)[0]), "label": 0}], "tfrecord")
        with pytest.raises(FileNotFoundError, match="the TFDS set toy is not prepared in"):
            open_tfds("toy", root)
        # Seen before TensorFlow is needed.
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
        text = (
            f"toy is prepared in {root}/toy/1.0.0 as tfrecord, which cannot be read without "
            "TensorFlow: prepare it in another --data_dir, or remove that folder first"
        )
        with pytest.raises(ValueError, match=re.escape(text)):
            prepare("toy", str(root))


@pytest.fixture(scope="module")
def cifar_archive():
    """A small cifar-10-binary.tar.gz in its published layout; its bytes, and what it holds."""
    random, records = np.random.default_rng(0), {}
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        labels = random.integers(0, 10, (7, 1), dtype=np.uint8)
        # One byte of label, then 1,024 bytes each of red, green and blue.
        records[name] = np.hstack([labels, random.integers(0, 256, (7, 3072), dtype=np.uint8)])
    files = {name: rows.tobytes() for name, rows in records.items()}
    files["batches.meta.txt"] = "".join(f"{name}\n" for name in [*CLASSES, ""]).encode()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return archive.getvalue(), records


@pytest.fixture(scope="module")
def prepared_cifar10(cifar_archive, tmp_path_factory):
    """The real builder of TFDS, run on the small archive, which it downloads from this machine."""
    if not HAS_TENSORFLOW:
        pytest.skip("TensorFlow, which prepares TFDS sets, is not installed (the extra tfds)")
    served, data_dir = tmp_path_factory.mktemp("served"), tmp_path_factory.mktemp("tfds")
    (served / "cifar-10-binary.tar.gz").write_bytes(cifar_archive[0])
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        # Only the address differs from what the builder does on any machine.
        code = f"""
from tensorflow_datasets.image_classification import cifar
published = cifar.Cifar10._cifar_info.fget
def here(self):
    info = published(self)
    assert info.url.endswith("/cifar-10-binary.tar.gz")
    return info._replace(url="http://127.0.0.1:{server.server_port}/cifar-10-binary.tar.gz")
cifar.Cifar10._cifar_info = property(here)
from jaxgan.data import prepare
print(prepare("cifar10", {str(data_dir)!r}))
"""
        try:
            done = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, timeout=300
            )
        finally:
            server.shutdown()
            thread.join()
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{data_dir}/cifar10/3.0.2"
    return data_dir


@pytest.mark.slow
class TestCifar10:
    @pytest.mark.parametrize("split", ["train", "test"])
    def test_pixels_and_labels(self, prepared_cifar10, cifar_archive, split):
        source = open_tfds("cifar10", prepared_cifar10, split=split)
        names = sorted(name for name in cifar_archive[1] if ("test" in name) == (split == "test"))
        rows = np.concatenate([cifar_archive[1][name] for name in names])
        assert (source.spec.shape, source.spec.num_classes, source.spec.size) == (
            (32, 32, 3),
            10,
            len(rows),
        )
        assert list(source.classes) == CLASSES
        batch = source.gather(np.arange(len(rows)))
        planes = batch["image"].transpose(0, 3, 1, 2).reshape(-1, 3072)
        read = np.hstack([batch["label"][:, None].astype(np.uint8), planes])
        # TFDS shuffles once, when it prepares a set.
        np.testing.assert_array_equal(read[np.lexsort(read.T)], rows[np.lexsort(rows.T)])

    def test_training_does_not_import_tensorflow(self, prepared_cifar10):
        code = f"""
import sys
from jaxgan.data import Pipeline, open_source
source = open_source("tfds", tfds_name="cifar10", data_dir={str(prepared_cifar10)!r})
batches = Pipeline(source, seed=0, flip=True).iterate(0, 16)
assert next(batches)["image"].shape == (16, 32, 32, 3)
batches.close()
assert "tensorflow" not in sys.modules
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=300)
        assert done.returncode == 0, done.stderr

    def test_preparing_again_does_nothing(self, prepared_cifar10):
        def written():
            files = (path for path in prepared_cifar10.rglob("*") if path.is_file())
            return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in files}

        before = written()
        # The server is gone, so a download would fail.
        code = f"from jaxgan.data import prepare; prepare('cifar10', {str(prepared_cifar10)!r})"
        subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
        assert written() == before
