"""Tools, sampling options, transforms and their scores from the command line, on a model of one number."""

import json
import re
import shlex

import jax
import numpy as np
import pytest
from PIL import Image

from jaxgan import config, data
from jaxgan import train as training
from jaxgan.cli import main as cli
from jaxgan.cli.evaluate import check_inputs
from jaxgan.metrics.features import random_conv
from jaxgan.train import read_picture


def run(*arguments, capsys):
    """(exit code, standard output, standard error)."""
    capsys.readouterr()
    code = cli.main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def refused(*arguments, capsys):
    """The one sentence that a command ends with, after exit code 2."""
    code, _, err = run(*arguments, capsys=capsys)
    assert code == 2
    (line,) = err.splitlines()
    return line.removeprefix("jaxgan: ")


def train(config, workdir, *changes):
    words = [f"--config.{change}" for change in changes]
    assert cli.main(["train", "--config", config, "--workdir", str(workdir), *words]) == 0
    return workdir


@pytest.fixture(scope="module")
def trained(transforming_config, tmp_path_factory):
    return train(transforming_config, tmp_path_factory.mktemp("runs") / "trained")


@pytest.fixture(scope="module")
def translator(transforming_config, tmp_path_factory):
    """A run that makes pictures from pictures only, and has no tools."""
    workdir = tmp_path_factory.mktemp("runs") / "translator"
    options = ("model.generates=false", "model.has_tools=false")
    measuring = ("train.evaluate_every=2", "train.evaluate_num=20", "train.protocol=reconstruction")
    return train(transforming_config, workdir, *options, *measuring)


@pytest.fixture
def picture(tmp_path):
    """A coloured picture of 4 x 6 pixels."""
    path = tmp_path / "picture.png"
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def frames(path):
    with Image.open(path) as film:
        count = film.n_frames
        for i in range(count):
            film.seek(i)
            yield film.info["duration"], np.asarray(film.convert("RGB"))


# Words ----------------------------------------------------------------------------------------------------


def test_named_words_are_taken_in_either_form_wherever_they_stand():
    words = "make --options.n 4 --options.a=b=c fade --workdir w --pictures.image x.png --fps 3"
    args = cli.parse(words.split())
    assert args.named == {"options": {"n": "4", "a": "b=c"}, "pictures": {"image": "x.png"}}
    assert (args.tool, args.workdir, args.fps) == ("fade", "w", 3)
    assert cli.parse(["sample", "--workdir", "w", "--options.x", "-0.5"]).named == {
        "options": {"x": "-0.5"}
    }
    assert cli.parse(["train", "--config", "a", "--config.seed=1"]).named == {
        "config": {"seed": "1"}
    }
    assert cli.parse(["list"]).named == {}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("train --options.x=1", "train has no argument '--options.x=1'; see jaxgan train --help."),
        ("sample --workdir w --pictures.x=1", "sample has no argument '--pictures.x=1'; see"),
        ("make fade --workdir w --option.x=1", "make has no argument '--option.x=1'; see"),
        ("sample --workdir w --options.x", "--options.x has no value; write --options.x=VALUE."),
        ("make f --workdir w --pictures.a --fps 3", "--pictures.a has no value; write --pictures."),
    ],
)
def test_named_words_that_a_command_does_not_take(words, sentence, capsys):
    assert refused(*words.split(), capsys=capsys).startswith(sentence)


# Make -----------------------------------------------------------------------------------------------------


