"""Options: declared once, checked, changed by name, described; a group of options inside another."""

import copy
import dataclasses
import json
import pickle

import numpy as np
import pytest

from jaxgan import options
from jaxgan.cli import errors
from jaxgan.data.encoded import BadLabels
from jaxgan.options import Option, OptionError, UnknownOption, option


@dataclasses.dataclass(frozen=True)
class Augmentation:
    p: float = option(0.5, "probability", least=0, most=1)
    kinds: tuple[str, ...] = option(("flip",), "what is done", choices=("flip", "crop"))


@dataclasses.dataclass(frozen=True)
class Base:
    batch_size: int | tuple[tuple[int, int], ...] = option(((4, 16), (256, 14)), "images", least=1)
    width: int = option(8, "channels", least=2, most=64)
    rate: float = option(0.1, "learning rate", above=0, below=1)
    optimizer: str = option("adam", "optimiser", choices=("adam", "rmsprop"))
    sizes: tuple[int, ...] = option((1, 2), "sides in pixels", least=1)
    none: tuple[int, ...] = option((), "may be empty", empty=True)
    betas: tuple[float, float] = option((0.9, 0.99), "decays", least=0, below=1)
    scale: float | None = option(None, "factor, if there is one", above=0)
    fast: bool = option(False, "quicker")
    augmentation: Augmentation = Augmentation()


@dataclasses.dataclass(frozen=True)
class Options(Base):
    width: int = 16
    augmentation: Augmentation = Augmentation(p=0.2)


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("batch_size", "32", 32),
        ("batch_size", "(4,8),(16,4)", ((4, 8), (16, 4))),
        ("batch_size", "((4, 8), (16, 4))", ((4, 8), (16, 4))),
        ("batch_size", "(4,8)", ((4, 8),)),
        ("batch_size", [[4, 8]], ((4, 8),)),
        ("width", "1e1", 10),
        ("width", 10.0, 10),
        ("rate", "3e-4", 3e-4),
        ("sizes", "1,2,2", (1, 2, 2)),
        ("sizes", "(1, 2)", (1, 2)),
        ("sizes", "3", (3,)),
        ("none", "", ()),
        ("scale", "2", 2.0),
        ("scale", "none", None),
        ("fast", "True", True),
        ("augmentation.p", "1", 1.0),
        ("augmentation.kinds", "crop,flip", ("crop", "flip")),
    ],
)
def test_values_are_read_by_the_annotation_and_back(name, given, value):
    made = options.override(Options(), {name: given})
    flat = {row.name: row.value for row in options.describe(made)}
    assert flat[name] == value
    assert type(flat[name]) is type(value)
    options.check(made)
    assert options.override(Options(), {name: options.text(value)}) == made
    assert options.override(Options(), options.flatten(options.to_dict(made))) == made


@pytest.mark.parametrize(
    ("name", "given", "sentence"),
    [
        ("batch_size", "x", "batch_size is 'x', but it must be a whole number or a tuple of (whole number, wh"),
        ("batch_size", ((4, 0),), "batch_size is ((4, 0),), but it must be at least 1: set batch_size=((4, 1),)."),
        ("width", "1.5", "width is '1.5', but it must be a whole number: set width=16."),
        ("width", True, "width is true, but it must be a whole number: set width=16."),
        ("width", "100", "width is 100, but it must be from 2 to 64: set width=64."),
        ("rate", "0", "rate is 0.0, but it must be above 0, below 1: set rate=0.1."),
        ("rate", "1", "rate is 1.0, but it must be above 0, below 1: set rate=0.1."),
        ("rate", "inf", "rate is inf, but it must be finite: set rate=0.1."),
        ("optimizer", "adan", "optimizer is 'adan', but it must be one of adam, rmsprop: set optimizer=adam."),
        ("sizes", "1,x", "sizes is '1,x', but it must be a tuple of whole numbers: set sizes=(1, 2)."),
        ("sizes", (), "sizes is (), but it needs at least one number: set sizes=(1, 2)."),
        ("betas", (-1, 0.5), "betas is (-1.0, 0.5), but it must be at least 0, below 1: set betas=(0.0, 0.5)."),
        ("betas", (0.5, 1), "betas is (0.5, 1.0), but it must be at least 0, below 1: set betas=(0.9, 0.99)."),
        ("scale", "-1", "scale is -1.0, but it must be above 0: set scale=none."),
        ("fast", "yes", "fast is 'yes', but it must be true or false: set fast=false."),
        ("augmentation.p", 2, "augmentation.p is 2.0, but it must be from 0 to 1: set augmentation.p=1.0."),
        ("augmentation.kinds", "flop", "augmentation.kinds is ('flop',), but it must be one of flip, crop: set"),
    ],
)  # fmt: skip
def test_what_an_option_cannot_be_is_refused_with_a_value_that_it_can(name, given, sentence):
    with pytest.raises(OptionError) as raised:
        options.override(Options(), {name: given})
    assert str(raised.value).startswith(sentence)
    for fix in raised.value.fixes:
        options.check(options.override(Options(), fix))


