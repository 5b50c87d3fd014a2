"""The widgets: a control's value gives the picture that the public function gives; the canvas in a browser."""

import base64
import dataclasses
import io
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgan import config, widgets
from jaxgan.game import LATENT_GUIDED, REFERENCE, REFERENCE_GUIDED, TARGET
from jaxgan.options import OptionError, UnknownOption
from jaxgan.train import make, make_engine, report, sample, transform
from jaxgan.widgets.canvas import Canvas

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
TINY = {
    "gan_digits": ["model.latent_dim=4"],
    "biggan_digits": [
        "data.resolution=8",
        "model.latent_dim=4",
        *(f"model.{name}=4" for name in ("width", "critic_width", "class_embedding_dim")),
    ],
    "stylegan2_digits": ["model.channel_base=32", "model.channel_max=4", "model.mapping_layers=1"],
    "stargan2_digits": [
        "data.resolution=8",
        "model.downs=1",
        *(f"model.{name}=4" for name in ("width", "width_max", "mapping_width")),
    ],
    "spade_digits": [
        "data.resolution=16",
        "model.doublings=1",
        *(f"model.{name}=2" for name in ("width", "critic_width", "spade_hidden", "critic_layers")),
    ],
    "singan_china": ["model.features=4", "data.max_side=24", "model.min_size=12"],
}


@pytest.fixture(scope="module")
def untrained():
    """name of a config -> (engine, a state, source), with small networks whose weights are random."""
    found = {}

    def of(name):
        if name not in found:
            cfg = config.load(name, [*TINY[name], "train.devices=1"])
            source = config.open_data(cfg)
            engine = make_engine(config.make_run(cfg, source.spec).game, cfg.train, cfg.seed)
            found[name] = engine, filled(engine.state_shape), source
        return found[name]

    return of


