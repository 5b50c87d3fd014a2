"""Grids, plots, metrics files."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from jaxgan.train import plot_metrics, read_metrics, report, save_grid


def pixels(path):
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture)


def test_tile_puts_pictures_row_by_row_with_white_gaps():
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 1), np.uint8)
    grid = report.tile(images, columns=2)
    assert grid.shape == (3 * 2 + 2, 2 * 3 + 1, 1)
    corners = grid[::3, ::4, 0]
    assert corners.tolist() == [[0, 1], [2, 3], [4, 255]]  # the sixth place stays empty
    assert (grid[2] == 255).all()
    assert (grid[:, 3] == 255).all()


@pytest.mark.parametrize(("num", "columns"), [(1, 1), (4, 2), (5, 3), (64, 8), (65, 9)])
def test_tile_is_about_square_by_default(num, columns):
    flat = report.tile(np.zeros((num, 2, 8, 3), np.uint8), gap=0)
    assert flat.shape[1] == 8 * math.ceil(math.sqrt(num / 4))
    grid = report.tile(np.zeros((num, 4, 4, 3), np.uint8), gap=0)
    assert grid.shape == (4 * math.ceil(num / columns), 4 * columns, 3)


@pytest.mark.parametrize(("channels", "shape"), [(1, ()), (3, (3,))])
def test_a_grid_of_pictures_is_a_png_of_the_same_pixels_enlarged(tmp_path, channels, shape):
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, channels), np.uint8)
    save_grid(tmp_path / "grid.png", images)
    picture = pixels(tmp_path / "grid.png")
    # 17 pixels a side, enlarged by the whole number that makes it at least 256.
    assert picture.shape == (17 * 16, 17 * 16, *shape)
    assert (picture[::16, ::16].reshape(17, 17, channels) == report.tile(images)).all()


@pytest.mark.parametrize(
    "names", [("a", "b", "c"), ("a class of long name", "another class", "eine Übergröße")]
)
def test_a_grid_of_classes_has_a_column_for_each_with_its_name_above(tmp_path, names):
    images = np.random.default_rng(0).integers(0, 255, (7, 64, 64, 3), np.uint8)
    save_grid(tmp_path / "titled.png", images, classes=names)
    save_grid(tmp_path / "plain.png", images, columns=3)
    titled, plain = pixels(tmp_path / "titled.png"), pixels(tmp_path / "plain.png")
    strip = len(titled) - len(plain)
    assert (titled[strip:] == plain).all()
    # Something dark above each column, and white between them.
    ink = (titled[:strip] < 128).any((0, 2))
    width = len(ink) / 3
    assert all(ink[round(i * width) : round((i + 1) * width)].any() for i in range(3))
    assert not ink[[0, round(width), round(2 * width), -1]].any()
    # Names that are wider than their columns are turned to the side.
    assert (strip > 64) == (len(names[0]) > 1)


def test_a_grid_with_fewer_pictures_than_classes_has_no_titles(tmp_path):
    images = np.zeros((4, 64, 64, 3), np.uint8)
    save_grid(tmp_path / "titled.png", images, classes=tuple("abcde"))
    save_grid(tmp_path / "plain.png", images)
    assert (pixels(tmp_path / "titled.png") == pixels(tmp_path / "plain.png")).all()


def test_float_pictures_are_quantised_from_minus_one_to_one(tmp_path):
    images = np.array([-1.0, 0.0, 1.0, 9.0], np.float32)[:, None, None, None]
    save_grid(tmp_path / "grid.png", np.broadcast_to(images, (4, 300, 300, 1)), columns=4)
    picture = pixels(tmp_path / "grid.png")
    assert picture.shape == (300, 4 * 301 - 1)  # large enough as it is
    assert picture[0, ::301].tolist() == [0, 128, 255, 255]


def test_points_become_a_scatter_plot(tmp_path):
    for name, points in (
        ("a", np.zeros((9, 2))),
        ("b", np.full((9, 2), [[3.0, 1.0]])),
        ("c", np.zeros((9, 1))),
    ):
        save_grid(tmp_path / f"{name}.png", points.astype(np.float32))
        assert pixels(tmp_path / f"{name}.png").shape[:2] == (500, 500)
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


def rows(count):
    return [
        {
            "kimg": step * 0.008,
            "critic/loss": 2.0 - step,
            "critic/real": 0.5,
            "critic/fake": -0.5,
            "step": step,
        }
        for step in range(1, count + 1)
    ]


def test_the_plot_shows_losses_and_logits_against_kimg():
    table = rows(4)
    table[2]["lazy/loss"] = 7.0  # a turn that was not played in every window
    losses, logits = plot_metrics("nowhere", table).axes
    lines = {line.get_label(): line for line in (*losses.lines, *logits.lines)}
    assert lines.keys() == {"critic/loss", "lazy/loss", "critic/real", "critic/fake"}
    assert lines["critic/loss"].get_xdata() == pytest.approx([0.008, 0.016, 0.024, 0.032])
    assert lines["critic/loss"].get_ydata() == pytest.approx([1, 0, -1, -2])
    assert lines["lazy/loss"].get_xydata() == pytest.approx(np.array([[0.024, 7.0]]))
    assert "kimg" in losses.get_xlabel()


def test_the_plot_of_many_turns_gives_those_that_differ_in_a_number_one_colour():
    """Nine scales that are trained one after the other: two names in the legend, and a colour for each."""
    table = [
        {
            "kimg": float(10 * scale + i),
            f"critic{scale}/loss": float(i),
            f"generator{scale}/loss": -1.0 - i,
            f"critic{scale}/real": 1.0,
            f"critic{scale}/fake": 2.0,
        }
        for scale in range(9)
        for i in range(3)
    ]
    losses, logits = plot_metrics("nowhere", table).axes
    assert [text.get_text() for text in losses.get_legend().texts] == [
        "critic*/loss",
        "generator*/loss",
    ]
    assert len(losses.lines) == 18
    colours = {name: set() for name in ("critic", "generator")}
    for line in losses.lines:
        colours["generator" if line.get_ydata()[0] < 0 else "critic"].add(line.get_color())
    assert {len(found) for found in colours.values()} == {1}
    assert colours["critic"] != colours["generator"]
    assert [text.get_text() for text in logits.get_legend().texts] == [
        "critic*/fake",
        "critic*/real",
    ]


def test_the_plot_of_a_run_without_logits_is_of_losses_alone():
    (losses,) = plot_metrics(
        "nowhere", [{"kimg": 1.0, "autoencoder/loss": 1.0, "a/psnr": 2.0}]
    ).axes
    assert [line.get_label() for line in losses.lines] == ["autoencoder/loss"]


def test_metrics_that_a_game_names_have_panels_of_their_own():
    rows = [{"kimg": float(i), "critic/loss": 1.0, "critic/k": i / 10} for i in range(3)]
    losses, k = plot_metrics("nowhere", rows, ("critic/k", "critic/missing")).axes
    assert (losses.get_title(), k.get_title()) == ("loss", "critic/k")
    assert k.lines[0].get_ydata().tolist() == [0.0, 0.1, 0.2]


def test_a_run_without_rows_can_be_plotted(tmp_path):
    report.save_plot(tmp_path)
    assert pixels(tmp_path / "losses.png").shape[:2] == (320, 900)


def test_metrics_written_are_read_back_and_a_cut_off_line_is_left_out(tmp_path):
    assert read_metrics(tmp_path) == []
    metrics = report.Metrics(tmp_path, 0)
    for row in rows(3):
        metrics.write(row.pop("step"), row)
    metrics.close()
    assert read_metrics(tmp_path) == [{"step": row["step"], **row} for row in rows(3)]
    file = tmp_path / report.METRICS_FILE
    file.write_text(file.read_text()[:-9])  # as a kill in the middle of a write leaves it
    assert read_metrics(tmp_path) == rows(2)


def test_opening_metrics_at_a_step_drops_the_rows_after_it(tmp_path):
    lines = "".join(json.dumps(row) + "\n" for row in rows(5))
    (tmp_path / report.METRICS_FILE).write_text(lines + '{"step": 6, "criti')
    metrics = report.Metrics(tmp_path, 3)
    metrics.write(4, {"kimg": 9.0})
    metrics.close()
    assert read_metrics(tmp_path) == [*rows(3), {"step": 4, "kimg": 9.0}]


def test_a_picture_for_a_folder_that_there_is_not(tmp_path):
    path = tmp_path / "nowhere" / "grid.png"
    with pytest.raises(
        FileNotFoundError, match=r"there is no folder .*nowhere to put grid\.png into"
    ):
        save_grid(path, np.zeros((1, 8, 8, 1), np.uint8))
    path.parent.mkdir()
    save_grid(path, np.zeros((1, 8, 8, 1), np.uint8))
    assert path.exists()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "samples.png"
    report.replace_atomically(path, lambda p: p.write_text("old"))

    def fails_half_way(temporary):
        assert temporary != path
        temporary.write_text("ne")
        assert path.read_text() == "old"
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        report.replace_atomically(path, fails_half_way)
    assert path.read_text() == "old"
    report.replace_atomically(path, lambda p: p.write_text("new"))
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("samples.png", "new")]
