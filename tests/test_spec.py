"""What the data holds: fields by kind, what is converted, and what is said when a model needs something else."""

import dataclasses
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.data import open_source
from jaxgan.options import OptionError
from jaxgan.spec import Field, Spec

IMAGE = Field("image", (4, 6, 3))
EVERY = Spec(
    {
        "image": IMAGE,
        "label": Field("label", number=3, names=("cat", "dog", "wild")),
        "label_map": Field("label_map", (4, 6), 12),
        "attributes": Field("attributes", number=2, names=("Smiling", "Young")),
        "condition": Field("image", (2, 3, 1)),
    },
    100,
)


class TestField:
    @pytest.mark.parametrize(
        ("given", "text"),
        [
            ({"kind": "picture"}, "there is no kind of field 'picture'; use one of image, points,"),
            (
                {"kind": "image", "shape": (8, 8)},
                "of kind image has 3 positive numbers, not (8, 8)",
            ),
            ({"kind": "label", "shape": (3,), "number": 3}, "kind label has 0 positive numbers"),
            ({"kind": "label"}, "kind label needs a number of at least 1, but number is None"),
            ({"kind": "label_map", "shape": (8, 8), "number": 0}, "at least 1, but number is 0"),
            ({"kind": "points", "shape": (2,), "number": 3}, "kind points has no number, but"),
            ({"kind": "points", "shape": (0,)}, "kind points has 1 positive numbers, not (0,)"),
            (
                {"kind": "attributes", "shape": (3,), "number": 2},
                "2 attributes have the shape (2,)",
            ),
            ({"kind": "label", "number": 2, "names": ("a",)}, "there are 1 names for a field of n"),
        ],
    )
    def test_what_does_not_fit_its_kind_is_refused(self, given, text):
        with pytest.raises(ValueError, match=re.escape(text)):
            Field(**given)

    def test_label_maps_of_many_labels_need_more_than_a_byte(self):
        small, large = (Field("label_map", (4, 4), number) for number in (256, 257))
        assert (small.dtype, large.dtype) == (np.uint8, np.int32)
        for field in (small, large):
            assert np.array(field.number - 1).astype(field.dtype) == field.number - 1

    def test_it_is_frozen(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            IMAGE.kind = "points"


class TestDecode:
    def test_conversion_goes_by_kind_and_not_by_type(self):
        batch = EVERY.random(5, np.random.default_rng(0))
        assert batch["label_map"].dtype == batch["image"].dtype == np.uint8
        decoded = jax.jit(EVERY.decode)(batch)
        for name in ("image", "condition"):
            assert decoded[name].dtype == jnp.float32
            np.testing.assert_allclose(decoded[name], batch[name] / 127.5 - 1, atol=1e-6)
        for name in ("label", "label_map", "attributes"):
            assert decoded[name].dtype == batch[name].dtype
            np.testing.assert_array_equal(decoded[name], batch[name])

    def test_floats_are_decoded_pictures_already(self):
        assert EVERY.decode({"image": jnp.array([2.5])})["image"].tolist() == [2.5]

    def test_a_field_that_the_spec_does_not_name_is_unchanged(self):
        assert EVERY.decode({"mask": jnp.array([255], jnp.uint8)})["mask"].tolist() == [255]


class TestSpec:
    def test_random_examples_have_the_shapes_types_and_range_of_the_fields(self):
        batch = EVERY.random(2000, np.random.default_rng(0))
        for name, field in EVERY.fields.items():
            assert (batch[name].shape, batch[name].dtype) == ((2000, *field.shape), field.dtype)
        ranges = {"image": 256, "label": 3, "label_map": 12, "attributes": 2, "condition": 256}
        for name, values in ranges.items():
            assert set(np.unique(batch[name])) == set(range(values))
        points = Spec({"image": Field("points", (2,))}, 9).random(3, np.random.default_rng(0))
        assert (points["image"].shape, points["image"].dtype) == ((3, 2), np.float32)

    def test_its_properties(self):
        assert (EVERY.shape, EVERY.num_classes, EVERY.size, EVERY.pictures) == (
            (4, 6, 3),
            3,
            100,
            True,
        )
        points = Spec({"image": Field("points", (2,))}, 9)
        assert (points.shape, points.num_classes, points.pictures) == ((2,), None, False)

    def test_a_stage_reduces_all_fields_of_pixels_and_no_other(self):
        half = EVERY.at(2)
        shapes = {name: field.shape for name, field in half.fields.items()}
        assert shapes == {
            "image": (2, 3, 3),
            "label": (),
            "label_map": (2, 3),
            "attributes": (2,),
            "condition": (1, 2, 1),
        }
        assert half["label_map"].number == 12
        assert EVERY.at(None) is EVERY

    def test_json_holds_it(self):
        again = Spec.from_dict(json.loads(json.dumps(EVERY.to_dict())))
        assert again == EVERY
        assert hash(again) == hash(EVERY)
        assert again != dataclasses.replace(EVERY, size=99)
        other = {**EVERY.fields, "label": Field("label", number=3)}
        assert again != dataclasses.replace(EVERY, fields=other)

    @pytest.mark.parametrize(
        "fields", [{}, {"label": Field("label", number=2)}, {"image": Field("label", number=2)}]
    )
    def test_the_examples_are_pictures_or_points(self, fields):
        with pytest.raises(ValueError, match="the examples of a spec are its field 'image', of ki"):
            Spec(fields, 9)


# What a model needs, and data that lacks it: (source, its options, needed fields, the sentence).
DIGITS = "'image' (a picture of 8x8x1) and 'label' (a label of 10)"
MISMATCHES = [
    (
        ("digits", {}, {"condition": "image"}),
        f"toy needs a picture 'condition' in each example, but the data has only {DIGITS}: set data.name=pairs.",
    ),
    (
        ("digits", {}, {"image": "image", "label_map": "label_map"}),
        f"toy needs a label map 'label_map' in each example, but the data has only {DIGITS}: set data.name=label_maps.",
    ),
    (
        ("digits", {}, {"attributes": "attributes"}),
        f"toy needs attributes 'attributes' in each example, but the data has only {DIGITS}: set data.name=attributes.",
    ),
    (
        ("digits", {"labels": False}, {"label": "label"}),
        "toy needs a label 'label' in each example, but the data has only 'image' (a picture of 8x8x1): set"
        " data.name=digits and data.labels=true.",
    ),
    (
        ("mixture2d", {}, {"image": "image"}),
        "toy needs a picture 'image' in each example, but the data has only 'image' (a point of 2 numbers) and 'label'"
        " (a label of 25): set data.name=digits.",
    ),
    (
        # The way out of the first mismatch alone, digits, led to the second.
        ("mixture2d", {}, {"image": "image", "condition": "image"}),
        "toy needs a picture 'image' in each example, but the data has only 'image' (a point of 2 numbers) and 'label'"
        " (a label of 25): set data.name=pairs.",
    ),
    (
        ("digits", {}, {"image": "points"}),
        f"toy needs a point 'image' in each example, but the data has only {DIGITS}: set data.name=mixture2d.",
    ),
]


@pytest.mark.parametrize(("case", "text"), MISMATCHES)
def test_a_mismatch_is_one_sentence_whose_way_out_works(case, text):
    name, options, kinds = case
    with pytest.raises(OptionError) as raised:
        open_source(name, **options).spec.require("toy", **kinds)
    assert str(raised.value) == text
    (fix,) = raised.value.fixes
    changes = {key.removeprefix("data."): value for key, value in fix.items()}
    spec = open_source(changes.pop("name"), **changes).spec
    spec.require("toy", **kinds)
    for field in kinds:
        assert spec[field].kind == kinds[field]


def test_the_needed_fields_are_enough():
    EVERY.require("toy", image="image", label_map="label_map", attributes="attributes")


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("condition", ": set data.name=pairs."),
        ("label_map", ": set data.name=label_maps."),
        ("mask", "(a picture of 4x6x3)."),
    ],
)
def test_a_field_that_is_not_there_is_named(name, end):
    with pytest.raises(OptionError) as raised:
        Spec({"image": IMAGE}, 9)[name]
    assert str(raised.value) == (
        f"the data has no field '{name}', only 'image' (a picture of 4x6x3){end.removeprefix('(a picture of 4x6x3)')}"
    )
