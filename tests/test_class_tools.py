"""Class sheets and walks between classes of a conditional generator, run as from the terminal."""

import jax
import numpy as np
import pytest
from models import same_weights

from jaxgan.engine import Engine
from jaxgan.models import biggan
from jaxgan.options import OptionError
from jaxgan.spec import Field, Spec
from jaxgan.train import make

K, LATENT = 12, 4
LABEL = Field("label", number=K, names=tuple("abcdefghijkl"))


def game(label=LABEL, **changes):
    spec = Spec({"image": Field("image", (8, 8, 1)), "label": label}, 100)
    options = {"latent_dim": LATENT, "width": 1, "class_embedding_dim": 3, "batch_size": 4}
    return biggan.game(biggan.Options(**options, **changes), spec)


@pytest.fixture(scope="module")
def engine():
    return Engine(game())


@pytest.fixture(scope="module")
def state(engine):
    return same_weights.state_by_rule(engine)


@pytest.fixture(scope="module")
def pictures(engine, state):
    """(latent, label) -> the generator's pictures."""
    generator = engine.game.networks(state)["generator"]
    painted = jax.jit(lambda latent, label: generator(latent, label, train=False))

    def of(latent, label):
        return np.asarray(painted(np.asarray(latent), np.asarray(label, np.int32)))

    return of


def run(engine, state, tool, **options):
    return make(engine, state, tool, options=options)


@pytest.mark.parametrize("same", [False, True])
def test_each_row_of_a_sheet_is_of_its_class(engine, state, pictures, same):
    chosen = (3, 0, 11)
    made = run(engine, state, "classes", classes=chosen, columns=4, same_latents=same)
    assert made.columns == 4
    assert made.pictures.shape == (12, 8, 8, 1)
    np.testing.assert_array_equal(made.arrays["label"], np.repeat(chosen, 4))
    expected = pictures(made.arrays["z"], made.arrays["label"])
    np.testing.assert_allclose(made.pictures, expected, atol=1e-5)
    rows = made.arrays["z"].reshape(3, 4, LATENT)
    assert len(np.unique(rows.reshape(-1, LATENT), axis=0)) == (4 if same else 12)
    if same:
        np.testing.assert_array_equal(rows[0], rows[2])
        assert np.abs(made.pictures[:4] - made.pictures[4:8]).max() > 1e-3


def test_a_sheet_shows_up_to_ten_classes_spread_over_all(engine, state):
    made = run(engine, state, "classes", columns=1, truncation=0.4)
    assert np.abs(made.arrays["z"]).max() <= 0.4
    found = made.arrays["label"].tolist()
    assert found == sorted(set(found))
    assert (len(found), found[0], found[-1]) == (10, 0, K - 1)


def test_a_walk_starts_and_ends_with_the_generators_pictures_of_the_classes(
    engine, state, pictures
):
    made = run(engine, state, "between_classes", start=2, end=7, rows=3, columns=5)
    assert made.columns == 5
    walk = made.pictures.reshape(3, 5, 8, 8, 1)
    z = made.arrays["z"].reshape(3, 5, LATENT)
    np.testing.assert_array_equal(z, np.repeat(z[:, :1], 5, axis=1))
    for column, label in ((0, 2), (-1, 7)):
        expected = pictures(z[:, column], np.full(3, label))
        np.testing.assert_allclose(walk[:, column], expected, atol=1e-5)
    embedding = made.arrays["embedding"].reshape(3, 5, -1)
    middle = (embedding[:, 0] + embedding[:, -1]) / 2
    np.testing.assert_allclose(embedding[:, 2], middle, rtol=1e-5)
    assert all(np.abs(np.diff(walk, axis=1)).max((0, 2, 3, 4)) > 1e-4)


@pytest.mark.parametrize("label", [0, K - 1])
def test_a_walk_needs_two_classes(engine, state, label):
    with pytest.raises(OptionError, match="a walk needs two different classes: set end=") as raised:
        run(engine, state, "between_classes", start=label, end=label)
    (fix,) = raised.value.fixes
    run(engine, state, "between_classes", start=label, rows=1, columns=2, **fix)


@pytest.mark.parametrize(
    ("tool", "options"), [("classes", {"classes": (K,)}), ("between_classes", {"start": -1})]
)
def test_a_class_that_is_not_there_is_refused(engine, state, tool, options):
    with pytest.raises(OptionError):
        run(engine, state, tool, **options)


def test_help_names_the_classes(engine):
    options = engine.game.tools["classes"].options
    assert (
        "classes (0 a, 1 b, 2 c, 3 d, 4 e, 5 f, 6 g, 7 h, 8 i, 9 j, ...)"
        in options["classes"].meaning
    )


def test_tools_are_those_that_the_data_allow():
    assert "classes" in game().tools
    one = game(Field("label", number=1)).tools
    assert "classes" in one
    assert "between_classes" not in one  # there are no two classes to walk between
    assert not {"classes", "between_classes"} & set(game(conditional=False).tools)
