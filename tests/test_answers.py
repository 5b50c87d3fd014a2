"""docs/questions: numbers are those that the code computes, plots show them, and what is said of them holds."""

import ast
import json
import math
import re
from pathlib import Path

import jax
import numpy as np
import pytest
import write_answers
from answers import answers

from jaxgan import models
from jaxgan.spec import Field, Spec

ROOT = Path(__file__).parents[1]
NAMES = tuple(answers())
# Trainings amplify rounding.
LOOSE = {"clipping": 0.1}


def stored(name):
    return json.loads(write_answers.numbers_file(name).read_text())


def leaves(numbers):
    return {
        jax.tree_util.keystr(path): np.asarray(leaf, float)
        for path, leaf in jax.tree_util.tree_leaves_with_path(
            numbers, is_leaf=lambda x: isinstance(x, list)
        )
    }


# Those that train take longest.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=pytest.mark.slow if name in ("clipping", "power_iteration") else ()
        )
        for name in NAMES
    ],
)
def test_stored_numbers_are_those_that_the_code_computes(name):
    """If this fails: python docs/write_answers.py NAME, and read what its page says again."""
    found = leaves(write_answers.plain(answers()[name].compute()))
    before = leaves(stored(name))
    assert found.keys() == before.keys()
    for path, values in before.items():
        largest = np.abs(values[np.isfinite(values)]).max(initial=1e-6)  # KL may be infinite
        np.testing.assert_allclose(
            found[path], values, atol=LOOSE.get(name, 0.01) * largest, err_msg=path
        )


@pytest.mark.parametrize("name", NAMES)
def test_plots_show_the_stored_numbers(name):
    """If this fails: python docs/write_answers.py NAME."""
    assert write_answers.drawn_from(name) == write_answers.digest(name)


def test_every_plot_is_on_a_page_and_has_numbers():
    pages = "".join(page.read_text() for page in write_answers.PAGES.glob("*.md"))
    assert set(re.findall(r"\((\w+)\.png\)", pages)) == set(NAMES)
    assert {file.stem for file in write_answers.PAGES.glob("*.png")} == set(NAMES)
    assert {file.stem for file in write_answers.PAGES.glob("numbers/*.json")} == set(NAMES)


# What the pages say ---------------------------------------------------------------------------------------------


def test_js_is_symmetric_and_bounded_and_kl_covers_both_modes():
    found = stored("kl_and_js")
    assert found["curves"]["JS(p, q)"] == pytest.approx(found["curves"]["JS(q, p)"], abs=1e-4)
    assert max(found["curves"]["JS(p, q)"]) < math.log(2)
    (forward, wide), (backward, narrow) = (
        found["nearest"][f"KL({o})"] for o in ("p || q", "q || p")
    )
    assert wide > 1.8
    assert abs(forward) < 0.6
    assert narrow < 0.8
    assert backward < -1.8
    assert abs(found["nearest"]["JS(p, q)"][0] - forward) < 0.2


def test_ascent_reaches_the_value_and_no_more():
    found = stored("optimal_critic")
    value, ascended = np.array(found["value"]), np.array(found["ascended"])
    assert (ascended <= value + 1e-4).all()
    np.testing.assert_allclose(ascended, value, atol=0.02)
    assert value[-1] == pytest.approx(-2 * math.log(2), abs=1e-3)


def test_beyond_one_only_wasserstein_has_a_slope():
    found = stored("disjoint_supports")
    far = np.abs(found["theta"]) > 1.05
    slopes = {n: np.array(curves["slope"])[far] for n, curves in found["distances"].items()}
    assert np.abs(slopes["Jensen-Shannon"]).max() < 1e-6
    assert np.abs(slopes["total variation"]).max() < 1e-6
    np.testing.assert_allclose(slopes["Wasserstein-1"], np.sign(found["theta"])[far], atol=1e-3)


def test_momentum_diverges_and_negative_momentum_converges():
    found = stored("momentum")
    negative, none, half, most = np.array(found["distance"])
    assert negative[-1] < 0.5 * negative[0]
    assert 0.8 < none[-1] / none[0] < 1.25
    assert most[-1] > half[-1] > 100
    assert found["ascending"][-1] > 0.1
    assert found["ascending"][1] == 0


def test_the_three_faults_of_clipping():
    found = stored("clipping")
    assert np.mean(found["cosine"][-100:]) < 0.7
    assert found["at_bound"] > 0.5
    assert found["shares"]["penalty"][0] + found["shares"]["penalty"][-1] < 0.1
    vanishing, kept, exploding = (norms[-1] / norms[0] for norms in found["gradients"].values())
    assert vanishing < 1e-6
    assert 1e-4 < kept < 1e4
    assert exploding > 1e2