def filled(shapes):
    """A state of random weights, which unlike the initial one is not compiled."""
    rng = np.random.default_rng(0)

    def values(leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.zeros(leaf.shape, leaf.dtype)
        drawn = rng.normal(0, 2.0, leaf.shape) / np.sqrt(max(np.prod(leaf.shape[:-1]), 1))
        return jnp.asarray(drawn if leaf.ndim > 1 else abs(drawn), leaf.dtype)  # variances too

    return jax.tree.map(values, shapes)


def png(pictures, columns):
    file = io.BytesIO()
    report.grid(np.asarray(pictures), columns).save(file, format="PNG")
    return file.getvalue()


def assert_follows(panel, changes, expected):
    """`changes` of the panel's controls change its picture into `expected`, (pictures, columns)."""
    before = panel.picture.value
    for name, value in changes.items():
        panel.controls[name].value = value
    assert panel.message.value == ""
    assert panel.picture.value != before
    assert panel.picture.value == png(*expected)


@pytest.mark.parametrize("name", ["gan_digits", "stylegan2_digits"])
def test_a_walk_between_the_latents_of_two_seeds(untrained, name):
    engine, state, _ = untrained(name)
    panel = widgets.walk(engine, state, frames=4)
    options = {"seeds": (3, 7), "frames": 4, "loop": False}
    film = make(engine, state, "interpolation", options=options).pictures
    assert_follows(panel, {"start": 3, "end": 7, "t": 0.25}, (film[1:2], 1))
    assert_follows(panel, {"t": 1.0}, (film[4:], 1))
    back = make(engine, state, "interpolation", options=options | {"seeds": (7, 3)}).pictures
    np.testing.assert_allclose(back[0], film[4], atol=1e-5)


@pytest.mark.parametrize(("name", "least"), [("stylegan2_digits", 0.0), ("biggan_digits", 0.05)])
def test_truncation(untrained, name, least):
    engine, state, _ = untrained(name)
    panel = widgets.truncation(engine, state, num=4)
    assert panel.controls["truncation"].min == least
    made = sample(engine, state, 4, seed=5, truncation=0.35)["image"]
    assert_follows(panel, {"seed": 5, "truncation": 0.35}, (made, 0))


def test_sizes_and_scales_of_a_pyramid(untrained):
    engine, state, source = untrained("singan_china")
    panel = widgets.sizes(engine, state)
    height, width, _ = source.spec.shape
    for scale in (0, 1):
        options = {"num": 1, "height": 1.0, "width": 2.0, "scale_from": scale}
        made = make(engine, state, "sample", seed=2, options=options).pictures
        assert made.shape == (1, height, 2 * width, 3)
        changes = {"width": 2.0, "seed": 2, "scale_from": scale}
        assert_follows(panel, changes, (made, 1))


def test_paintings_follow_the_canvas(untrained):
    engine, state, source = untrained("spade_digits")
    panel = widgets.paint(engine, state, samples=2)
    canvas = panel.controls["label_map"]
    names = source.spec["label_map"].names
    assert (canvas.labels, len(canvas.colours)) == (list(names), len(names))
    assert canvas.colours[:3] == ["#000000", "#800000", "#008000"]
    painted = np.zeros((16, 16), np.int32)
    painted[4:9, 6:12] = 3
    options = {"samples": 2}
    expected = make(
        engine, state, "paint", seed=0, pictures={"label_map": painted}, options=options
    )
    before = panel.picture.value
    canvas.pixels = painted.astype(np.uint8).tobytes()  # as the browser does
    np.testing.assert_array_equal(canvas.value, painted)
    assert panel.picture.value == png(expected.pictures, 2) != before
    canvas.value = np.zeros((16, 16), np.uint8)
    assert canvas.pixels == bytes(16 * 16)
    assert panel.picture.value == before


def test_more_labels_than_colours_are_refused_and_painted_without_a_canvas():
    cfg = config.load("spade_digits", [*TINY["spade_digits"], "train.devices=1"])
    spec = config.open_data(cfg).spec
    label_map = dataclasses.replace(spec["label_map"], number=300, names=())
    spec = dataclasses.replace(spec, fields={**spec.fields, "label_map": label_map})
    engine = make_engine(config.make_run(cfg, spec).game, cfg.train, cfg.seed)
    state, painted = filled(engine.state_shape), np.full((16, 16), 299, np.int32)
    with pytest.raises(ValueError, match="300 labels, but a canvas paints 256 at most; give a map"):
        widgets.paint(engine, state, painted)
    assert len(make(engine, state, "paint", pictures={"label_map": painted}).pictures)


def test_translations_guided_by_latents_and_references(untrained):
    engine, state, source = untrained("stargan2_digits")
    panel = widgets.references(engine, state, source)
    examples = source.gather(np.array([2, 5]))
    image, reference = np.split(examples["image"], 2)
    shown = examples["image"] / np.float32(127.5) - 1
    batch = {"image": image, TARGET: np.int32([4])}
    made = transform(engine, state, batch, jax.random.key(6), output=LATENT_GUIDED)
    changes = {"picture": 2, "domain": 4, "seed": 6}
    assert_follows(panel, changes, (np.concatenate([shown[:1], made]), 2))
    batch |= {TARGET: examples["label"][1:], REFERENCE: reference}
    made = transform(engine, state, batch, jax.random.key(0), output=REFERENCE_GUIDED)
    changes = {"guide": REFERENCE_GUIDED, "reference": 5}
    assert_follows(panel, changes, (np.concatenate([shown, made]), 3))


def test_a_stored_panel_is_its_picture(untrained):
    engine, state, _ = untrained("gan_digits")
    panel = widgets.walk(engine, state, frames=1)
    bundle = panel._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/plain"] == "Panel(start, end, t)"
    assert base64.b64decode(bundle["image/png"]) == panel.picture.value
    assert Image.open(io.BytesIO(panel.picture.value)).size == (256, 256)


def test_a_problem_is_shown_and_goes_with_the_next_value():
    from jaxgan.widgets.panel import Panel, whole

    def made(number):
        if number == 1:
            raise ValueError("1 is too few.")
        return np.full((1, 2, 2, 1), number, np.uint8), 1

    panel = Panel(made, {"number": whole(0, 2, 0)})
    panel.controls["number"].value = 1
    assert (panel.message.value, panel.picture.value) == ("1 is too few.", png(*made(0)))
    panel.controls["number"].value = 2
    assert (panel.message.value, panel.picture.value) == ("", png(*made(2)))


def test_a_run_without_what_a_widget_shows(untrained):
    engine, state, source = untrained("gan_digits")
    with pytest.raises(UnknownOption, match="there is no option truncation"):
        widgets.truncation(engine, state)
    with pytest.raises(ValueError, match="there is no tool 'sample'"):
        widgets.sizes(engine, state)
    with pytest.raises(ValueError, match="there is no tool 'paint'"):
        widgets.paint(engine, state)
    with pytest.raises(ValueError, match=r"no output 'latent', only samples; take .* stargan2"):
        widgets.references(engine, state, source)
    with pytest.raises(OptionError, match="frames is 0, but it must be at least 1"):
        widgets.walk(engine, state, frames=0)


@pytest.mark.parametrize("package", ["ipywidgets", "anywidget"])
def test_a_missing_package_is_named_with_its_extra(untrained, monkeypatch, package):
    engine, state, _ = untrained("spade_digits")
    for name in [n for n in sys.modules if n.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("panel", "canvas"):
        monkeypatch.delitem(sys.modules, f"jaxgan.widgets.{name}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError) as error:
        widgets.paint(engine, state)
    assert str(error.value) == (
        f"this widget needs the package {package}, which is not installed ({widgets.INSTALL[package]}); the extra"
        " 'notebooks' of jaxgan brings it."
    )


PAGE = """<!doctype html><html lang="en"><title>canvas</title><main id="root"></main><script type="module">
import canvas from "./canvas.js";
const state = %s, heard = {};
state.pixels = new DataView(new Uint8Array(state.pixels).buffer);
window.saved = 0;
const model = {
  get: (name) => state[name],
  set: (name, value) => { state[name] = value; (heard[`change:${name}`] ?? []).forEach((f) => f()); },
  save_changes: () => { window.saved++; },
  on: (event, f) => { (heard[event] ??= []).push(f); },
  off: () => {},
};
window.model = model;
window.map = () => [...new Uint8Array(state.pixels.buffer)];
canvas.render({ model, el: document.getElementById("root") });
window.ready = true;
</script></html>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_painting_in_a_browser(tmp_path):
    import http.server
    import json
    import threading
    from functools import partial

    playwright = pytest.importorskip("playwright.sync_api")
    start = np.zeros((8, 16), np.uint8)
    start[7] = 2
    canvas = Canvas(start, np.uint8([[0, 0, 0], [255, 0, 0], [0, 0, 255]]), ["paper", "ink", "sky"])
    names = ("height", "width", "labels", "colours", "label", "brush")
    state = {name: getattr(canvas, name) for name in names} | {"pixels": list(canvas.pixels)}
    (tmp_path / "page.html").write_text(PAGE % json.dumps(state))
    shutil.copy(Path(widgets.__file__).with_name("canvas.js"), tmp_path)
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    handler.log_message = lambda *args: None
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        playwright.sync_playwright() as started,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/page.html")
        page.wait_for_function("window.ready")
        box = page.locator("canvas").bounding_box()
        scale = 20  # of 320 pixels for 16
        assert_colour(page, 10, 150, (0, 0, 255))
        assert_colour(page, 10, 10, (0, 0, 0))
        page.evaluate("window.model.set('brush', 1)")
        page.mouse.move(box["x"] + 2.5 * scale, box["y"] + 1.5 * scale)
        page.mouse.down()
        page.mouse.move(box["x"] + 9.5 * scale, box["y"] + 1.5 * scale)
        assert page.evaluate("window.saved") == 0
        page.mouse.up()
        assert page.evaluate("window.saved") == 1
        expected = start.copy()
        expected[1, 2:10] = 1
        painted = page.evaluate("window.map()")
        np.testing.assert_array_equal(np.reshape(painted, start.shape), expected)
        assert_colour(page, 110, 30, (255, 0, 0))
        page.get_by_label("label", exact=False).first.select_option("sky")
        page.get_by_role("button").click()
        assert set(page.evaluate("window.map()")) == {2}
        browser.close()
        server.shutdown()
    canvas.pixels = bytes(painted)
    np.testing.assert_array_equal(canvas.value, expected)


def assert_colour(page, x, y, colour):
    """The colour of a pixel of the canvas on the page."""
    read = "([x, y]) => [...document.querySelector('canvas').getContext('2d').getImageData(x, y, 1, 1).data]"
    assert tuple(page.evaluate(read, [x, y])[:3]) == colour