def test_numbers_of_numpy_are_pythons_in_files():
    given = dataclasses.replace(
        Options(), width=np.int64(8), rate=np.float32(0.5), sizes=(np.int16(3),), fast=np.True_
    )
    options.check(given)
    found = options.to_dict(given)
    assert json.loads(json.dumps(found)) == found
    assert (found["width"], found["rate"], found["sizes"], found["fast"]) == (8, 0.5, [3], True)
    changed = options.override(Options(), {"width": np.int64(8), "rate": np.float32(0.5)})
    assert (type(changed.width), type(changed.rate)) == (int, float)


def test_large_whole_numbers_are_exact():
    # As a float it would be one less.
    seed = Option(0, "seed", most=2**60)
    assert seed.coerce(2**53 + 1, "seed") == 2**53 + 1
    assert seed.coerce(str(2**53 + 1), "seed") == 2**53 + 1


def test_a_whole_number_that_no_program_can_count_to_is_refused():
    width = Option(16, "a width", least=1)
    assert width.coerce(2**31 - 1, "width") == 2**31 - 1
    for value in (2**31, "1000000000000"):
        with pytest.raises(
            OptionError,
            match=r"width is \d+, but whole numbers are at most 2147483647: set width=16",
        ):
            width.coerce(value, "width")


@pytest.mark.parametrize("value", ["8", [1, 2], (1, "2"), (0,)])
def test_python_values_are_held_to_their_type(value):
    with pytest.raises(OptionError, match=r"^sizes is "):
        options.check(dataclasses.replace(Options(), sizes=value))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("batchsize", "did you mean batch_size?"),
        ("augmentation.xyzzy", "there are augmentation.p, augmentation.kinds."),
        ("xyzzy", "there are batch_size, width, "),
        ("p", "did you mean augmentation.p?"),
        ("augmentation", "there are batch_size, width, "),
        ("width.x", "did you mean width?"),
    ],
)
def test_names_that_there_are_not(name, hint):
    with pytest.raises(UnknownOption) as raised:
        options.override(Options(), {name: 1})
    assert str(raised.value).startswith(f"there is no option {name}; {hint}")


def test_a_subclass_keeps_the_meaning_and_the_limits_of_a_default_that_it_changes():
    rows = {row.name: row for row in options.describe(Options(rate=0.5))}
    assert rows["width"] == ("width", "whole number", 16, 16, "from 2 to 64", "channels")
    assert (rows["rate"].value, rows["rate"].default) == (0.5, 0.1)
    assert rows["augmentation.p"].default == 0.2
    assert list(rows)[-2:] == ["augmentation.p", "augmentation.kinds"]