def test_the_tools_of_a_run_are_listed_with_all_that_they_take(trained, translator, capsys):
    code, out, _ = run("make", "list", "--workdir", trained, capsys=capsys)
    assert code == 0
    assert out.splitlines() == [
        "fade: A film that grows bright.",
        f"  jaxgan make fade --workdir {trained}",
        "    --options.frames",
        "        whole number, at least 1; default 3",
        "        frames of the film",
        "    --options.start",
        "        number; default -1.0",
        "        brightness of the first frame",
        "mix: The mean of two.",
        f"  jaxgan make mix --workdir {trained} --pictures.image=FILE [--pictures.other=FILE]",
        "    --options.share",
        "        number, from 0 to 1; default 0.5",
        "        share of the image",
        "negative: Of a colour picture.",
        f"  jaxgan make negative --workdir {trained} --pictures.image=FILE",
    ]
    code, out, _ = run("make", "list", "--workdir", translator, capsys=capsys)
    assert out == (
        f"transforming has no tools; see {translator}/transforms.png, or evaluate it: jaxgan evaluate --workdir"
        f" {translator}\n"
    )


def test_a_film_goes_to_a_gif_a_grid_or_arrays_as_the_file_ends(
    trained, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    fade = ["make", "fade", "--workdir", trained, "--options.start=0"]
    code, out, _ = run(*fade, "--arrays", "w.npz", "--fps", 10, capsys=capsys)
    assert code == 0
    first, second, third = out.splitlines()
    assert (first, third) == ("fade of step 2 in fade.gif", "w in w.npz")
    assert 0.5 < float(re.fullmatch(r"gain: (\d\.\d+)", second)[1]) < 1  # what it has learnt
    shown = list(frames("fade.gif"))
    assert [duration for duration, _ in shown] == [100, 100, 100]
    assert [np.unique(pixels).tolist() for _, pixels in shown] == [[128], [191], [255]]
    assert shown[0][1].shape == (256, 256, 3)  # enlarged to be seen
    with np.load("w.npz", allow_pickle=False) as file:
        assert file["w"].tolist() == [0, 0.5, 1]
    assert run(*fade, "--out", "fade.npz", "--options.frames=2", capsys=capsys)[0] == 0
    with np.load("fade.npz", allow_pickle=False) as file:
        assert set(file) == {"pictures", "w"}
        assert file["pictures"].dtype == np.uint8
        assert file["pictures"][:, 0, 0, 0].tolist() == [128, 255]
    assert run(*fade, "--out", "fade.png", capsys=capsys)[0] == 0
    with Image.open("fade.png") as grid:
        assert grid.size == (32 * (3 * 8 + 2), 32 * 8)  # three columns, as the tool says


def test_pictures_come_in_their_own_size_and_the_channels_of_the_game(
    trained, picture, tmp_path, capsys
):
    given = read_picture(picture, 1)
    assert (given.shape, given.dtype) == ((4, 6, 1), np.float32)
    with Image.open(picture) as image:
        grey = np.asarray(image.convert("L"))
        colour = np.asarray(image)
    assert (np.round(given[..., 0] * 127.5 + 127.5) == grey).all()
    assert (np.round(read_picture(picture) * 127.5 + 127.5) == colour).all()
    out = tmp_path / "mixed.npz"
    mix = ["make", "mix", "--workdir", trained, "--out", out, f"--pictures.image={picture}"]
    code, text, _ = run(*mix, "--pictures.other", picture, "--options.share", "0.25", capsys=capsys)
    assert (code, text) == (0, f"mix of step 2 in {out}\n")
    with np.load(out) as file:
        assert (file["pictures"] == grey[None, ..., None]).all()
    assert (
        run(*mix[:5], tmp_path / "grid.png", mix[-1], capsys=capsys)[0] == 0
    )  # the other is optional
    # But a tool may ask for channels of its own.
    negative = ["make", "negative", *mix[2:]]
    assert run(*negative, capsys=capsys)[0] == 0
    with np.load(out) as file:
        assert (file["pictures"][0] == 255 - colour).all()
    text = refused(*mix, "--arrays", tmp_path / "a.npz", capsys=capsys)
    assert text == "mix makes no arrays; leave out --arrays."


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["fade", "--out", "a.jpg"], "a.jpg must end in .png (a grid), .gif, .webp, .mp4 (a film) or"),
        (["fade", "--out", "no/a.png"], "there is no folder no to put a.png into; create it first."),
        (["fade", "--arrays", "a.npy"], "--arrays is a.npy; it must end in .npz."),
        (["fade", "--fps", "0"], "fps is 0; it must be from 1 to 100 frames a second."),
        (["fase"], "there is no tool 'fase'; did you mean 'fade'?"),
        (["project"], "there is no tool 'project'; there are fade, mix, negative."),
        (["fade", "--options.frame=2"], "there is no option --options.frame; did you mean --options.frames?"),
        (["fade", "--options.frames=x"], "--options.frames is 'x', but it must be a whole number: set --options.f"),
        (["mix"], "the picture 'image' is missing: set --pictures.image=FILE."),
        (["mix", "--pictures.image=no.png"], "there is no picture no.png; give the file of one."),
        (["mix", "--pictures.image=."], ". is a folder; give the file of a picture."),
        (["mix", "--pictures.image={config}"], "{config} cannot be read as a picture (not a picture that"),
        (["mix", "--pictures.image={png}", "--pictures.other={grid}"], "other is "),
        (["mix", "--step", "7", "--pictures.image=no.png"], "{run}/checkpoints has no checkpoint of step 7;"),
    ],
)  # fmt: skip
def test_bad_arguments_of_make(
    trained, picture, tmp_path, monkeypatch, arguments, sentence, capsys
):
    monkeypatch.chdir(tmp_path)
    names = {
        "run": trained,
        "config": trained / "config.json",
        "png": picture,
        "grid": trained / "samples.png",
    }
    words = [word.format(**names) for word in arguments]
    text = refused("make", *words, "--workdir", trained, capsys=capsys)
    assert text.startswith(sentence.format(**names))
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def test_a_run_without_tools_says_so(translator, capsys):
    text = refused("make", "fade", "--workdir", translator, capsys=capsys)
    command = f"jaxgan evaluate --workdir {translator}"
    assert text.startswith("transforming has no tools; see ")
    assert text.endswith(f": {command}")
    assert cli.main(shlex.split(command)[1:]) == 0