def test_the_optimal_critic_has_slope_one_along_coupled_pairs_only():
    found = stored("interpolates")
    np.testing.assert_allclose(found["slope_coupled"], 1, atol=1e-3)
    assert np.mean(found["slope_others"]) < 0.9
    without, normalised = np.array(found["without"]), np.array(found["with"])
    others = ~np.eye(len(without), dtype=bool)
    assert without[others].max() == 0
    assert (normalised[others] > 0).all()


def test_flattened_norms_bound_convolutions_without_overlap_only():
    norms = stored("power_iteration")["norms"]
    assert norms["1x1, stride 1"] == pytest.approx(1, abs=0.01)
    assert norms["2x2, stride 2"] == pytest.approx(1, abs=0.01)
    assert min(norms[name] for name in ("3x3, stride 1", "4x4, stride 2", "5x5, stride 1")) > 1.1
    for error in stored("power_iteration")["errors"].values():
        assert error[-1] < 0.05 < error[0]


def test_slopes_of_the_generators_losses_where_the_critic_is_sure():
    found = stored("loss_curves")
    sure = {name: curves["slope of the generator's"][0] for name, curves in found.items()}
    assert abs(sure["minimax"]) < 0.02
    assert sure["non_saturating"] == pytest.approx(-1, abs=0.02)
    assert sure["hinge"] == sure["wasserstein"] == -1
    assert sure["least_squares"] == pytest.approx(-5, abs=1e-3)
    assert found["hinge"]["critic, real sample"][-1] == -1  # flat beyond the margin


def test_faults_that_scores_do_not_show():
    page = (write_answers.PAGES / "scores.md").read_text()
    found = stored("scores")
    perfect = found["perfect"]
    copies, collapsed = found["copies of the training set"], found["one picture per class"]
    assert copies["class score"] > perfect["class score"]
    assert copies["pooled features"] == pytest.approx(0, abs=1e-3)
    assert collapsed["class score"] > perfect["class score"]
    assert collapsed["pooled features"] > 2 * perfect["pooled features"]
    assert found["five classes only"]["class score"] < 0.7 * perfect["class score"]
    assert (
        f"{perfect['class score']:.1f} to {found['five classes only']['class score']:.1f}" in page
    )
    assert found["foreign classes"]["class score"] < 0.8
    shuffled = found["quarters shuffled"]
    ratios = {name: shuffled[name] / perfect[name] for name in perfect}
    assert ratios["features with places"] > ratios["pooled features"] > ratios["patches"] > 1


def test_what_normalisations_leave_of_a_label():
    found = stored("normalisations")
    left = found["difference"]
    assert max(left["instance"], left["batch"]) < 0.01
    assert min(left[name] for name in ("layer", "group", "batch of both", "adain", "spade")) > 0.1
    assert found["within"]["adain"] == pytest.approx(0, abs=1e-4)
    assert found["within"]["spade"] > 0.05


# Where tutorials are wrong --------------------------------------------------------------------------------------


def test_the_tests_that_are_named_exist():
    text = (ROOT / "docs" / "wrong_tutorials.md").read_text()
    named = re.findall(r"^- Test: `([^`]+)`$", text, re.MULTILINE)
    assert len(named) == len(re.findall("^## ", text, re.MULTILINE)) >= 10
    for test in named:
        file, *path = test.split("::")
        body = ast.parse((ROOT / file).read_text()).body
        for part in path:
            (body,) = (node.body for node in body if getattr(node, "name", "") == part)


def test_the_critic_under_a_gradient_penalty_has_no_batch_statistics():
    spec = Spec({"image": Field("image", (32, 32, 3))}, 100)
    model = models.load("wgan_gp")
    players = model.game(model.Options(), spec).players
    shapes = {name: jax.eval_shape(players[name].init, jax.random.key(0)) for name in players}
    assert "batch_stats" not in shapes["critic"]
    assert "batch_stats" in shapes["generator"]


def test_every_system_has_a_paragraph_a_diagram_and_a_command():
    text = (ROOT / "docs" / "systems.md").read_text()
    for model in models.names():
        assert f"(models/{model}.rst)" in text
        assert f"(diagrams/{model}.svg)" in text
        assert re.search(rf"^jaxgan train --config {model}_\w+$", text, re.MULTILINE), model