def test_a_command_says_which_flag_to_set_and_leaves_out_what_it_cannot():
    error = OptionError(
        "batch_size",
        7,
        "it must divide",
        {"batch_size": ((4, 8), (8, 4))},
        {"train.devices": 1, "data.path": "a b"},
        {"other.x": 1},
    )
    with pytest.raises(OptionError) as raised, options.section("model"):
        raise error
    assert raised.value is error
    assert str(error) == (
        "model.batch_size is 7, but it must divide: set model.batch_size=((4, 8), (8, 4)) or train.devices=1 and"
        " data.path=a b or model.other.x=1."
    )
    assert errors.sentence(error, "train") == (
        "--config.model.batch_size is 7, but it must divide: set '--config.model.batch_size=(4,8),(8,4)' or"
        " --config.train.devices=1 and '--config.data.path=a b' or --config.model.other.x=1."
    )
    assert errors.sentence(error, "lipschitz") == "model.batch_size is 7, but it must divide."
    left = OptionError(
        None, None, "it is broken; repair it", {"strict": False}, lead=", or skip it"
    )
    left.move("data")
    assert errors.sentence(left, "train") == (
        "it is broken; repair it, or skip it: set --config.data.strict=false."
    )
    assert errors.sentence(left, "evaluate") == "it is broken; repair it."
    counts = OptionError(None, None, "too few", {"subset_size": 12, "train.evaluate_num": 12})
    assert errors.sentence(counts, "evaluate") == "too few: set --subset_size=12 and --num=12."
    assert errors.sentence(counts, "train") == "too few."
    moved = OptionError("data.path", "x", "there is no such file", {"data.path": "FILE"})
    assert errors.sentence(moved, "evaluate") == (
        "--config.data.path is 'x', but there is no such file: set --config.data.path=FILE."
    )


@pytest.mark.parametrize(
    "error",
    [
        OptionError("width", 1, "it is small", {"width": 2}, {"rate": 0.5}, lead=" or so"),
        UnknownOption("with", ["width"], 1),
        BadLabels("no labels"),
    ],
)
def test_a_changed_error_is_a_new_one_and_can_be_copied(error):
    sentence = str(error)
    for same in (error.changed(), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert same is not error
        assert (type(same), str(same), same.__dict__) == (type(error), sentence, error.__dict__)
    other = error.changed(option=None, problem="other", fixes=()).about("set")
    assert (other.problem, other.option, other.fixes) == ("set: other", None, ())
    assert error.in_words("<{}>").fixes == ()
    assert str(error) == sentence
    with pytest.raises(OptionError) as raised:
        raise error
    assert error.changed().__traceback__ is raised.tb


def test_many_options_are_listed_by_their_names():
    few = UnknownOption("model.x", [f"model.width_{i}" for i in range(3)])
    assert few.sentence(lambda name: f"--config.{name}").endswith(
        "there are --config.model.width_0, --config.model.width_1, --config.model.width_2."
    )
    many = UnknownOption("model.x", [f"model.width_{i}" for i in range(30)])
    text = many.sentence(lambda name: f"--config.{name}")
    assert text.startswith("there is no option --config.model.x; there are width_0, width_1, ")


def test_fixes_in_words_name_every_value():
    error = OptionError("name", "x", "there is none", {"name": "a"}, {"name": "b"})
    words = error.in_words("tfds:{}").about("tfds:x")
    assert str(words) == "tfds:x: there is none; the nearest is tfds:a or tfds:b."
    assert str(OptionError("name", "x", "there is none").in_words()) == (
        "name is 'x', but there is none."
    )


def test_values_of_files_are_named_with_their_file():
    with pytest.raises(OptionError) as raised, options.section("model", "mine.py"):
        options.override(Options(), {"width": 1})
    assert errors.sentence(raised.value, "train") == (
        "model.width in mine.py is 1, but it must be from 2 to 64: set --config.model.width=2."
    )


def test_options_of_tools_are_described_alike():
    (row,) = options.describe({"num": Option(8, "pictures", least=1)})
    assert row == ("num", "whole number", 8, 8, "at least 1", "pictures")


def test_an_option_without_a_meaning_is_refused_with_its_declaration():
    @dataclasses.dataclass(frozen=True)
    class Undeclared(Base):
        gamma: float = 0.5

    with pytest.raises(TypeError, match=r'gamma: float = option\(0.5, "what it means"\)'):
        options.check(Undeclared())