# Sample ---------------------------------------------------------------------------------------------------


def test_samples_take_the_options_of_their_game(trained, tmp_path, capsys):
    out = tmp_path / "out.npz"
    draw = ["sample", "--workdir", trained, "--num", 4, "--out", out]
    assert run(*draw, "--options.brightness=1", "--options.grey", "true", capsys=capsys)[0] == 0
    with np.load(out) as file:
        assert (file["images"] == 255).all()
    text = refused(*draw, "--options.truncation=0.7", capsys=capsys)
    assert (
        text
        == "there is no option --options.truncation; there are --options.brightness, --options.grey."
    )
    assert refused(*draw, "--options.grey=maybe", capsys=capsys).startswith(
        "--options.grey is 'maybe', but it must be true or false"
    )
    text = refused(*draw, "--options.brightness=2", capsys=capsys)
    assert (
        text
        == "--options.brightness is 2.0, but it must be from -1 to 1: set --options.brightness=1.0."
    )


@pytest.fixture
def compiled():
    """A list that grows by an element whenever XLA compiles a program."""
    found = []

    def listen(event, seconds, **_):
        if event.endswith("backend_compile_duration"):
            found.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.unregister_event_duration_listener(listen)


def test_other_values_of_floats_and_other_seeds_compile_nothing(trained, compiled):
    """Each call compiled a program for its seed, and each single-image distance one for its features."""
    _, engine, step, state = config.restore(trained)
    digits = config.open_data(config.reopen(trained).config)
    one = data.array_source(digits.images(1))
    evaluators = [
        training.make_evaluator(digits, num=8),
        training.make_evaluator(one, "single_image", num=8),
    ]

    def all_of(value, seed):
        training.sample(engine, state, 8, seed, brightness=value)
        training.make(engine, state, "fade", seed=seed, options={"start": value})
        for evaluator in evaluators:
            evaluator.options, evaluator.seed = {"brightness": value}, seed
            evaluator(engine, state, step)

    all_of(0.5, 0)
    assert compiled
    compiled.clear()
    for value, seed in ((0.25, 1), (0.0, 2**32 - 1), (-1.0, 3)):
        all_of(value, seed)
    assert compiled == []


