"""The site is built with warnings as errors and without a network; diagrams are drawn from games."""

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import api_pages
import model_pages
import plain_docstrings
import pytest
import turn_diagram

from jaxgan import models

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        # A proxy that is not there: whatever asks the network fails.
        **dict.fromkeys(("http_proxy", "https_proxy"), "http://localhost:1"),
    }
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    command += ["-d", str(tmp_path / "doctrees"), str(ROOT / "docs"), str(tmp_path / "html")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = {str(page.relative_to(tmp_path / "html")) for page in tmp_path.rglob("*.html")}
    assert {f"models/{name}.html" for name in models.names()} <= pages
    assert {f"api/{name}.html" for name in api_pages.names()} <= pages
    stylegan2 = (tmp_path / "html" / "models" / "stylegan2.html").read_text()
    for text in ("Karras et al. 2020", "FID 2.42", "path_weight", "projection", "stylegan2.svg"):
        assert text in stylegan2, text
    chinese = (tmp_path / "html" / "zh" / "questions" / "losses.html").read_text()
    assert '<html lang="zh-CN"' in chinese
    assert "判别器" in chinese
    losses = (tmp_path / "html" / "api" / "losses.html").read_text()
    assert 'id="jaxgan.losses.cycle"' in losses


def test_a_docstring_becomes_markup_only_where_it_means_it():
    text = """A sum of |x| * y_, for `axis`s.

        f(x) = |x|

    Args:
      x: [B], `2 * x` with |x| < 1.

    Source: A, B and C,
      Section 2.

    >>> f(1)
    1
    """
    assert plain_docstrings.rest(text) == [
        "A sum of \\|x\\| \\* y\\_, for `axis`\\ s.",
        "",
        "",
        "::",
        "",
        "   f(x) = |x|",
        "",
        "",
        "",
        "Args:",
        "  x: [B], ``2 * x`` with \\|x\\| < 1.",
        "",
        "",
        "Source: A, B and C,",
        "Section 2.",
        "",
        "",
        ">>> f(1)",
        "1",
        "",
    ]


def test_a_diagram_shows_all_players_and_turns():
    game = model_pages.game_of("stylegan2_digits")
    tree = ElementTree.fromstring(turn_diagram.svg(game))
    texts = [element.text for element in tree.iter("{http://www.w3.org/2000/svg}text")]
    turns = game.stages[0].turns
    for name in (*game.players, *(turn.name for turn in turns)):
        assert any(text.startswith(name) for text in texts), name
    dots = list(tree.iter("{http://www.w3.org/2000/svg}circle"))
    assert len(dots) == sum(len(turn.players) for turn in turns)
    assert any(re.fullmatch(r"every \d+ rounds", text) for text in texts)


def test_stages_with_the_same_turns_are_drawn_once():
    game = model_pages.game_of("progressive_digits")
    assert len(game.stages) > 2
    assert len(turn_diagram.groups(game)) < len(game.stages)
    singan = model_pages.game_of("singan_china")
    assert len(turn_diagram.groups(singan)) == len(singan.stages)


def test_a_page_states_what_the_docstrings_say():
    configs = model_pages.configs_of("wgan_gp")
    assert [of.name for of in configs][-1] == "wgan_gp_cifar10"
    page = model_pages.page("wgan_gp", configs, model_pages.game_of("wgan_gp_digits"))
    for text in ("FID 22.29", "penalty_weight", "The critic has no batch normalisation", ":Cost:"):
        assert text in page
