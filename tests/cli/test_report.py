"""`jaxgan report`: what the page of one run and of several holds, in the files and in a browser."""

import json
import shutil

import numpy as np
import pytest
from html_pages import read
from PIL import Image

from jaxgan.cli.main import main
from jaxgan.cli.pages import plots, runs

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
TINY = [
    *("--config.model.batch_size=8", "--config.model.generator_width=8"),
    *("--config.model.critic_width=8", "--config.train.devices=1", "--config.train.grid=4"),
    *("--config.train.steps=4", "--config.train.sample_every=2", "--config.train.log_every=1"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that was diagnosed and bounded."""
    workdir = tmp_path_factory.mktemp("runs") / "trained"
    assert main(["train", "--config", "sngan_digits", *TINY, "--workdir", str(workdir)]) == 0
    assert main(["diagnose", "--workdir", str(workdir), "--num", "200"]) == 0
    assert main(["lipschitz", "--workdir", str(workdir), "--num", "2"]) == 0
    return workdir


def evaluation(step, distance, num_fake=100):
    protocol = {
        "name": "quick",
        "num_fake": num_fake,
        "num_real": 50,
        "data": "digits",
        "features": "pixels",
    }
    return {
        "fd_pixels": distance,
        "better": {"fd_pixels": "lower"},
        "protocol": protocol,
        "measured": {"step": step, "kimg": step / 10},
    }


@pytest.fixture
def written(tmp_path):
    """Makes the folder of a run that was not trained: {option of the model: value}, its evaluations and metrics."""

    def write(name, evaluations=(), metrics=(), **options):
        folder = tmp_path / name
        (folder / "samples").mkdir(parents=True)
        config = {
            "model": {"name": "sngan", **options},
            "data": {"name": "digits"},
            "train": {"steps": 40},
        }
        (folder / "config.json").write_text(
            json.dumps(
                {"config": config, "spec": {"fields": {}, "size": 1}, "data": "<b>digits</b>"}
            )
        )
        for file, rows in (("evaluations", evaluations), ("metrics", metrics)):
            (folder / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        for step in range(0, 40, 2):
            Image.new("L", (4, 4), step).save(folder / "samples" / f"{step:08d}.png")
        Image.new("L", (4, 4)).save(folder / "samples.png")
        return folder

    return write


def report(*arguments, capsys):
    """(exit code, standard error)."""
    capsys.readouterr()
    code = main(["report", *map(str, arguments)])
    return code, capsys.readouterr().err


def test_the_page_of_a_run_that_was_measured(trained, capsys):
    assert report("--workdir", trained, capsys=capsys) == (0, "")
    _, words = read(trained / "report.html")
    for heading in (
        "Pictures",
        "Curves",
        "Lipschitz constant of the critic",
        "Diagnosis",
        "Config",
    ):
        assert heading in words
    assert "4 of 4" in words
    assert "Are training examples repeated?" in words
    assert "environment jaxgan" in words
    assert "block0/conv0" in words
    # Only what was not done is said to be missing.
    assert "What else can be shown" in words
    assert f"jaxgan evaluate --workdir {trained}" in words
    assert f"jaxgan diagnose --workdir {trained}" not in words


def test_the_commands_that_it_names_add_what_is_missing(trained, capsys):
    report("--workdir", trained, capsys=capsys)
    _, words = read(trained / "report.html")
    assert "Scores: jaxgan evaluate" in words
    shown = ["evaluate", "--workdir", str(trained), "--num", "100"]
    assert main(shown) == 0
    report("--workdir", trained, capsys=capsys)
    _, words = read(trained / "report.html")
    assert "Protocol" in words
    assert "What else can be shown" not in words


def test_a_diagnosis_without_its_arrays_is_left_out(trained, tmp_path, capsys):
    moved = tmp_path / "moved"
    shutil.copytree(trained, moved)
    (moved / "diagnosis.npz").unlink()
    report("--workdir", moved, capsys=capsys)
    _, words = read(moved / "report.html")
    assert f"jaxgan diagnose --workdir {moved}" in words


def test_several_runs_side_by_side(written, tmp_path, monkeypatch, capsys):
    metrics = [{"step": s, "kimg": s / 10, "critic/loss": 1.0} for s in (10, 20)]
    a = written("a", [evaluation(10, 9.0), evaluation(20, 4.0)], metrics, width=8, depth=3)
    b = written("b", [evaluation(20, 3.0)], metrics, width=16, depth=3)
    c = written("c", [evaluation(20, 1.0, num_fake=7)], width=16, depth=3)
    monkeypatch.chdir(tmp_path)
    assert report(a, b, c, capsys=capsys) == (0, "")
    page, words = read(tmp_path / "report.html")
    assert "Report of 3 runs" in words
    assert "Options that differ a b c model.width 8 16 16" in words
    assert "Options that agree a b c" in words
    # Best among equal protocols only, and each run by its last result.
    assert "There are 2 protocols" in words
    assert "a, step 20 b, step 20 fd_pixels (lower is better) 4 3 (best)" in words
    assert "c, step 20 fd_pixels (lower is better) 1 The protocol" in words
    # 16 of 20 pictures of each run, with the first and the last.
    pictures = [link for link in page.links if link.startswith("data:image/png")]
    assert len(pictures) == 3 * runs.GRIDS


def test_a_run_that_has_only_begun(written, capsys):
    folder = written("new")
    shutil.rmtree(folder / "samples")
    with (folder / "metrics.jsonl").open("w") as file:
        file.write('{"step": 1, "kim')  # cut off by a kill
    assert report("--workdir", folder, capsys=capsys) == (0, "")
    _, words = read(folder / "report.html")
    assert "0 of 40" in words
    assert "Pictures" not in words


def test_what_files_hold_does_not_become_code(written, capsys):
    bad = "<script>alert(1)</script>"
    metrics = [{"step": s, "kimg": s, f"{bad}/loss": 1.0, "a$b$/loss": 2.0} for s in (1, 2)]
    folder = written("bad", [{**evaluation(1, 2.0), bad: 3.0}], metrics, **{bad: bad})
    assert report("--workdir", folder, capsys=capsys) == (0, "")
    text = (folder / "report.html").read_text()
    assert bad not in text
    assert "<b>digits" not in text
    _, words = read(folder / "report.html")
    assert words.count(bad) > 2


def test_numbers_that_are_not_finite_are_not_drawn(written, capsys):
    rows = [
        {"step": s, "kimg": s, "critic/loss": x} for s, x in enumerate([1.0, float("nan"), 2.0])
    ]
    folder = written("nan", [evaluation(1, float("nan"))], rows)
    assert report("--workdir", folder, capsys=capsys) == (0, "")
    assert "critic/loss 2" in read(folder / "report.html")[1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "report needs the folder of a run; give --workdir DIR, or several folders."),
        (
            ["nowhere"],
            "there is no run in nowhere; give the folder of a run, as of jaxgan train --workdir.",
        ),
        (["a", "./a"], "a is given twice; give each run once."),
        (
            ["a", "--out", "no/page.html"],
            "there is no folder no to put page.html into; create it first.",
        ),
    ],
)
def test_wrong_input_is_a_sentence(written, tmp_path, monkeypatch, capsys, arguments, sentence):
    written("a")
    monkeypatch.chdir(tmp_path)
    code, said = report(*arguments, capsys=capsys)
    assert (code, said) == (2, f"jaxgan: {sentence}\n")
    assert not list(tmp_path.rglob("*.html"))
    # The way out.
    (tmp_path / "no").mkdir()
    assert report("a", "--out", "no/page.html", capsys=capsys)[0] == 0


def test_long_curves_are_averaged():
    x = np.arange(10_000.0)
    thin = plots.thinned(x)
    assert len(thin) <= plots.POINTS
    assert thin[0] == x[:17].mean()
    np.testing.assert_array_equal(plots.thinned(x[:600]), x[:600])


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_in_a_browser_sliders_work_and_nothing_is_out_of_reach(trained, written, tmp_path, capsys):
    playwright = pytest.importorskip("playwright.sync_api")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    metrics = [{"step": s, "kimg": s / 10, "critic/loss": 1.0} for s in (10, 20)]
    other = written("other", [evaluation(10, 9.0)], metrics, width=8)
    page_of = {"one": [trained], "two": [trained, other]}
    for name, folders in page_of.items():
        assert report(*folders, "--out", tmp_path / f"{name}.html", capsys=capsys)[0] == 0
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name in page_of:
            for scheme, width in (("light", 1280), ("dark", 400)):
                page = browser.new_page(
                    viewport={"width": width, "height": 900}, color_scheme=scheme
                )
                errors = []
                page.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
                page.goto((tmp_path / f"{name}.html").as_uri())
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                found = axe.Axe().run(page).response["violations"]
                assert [violation["id"] for violation in found] == []
                page.locator("input[type=range]").first.focus()
                page.keyboard.press("Home")
                assert page.locator("output").first.text_content() == "step 0"
                shown = page.locator("[data-grid]").first.locator("img:visible")
                assert shown.count() == 1
                assert shown.get_attribute("data-step") == "0"
                assert errors == []
                page.close()
        browser.close()