@pytest.mark.parametrize("command", ["sample", "diagnose"])
def test_a_run_that_generates_nothing_says_what_to_do_instead(translator, command, capsys):
    assert refused(command, "--workdir", translator, capsys=capsys) == (
        "transforming makes no samples, only pictures from pictures; list the tools for yours: jaxgan make list"
        f" --workdir {translator}"
    )


# Train ----------------------------------------------------------------------------------------------------


def test_training_shows_transforms_and_ends_with_what_fits_the_game(
    transforming_config, trained, translator, capsys
):
    for workdir, made, commands in (
        (trained, ("samples", "transforms"), ["sample", "make list", "evaluate", "diagnose"]),
        (translator, ("transforms",), ["evaluate"]),
    ):
        folders = {path.name for path in workdir.iterdir() if path.is_dir()}
        assert folders & {"samples", "transforms"} == set(made)
        for name in made:
            steps = sorted(path.name for path in (workdir / name).iterdir())
            assert steps == ["00000000.png", "00000002.png"]
            latest = (workdir / f"{name}.png").read_bytes()
            assert latest == (workdir / name / steps[-1]).read_bytes()
            assert latest != (workdir / name / steps[0]).read_bytes() or name == "samples"
        config = ["--config", transforming_config, "--workdir", workdir]
        if workdir == translator:
            config += ["--config.model.generates=false", "--config.model.has_tools=false"]
        _, _, err = run("train", *config, capsys=capsys)
        ran = re.findall(r"^  jaxgan (\w+(?: list)?) ", err, re.MULTILINE)
        assert ran == commands
        assert ("Samples: " in err) == ("samples" in made)
        assert f"Transforms: {workdir}/transforms.png" in err


def test_a_dry_run_shows_stages_at_their_resolution_and_who_is_frozen(
    transforming_config, monkeypatch, capsys
):
    monkeypatch.setenv("COLUMNS", "160")
    dry = ["train", "--config", transforming_config, "--dry_run"]
    code, out, _ = run(*dry, "--config.model.stages=5", capsys=capsys)
    assert code == 0
    assert re.search(r"perceptual │ +12 bytes │ none: frozen │", out)
    rows = [re.split(" {2,}", line.strip()) for line in out.splitlines() if "8 x " in line]
    expected = [(f"{2 * i} to {2 * i + 1}", "8 x 4x4x1") for i in range(4)] + [
        ("8 to the end", "8 x 8x8x1")
    ]
    assert [(row[1], row[2]) for row in rows] == expected
    assert [row[-1] != "?" for row in rows] == [True, False, False, False, True]
    assert "Only the first and the last of 5 stages are compiled here to find their cost." in out
    code, out, _ = run(*dry, "--config.model.stages=3", capsys=capsys)
    assert "Only the first" not in out


