"""The order of training: shuffled, complete, and a pure function of seed and position."""

import re
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from jaxgan.data import ArraySource, Pipeline, Source, array, array_source, pictures
from jaxgan.options import OptionError
from jaxgan.spec import Field, Spec


def numbered(count, width=3):
    """Pictures that can be told apart, also from their mirror images; labels number them."""
    images = np.random.default_rng(0).integers(0, 256, (count, 2, width, 1), dtype=np.uint8)
    return ArraySource(images, np.arange(count))


def draw(pipeline, start, batch_size, count):
    iterator = pipeline.iterate(start, batch_size)
    batches = [next(iterator) for _ in range(count)]
    iterator.close()
    return {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype
        np.testing.assert_array_equal(a[name], b[name])


class TestOrder:
    @pytest.mark.parametrize(("size", "batch_size"), [(10, 4), (7, 7), (5, 12), (1, 3), (64, 1)])
    def test_every_epoch_is_every_example_once(self, size, batch_size):
        epochs = 2 * batch_size
        labels = draw(Pipeline(numbered(size), 0), 0, batch_size, 2 * size)["label"]
        labels = labels.reshape(epochs, size)
        np.testing.assert_array_equal(
            np.sort(labels, axis=1), np.tile(np.arange(size), (epochs, 1))
        )

    @pytest.mark.parametrize("count", [2, 4])
    def test_every_epoch_is_every_example_once_over_several_processes(self, count):
        pipelines = [Pipeline(numbered(40), 3, shard=(index, count)) for index in range(count)]
        drawn = [draw(pipeline, 0, 8, 10)["label"].reshape(2, -1) for pipeline in pipelines]
        assert {part.shape for part in drawn} == {(2, 40 // count)}
        epochs = np.sort(np.concatenate(drawn, axis=1), axis=1)
        np.testing.assert_array_equal(epochs, np.tile(np.arange(40), (2, 1)))

    def test_epochs_and_seeds_differ(self):
        source = numbered(1000)
        orders = [
            draw(Pipeline(source, seed), epoch, 1000, 1)["label"]
            for seed in (0, 1)
            for epoch in (0, 1, 2)
        ]
        for i, one in enumerate(orders):
            assert abs(np.corrcoef(one, np.arange(1000))[0, 1]) < 0.2  # Six standard errors.
            for other in orders[:i]:
                # Independent permutations agree in one place on average.
                assert (one == other).sum() < 10

    def test_stages_of_neighbouring_seeds_differ(self):
        source = numbered(1000)
        pipelines = [
            Pipeline(source, seed, flip=True, stage=stage)
            for seed in (0, 1, 2)
            for stage in (0, 1, 2)
        ]
        orders = [draw(pipeline, 0, 1000, 1)["label"] for pipeline in pipelines]
        flips = [pipeline._flips(0, 1000) for pipeline in pipelines]
        for i in range(len(pipelines)):
            for j in range(i):
                assert (orders[i] == orders[j]).sum() < 10
                assert 400 < (flips[i] == flips[j]).sum() < 600

    def test_the_first_stage_has_the_order_of_the_seed(self):
        one, other = (Pipeline(numbered(50), 7, **stage) for stage in ({}, {"stage": 0}))
        np.testing.assert_array_equal(one.batch(0, 50)["label"], other.batch(0, 50)["label"])

    def test_any_start_continues_the_same_run(self):
        pipeline = Pipeline(numbered(37), 5, flip=True)
        whole = draw(pipeline, 0, 8, 30)
        for start in (1, 4, 5, 23):
            again = draw(Pipeline(numbered(37), 5, flip=True), start, 8, 30 - start)
            assert_same(again, {key: value[8 * start :] for key, value in whole.items()})

    def test_batch_is_what_iterate_yields(self):
        pipeline = Pipeline(numbered(37), 5, flip=True)
        assert_same(pipeline.batch(11, 8), draw(pipeline, 11, 8, 1))

    def test_image_p_does_not_depend_on_the_batch_size(self):
        pipeline = Pipeline(numbered(37), 5, flip=True)
        assert_same(draw(pipeline, 0, 6, 10), draw(pipeline, 0, 15, 4))

    def test_far_positions(self):
        pipeline = Pipeline(numbered(10), 0, flip=True)
        epoch = 2**40
        assert sorted(pipeline.batch(epoch, 10)["label"].tolist()) == list(range(10))
        assert_same(pipeline.batch(epoch, 10), draw(pipeline, epoch, 10, 1))

    @pytest.mark.parametrize("count", [2, 4])
    def test_processes_share_one_batch(self, count):
        source = numbered(37)
        whole = draw(Pipeline(source, 3, flip=True), 2, 8, 6)
        parts = [
            draw(Pipeline(source, 3, flip=True, shard=(i, count)), 2, 8, 6) for i in range(count)
        ]
        rows = {
            key: np.concatenate(
                [part[key].reshape(6, 8 // count, *part[key].shape[1:]) for part in parts], axis=1
            ).reshape(whole[key].shape)
            for key in whole
        }
        assert_same(rows, whole)

    def test_order_is_kept_between_releases(self):
        # Golden: a run that is resumed with a later version must see the same images.
        pipeline = Pipeline(numbered(10), 0, flip=True)
        order = pipeline.batch(0, 12)["label"].tolist()
        assert order == [1, 4, 5, 6, 8, 2, 0, 3, 9, 7, 1, 3]
        mirrored = pipeline._flips(0, 12).astype(int).tolist()
        assert mirrored == [1, 1, 0, 0, 1, 1, 0, 1, 0, 1, 1, 1]


class TestFlip:
    def test_half_of_the_images_are_mirrored(self):
        source = numbered(500)
        plain = draw(Pipeline(source, 0), 0, 100, 40)["image"]
        flipped = draw(Pipeline(source, 0, flip=True), 0, 100, 40)["image"]
        kept = (flipped == plain).all(axis=(1, 2, 3))
        mirrored = (flipped == plain[:, :, ::-1]).all(axis=(1, 2, 3))
        assert (kept | mirrored).all()
        assert abs(mirrored.mean() - 0.5) < 5 * 0.5 / np.sqrt(4000)
        # Anew in every epoch, not once and for all.
        epochs = mirrored.reshape(8, 500)
        assert abs(np.corrcoef(epochs)[np.triu_indices(8, 1)]).max() < 5 / np.sqrt(500)

    def test_the_source_is_not_changed(self):
        source = numbered(20)
        before = source.images()
        draw(Pipeline(source, 0, flip=True), 0, 20, 5)
        np.testing.assert_array_equal(source.images(), before)

    def test_points_have_no_mirror_image(self):
        points = ArraySource(np.zeros((4, 2), np.float32))
        with pytest.raises(
            ValueError,
            match=r"flip is true, but it mirrors pictures, and the data have none: .*: set flip=false",
        ) as raised:
            Pipeline(points, 0, flip=True)
        Pipeline(points, 0, **raised.value.fixes[0]).batch(0, 4)


class Pairs(Source):
    """Pairs of the same picture, so that what is done to one of it shows."""

    in_memory = True

    def __init__(self, images):
        self._images = images
        self.spec = Spec(
            {
                "image": Field("image", images.shape[1:]),
                "condition": Field("image", images.shape[1:]),
            },
            len(images),
        )
        self.summary = "pairs"

    def gather(self, indices):
        return {"image": self._images[indices], "condition": self._images[indices]}


class TestJitter:
    images = np.random.default_rng(0).integers(0, 256, (40, 12, 16, 3), np.uint8)

    def test_pairs_are_cropped_and_mirrored_together(self):
        batch = draw(Pipeline(Pairs(self.images), 0, flip=True, jitter=4), 0, 8, 10)
        np.testing.assert_array_equal(batch["image"], batch["condition"])
        plain = draw(Pipeline(Pairs(self.images), 0), 0, 8, 10)
        assert (batch["image"] != plain["image"]).any(axis=(1, 2, 3)).all()

    def test_a_function_of_seed_and_position(self):
        source = Pairs(self.images)
        whole = draw(Pipeline(source, 5, flip=True, jitter=3), 0, 8, 10)
        again = draw(Pipeline(source, 5, flip=True, jitter=3), 0, 4, 20)
        assert_same(whole, again)
        later = draw(Pipeline(source, 5, flip=True, jitter=3), 6, 8, 4)
        assert_same(later, {key: value[48:] for key, value in whole.items()})
        other = draw(Pipeline(source, 6, flip=True, jitter=3), 0, 8, 10)
        assert (other["image"] != whole["image"]).any()

    def test_order_and_mirroring_are_those_without_it(self):
        # A ramp to the right is one after cropping too: its direction shows whether it was mirrored.
        ramp = np.tile(np.arange(0, 160, 10, dtype=np.uint8)[:, None], (40, 12, 1, 1))
        seen = [
            np.sign(np.diff(x[:, 5, 3:13, 0].astype(int), axis=1).mean(axis=1))
            for jitter in (0, 4)
            for x in [
                draw(Pipeline(ArraySource(ramp), 0, flip=True, jitter=jitter), 0, 8, 10)["image"]
            ]
        ]
        np.testing.assert_array_equal(*seen)
        assert set(seen[0]) == {-1, 1}

    def test_windows_lie_everywhere_and_evenly_whether_mirrored_or_not(self):
        pipeline = Pipeline(Pairs(self.images), 0, flip=True, jitter=3)
        mirrored, corners = pipeline._flips(0, 8000), pipeline._corners(0, 8000, (3, 4))
        counts = np.zeros((2, 4, 5))
        np.add.at(counts, (mirrored.astype(int), *corners.T), 1)
        assert abs(counts - 200).max() < 5 * np.sqrt(200)

    def test_the_original_size_and_place_change_nothing(self):
        for image in (self.images[0], self.images[0, ..., :1]):
            np.testing.assert_array_equal(pictures.jittered(image, (12, 16), (0, 0)), image)

    def test_the_window_is_what_enlarging_and_cropping_shows(self):
        image = self.images[0]
        enlarged = np.asarray(Image.fromarray(image).resize((20, 15), Image.Resampling.BILINEAR))
        for row, column in ((0, 0), (3, 4), (2, 1)):
            seen = pictures.jittered(image, (15, 20), (row, column))
            expected = enlarged[row : row + 12, column : column + 16]
            # Two roundings differ by one grey level; at the window's edge its outside is seen too.
            assert abs(seen.astype(int) - expected)[1:-1, 1:-1].max() <= 1

    def test_refused(self):
        points = ArraySource(np.zeros((4, 2), np.float32))
        with pytest.raises(
            ValueError,
            match=r"jitter is 3, but it crops pictures, and the data have none: .*: set jitter=0",
        ) as raised:
            Pipeline(points, 0, jitter=3)
        Pipeline(points, 0, **raised.value.fixes[0]).batch(0, 4)
        with pytest.raises(
            ValueError, match="jitter is -1, but it must be at least 0: set jitter=0"
        ) as raised:
            Pipeline(Pairs(self.images), 0, jitter=-1)
        Pipeline(Pairs(self.images), 0, **raised.value.fixes[0]).batch(0, 4)


class Slow(Source):
    """Examples that take a while, and one that fails."""

    spec, summary = Spec({"image": Field("image", (1, 1, 1))}, 1000), "slow"

    def __init__(self, fail_at=None):
        self.fail_at, self.gathered = fail_at, 0

    def gather(self, indices):
        time.sleep(0.005)
        self.gathered += 1
        if self.fail_at in indices:
            raise ValueError("picture 3 is broken")
        return {"image": np.asarray(indices, np.uint8).reshape(-1, 1, 1, 1)}


class TestIterator:
    def test_batches_are_made_ahead(self):
        source = Slow()
        iterator = Pipeline(source, 0).iterate(0, 2)
        deadline = time.monotonic() + 10
        while source.gathered < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert source.gathered >= 3  # Without a single `next`.
        iterator.close()

    def test_order_survives_the_threads(self):
        pipeline = Pipeline(Slow(), 0)
        expected = np.concatenate([pipeline.batch(k, 2)["image"] for k in range(20)])
        np.testing.assert_array_equal(draw(pipeline, 0, 2, 20)["image"], expected)

    def test_an_error_reaches_the_caller(self):
        iterator = Pipeline(Slow(fail_at=3), 0).iterate(0, 1000)
        with pytest.raises(ValueError, match="picture 3 is broken"):
            next(iterator)
        iterator.close()

    def test_close_ends_the_threads(self):
        before = set(threading.enumerate())
        iterator = Pipeline(Slow(), 0).iterate(0, 2)
        next(iterator)
        assert set(threading.enumerate()) - before
        iterator.close()
        iterator.close()
        for thread in set(threading.enumerate()) - before:
            thread.join(timeout=10)
            assert not thread.is_alive()
        with pytest.raises(ValueError, match="closed"):
            next(iterator)

    def test_a_program_ends_without_closing(self):
        code = (
            "import numpy as np; from jaxgan.data import ArraySource, Pipeline; "
            "p = Pipeline(ArraySource(np.zeros((9, 4, 4, 1), np.uint8)), 0); "
            "i = p.iterate(0, 4); next(i)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr

    @pytest.mark.parametrize("batch_size", [0, 7])
    def test_batches_that_cannot_be_shared(self, batch_size):
        pipeline = Pipeline(numbered(10), 0, shard=(0, 2))
        text = (
            f"a batch of {batch_size} cannot be shared equally by 2 processes: make the batch size a multiple of their"
            " number"
        )
        for use in (pipeline.iterate, pipeline.batch):
            with pytest.raises(ValueError, match=re.escape(text)):
                use(0, batch_size)
        assert len(pipeline.batch(0, 8)["image"]) == 4


class TestResolution:
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)

    def test_pictures_are_block_means_of_the_same_pictures(self):
        source = ArraySource(self.images)
        small = Pipeline(source, 0, flip=True, resolution=2).batch(1, 4)["image"]
        large = Pipeline(source, 0, flip=True).batch(1, 4)["image"]
        expected = large.reshape(4, 2, 4, 2, 4, 3).astype(float).mean(axis=(2, 4))
        assert small.dtype == np.uint8
        np.testing.assert_allclose(small, expected, atol=0.5)

    def test_own_resolution_changes_nothing(self):
        source = ArraySource(self.images)
        np.testing.assert_array_equal(
            Pipeline(source, 0, resolution=8).batch(0, 6)["image"],
            Pipeline(source, 0).batch(0, 6)["image"],
        )

    def test_a_size_that_is_no_multiple_is_refused(self):
        text = "a stage trains at 3 pixels, and the size of the data must be a multiple"
        with pytest.raises(OptionError, match=text) as raised:
            Pipeline(ArraySource(self.images), 0, resolution=3)
        (fix,) = raised.value.fixes
        resized = array_source(self.images, options=array.Options(**fix))
        assert Pipeline(resized, 0, resolution=3).batch(0, 2)["image"].shape == (2, 3, 3, 3)