# Help -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["sample", "evaluate", "make"])
def test_help_lists_the_options_of_a_run(trained, command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help", "--workdir", str(trained)])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert f"usage: jaxgan {command}" in out
    if command == "make":
        assert run("make", "list", "--workdir", trained, capsys=capsys)[1] in out
        return
    (_, listed) = out.split(f"options of the samples of {trained}:")
    assert [line.strip() for line in listed.splitlines()][1:] == [
        *("--options.brightness", "number, from -1 to 1; default 0.0", "added to every pixel"),
        *("--options.grey", "true or false; default false", "without noise"),
    ]


def test_help_needs_no_run_and_names_one_that_is_not_there(tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli.main(["sample", "--help"])
    assert "usage: jaxgan sample" in capsys.readouterr().out
    text = refused("sample", "--workdir", tmp_path, "--help", capsys=capsys)
    assert text.startswith(f"{tmp_path} holds no run")


# Evaluate -------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def evaluate(*arguments, capsys):
    code, out, _ = run("evaluate", *arguments, capsys=capsys)
    assert code == 0, out
    return json.loads(out.splitlines()[-1])


def test_transforms_are_measured_where_nothing_is_generated(translator, capsys):
    result = evaluate("--workdir", translator, "--split", "test", capsys=capsys)
    assert [*result][:4] == ["psnr", "ssim", "l1", "fd_random_conv"]
    assert 5 < result["psnr"] < 40
    protocol = result["protocol"]
    expected = {
        "of": "transforms",
        "num_fake": 355,
        "num_real": 355,
        "split": "test",
    }  # all there are
    expected |= {"labels": "of the examples", "ema": False}
    assert {name: protocol[name] for name in expected} == expected
    assert "options" not in protocol
    lines = (translator / "evaluations.jsonl").read_text().splitlines()
    during = json.loads(lines[0])
    assert during["measured"]["during"] == "training"
    assert (during["protocol"]["of"], during["protocol"]["num_fake"]) == ("transforms", 20)
    assert (translator / "best").is_dir()


def test_either_is_measured_where_both_are_made_and_they_are_not_compared(
    trained, tmp_path, capsys
):
    how = ["--workdir", trained, "--num", 40, "--scores", "fd"]
    samples = evaluate(*how, "--options.grey=1", capsys=capsys)
    assert samples["protocol"]["of"] == "samples"
    assert samples["protocol"]["options"] == {"grey": True}
    transforms = evaluate(*how, "--protocol", "reconstruction", capsys=capsys)
    assert transforms["protocol"]["of"] == "transforms"
    assert 0 < transforms["fd_random_conv"] < samples["fd_random_conv"]
    del samples["protocol"]["of"]  # a result from before it was said
    for name, result in (("a", samples), ("b", transforms)):
        (tmp_path / name).write_text(json.dumps(result))
    text = refused("compare", tmp_path / "a", tmp_path / "b", capsys=capsys)
    assert "of is 'samples' in A and 'transforms' in B" in text


@pytest.mark.parametrize(
    ("run_name", "arguments", "sentence"),
    [
        ("trained", "--scores psnr", "the score 'psnr' compares the transform of an example with the example"),
        ("trained", "--of transforms --num 2000", "the protocol 'custom' compares with 2,000 real examples, but"),
        ("trained", "--of transforms --protocol pr50k_train", "the protocol 'custom' compares with 50,000 real exampl"),
        ("trained", "--of transforms --protocol fid10k_test", "a transform is made of each real example, but the"),
        ("translator", "--of samples", "this game makes no samples, only transforms of examples; evaluate transforms"),
        ("translator", "--protocol fid10k_train", "no protocol is called 'fid10k_train'; did you mean 'fid50k_train'"),
        ("trained", "--options.gray=1", "there is no option --options.gray; did you mean --options.grey?"),
        ("trained", "--of transforms --options.grey=1", "there is no option --options.grey; there are none here; leav"),
        (None, "--fake digits --real digits --options.grey=1", "--options apply to a run (--workdir), not to two set"),
        (None, "--fake digits --real digits --of transforms", "transforms can be evaluated only for a run (--workdi"),
        (None, "--fake digits --real digits --protocol reconstruction", "transforms can be evaluated only for a run ("),
    ],
)  # fmt: skip
def test_bad_arguments_of_evaluate(
    trained, translator, monkeypatch, run_name, arguments, sentence, capsys
):
    monkeypatch.setattr(
        "jaxgan.metrics.networks.network_extractor", lambda *_, **__: random_conv((8, 8, 1))
    )
    where = {"trained": ["--workdir", trained], "translator": ["--workdir", translator], None: []}
    text = refused("evaluate", *where[run_name], *arguments.split(), capsys=capsys)
    assert text.startswith(sentence)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (["model.transforms=false", "train.evaluate_of=transforms"], "this game makes no transforms of examples; eva"),
        (["model.generates=false", "train.evaluate_of=samples"], "this game makes no samples, only transforms of exa"),
        (["train.evaluate_of=fakes"], "--config.train.evaluate_of is 'fakes', but it must be one of empty, samples, "),
        (["model.transforms=false", "train.protocol=reconstruction"], "this game makes no transforms of examples; eva"),
    ],
)  # fmt: skip
def test_what_a_run_cannot_be_measured_by_is_said_before_it_trains(
    transforming_config, tmp_path, changes, sentence, capsys
):
    words = [f"--config.{change}" for change in ("train.evaluate_every=1", *changes)]
    command = ["train", "--config", transforming_config, "--workdir", tmp_path / "run", *words]
    assert refused(*command, capsys=capsys).startswith(sentence)
    assert not (tmp_path / "run").exists()


def test_transforms_are_evaluated_on_data_with_the_same_inputs():
    maps, digits = (data.open_source(name, resolution=32) for name in ("label_maps", "digits"))
    small = data.open_source("label_maps", resolution=16)
    check_inputs(("image", "label_map"), maps.spec, maps)
    wanted = "the run makes transforms of 'label_map' (a label map of 32x32 with 11 labels), but "
    for source, has in (
        (digits, "none"),
        (small, "a label map of 16x16 with 11 labels"),
    ):
        text = f"{wanted}{source.summary} has {has}; evaluate on data with such a 'label_map'."
        with pytest.raises(ValueError, match=re.escape(text)):
            check_inputs(("label_map",), maps.spec, source)


@pytest.mark.slow
def test_a_label_map_is_painted(tmp_path, capsys):
    """Its file holds indices, as grey levels or with a palette; the style is that of a picture, or random."""
    small = ("width=1", "doublings=2", "spade_hidden=4", "critic_width=2", "critic_layers=2")
    changes = [f"model.{change}" for change in (*small, "batch_size=2", "latent_dim=2")]
    changes += ["data.resolution=16", "train.steps=1", "train.devices=1"]
    workdir = train("spade_digits", tmp_path / "run", *changes)
    label_map = np.zeros((16, 16), np.uint8)
    label_map[4:12, 4:12] = 3
    grey, palette = Image.fromarray(label_map), Image.fromarray(label_map).convert("P")
    palette.putpalette([255, 0, 0, 0, 255, 0] * 128)
    found = []
    for name, image in (("grey", grey), ("palette", palette)):
        image.save(tmp_path / f"{name}.png")
        out = tmp_path / f"{name}.npz"
        words = ["make", "paint", "--workdir", workdir, "--out", out, "--options.samples=2"]
        words += [f"--pictures.label_map={tmp_path}/{name}.png"]
        assert run(*words, capsys=capsys)[0] == 0
        with np.load(out) as file:
            found.append(file["pictures"])
    assert found[0].shape == (2, 16, 16, 1)
    assert (found[0] == found[1]).all()
    styled = [*words, f"--pictures.style={tmp_path}/grey.png"]
    assert run(*styled, capsys=capsys)[0] == 0
    with np.load(out) as file:
        assert file["pictures"].shape == (1, 16, 16, 1)
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "colours.png")
    text = refused(*words[:-1], f"--pictures.label_map={tmp_path}/colours.png", capsys=capsys)
    assert "colours.png is a picture of colours (mode RGB), but a label map has one index" in text
    text = refused(*words[:-1], f"--pictures.label_map={tmp_path}/gone.png", capsys=capsys)
    assert text == f"there is no label map {tmp_path}/gone.png; give the file of one."
