"""StyleGAN2: parity with another implementation, and the properties that define it."""

import dataclasses
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache
from models import battery

from jaxgan import penalties, resample
from jaxgan.augment import ada_start
from jaxgan.game import DataSpec, Engine
from jaxgan.models import stylegan2
from jaxgan.nets import modulated
from jaxgan.nets import stylegan2 as nets
from jaxgan.nets.features import lpips
from jaxgan.tools import latents

SPEC = DataSpec((8, 8, 3), 10, 1000)
SMALL = stylegan2.Options(
    latent_dim=16,
    style_dim=16,
    mapping_layers=3,
    critic_mapping_layers=2,
    channel_base=64,
    channel_max=16,
    batch_size=8,
    r1_every=2,
    path_every=2,
)


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    """Engines of one game compile the same programs: here from a cache, as most of this file's time is theirs."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    for name, value in zip(names, (str(tmp_path_factory.mktemp("compiled")), 0), strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def make(spec=SPEC, **changes):
    return stylegan2.game(dataclasses.replace(SMALL, **changes), spec)


def turn_of(game, name):
    (turn,) = [turn for turn in game.stages[0].turns if turn.name == name]
    return turn


# Parity -----------------------------------------------------------------------------------------------------------


def value(name, shape):
    """A parameter by a rule, of a size that its initialisation could have given it."""
    x = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)
    if name.startswith("mapping"):
        x = x * (100 if name.endswith("kernel") else 30)
    elif name.endswith("style/bias"):
        x = 1 + 0.3 * x
    elif not name.endswith(("kernel", "constant")):
        x = 0.3 * x
    return jnp.asarray(x, jnp.float32)


def drawn(key, shape=(), dtype=jnp.float32):
    """In place of `jax.random.normal`: a function of the shape alone."""
    rng = np.random.default_rng(zlib.crc32(str(tuple(shape)).encode()))
    return jnp.asarray(rng.normal(size=shape), dtype)


def named(tree):
    """{"conv8/conv/kernel": leaf} of a tree of parameters."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(part.key for part in path): leaf for path, leaf in leaves}


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parent / "golden" / "stylegan2.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def ruled():
    """(game, the parameters of the rule, variables, a batch); no augmentation, no mixing."""
    game = make(augmentation="off", mixing=0.0, r1_every=16, path_every=4)
    shapes = Engine(game).state_shape

    def filled(path, leaf):
        name = "/".join(part.key for part in path)
        return value(name.removeprefix("generator/"), leaf.shape)

    params = jax.tree_util.tree_map_with_path(filled, shapes.params)
    variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes.variables)
    variables["generator"]["path"] = {"mean": jnp.float32(0.5)}
    image = np.random.default_rng(7).integers(0, 256, (8, 8, 8, 3)).astype(np.uint8)
    return game, params, variables, {"image": image}


def close(a, b, rtol):
    scale = np.abs(b).max()
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale)


def test_networks_agree_with_another_implementation(golden, ruled, monkeypatch):
    """rosinality/stylegan2-pytorch at bef283a, its CUDA operations written in plain PyTorch, widths of 16 and 8."""
    monkeypatch.setattr(jax.random, "normal", drawn)
    _, players, _, batch = ruled
    params = players["generator"]
    mapping = nets.Mapping(16, 3)
    z = drawn(None, (8, 16))
    w, other = (mapping.apply({"params": params["mapping"]}, x, None) for x in (z, z[::-1]))
    close(w, golden["w"], 1e-4)
    synthesis = nets.Synthesis(8, 3, 64, 16)
    noise = {f"{layer}": {"map": jnp.zeros(())} for layer in ("conv4", "up8", "conv8")}
    variables = {"params": params["synthesis"], "noise": noise}
    paint = jax.jit(lambda w: synthesis.apply(variables, w, rngs={"noise": jax.random.key(0)}))
    pictures = paint(jnp.broadcast_to(w[:, None], (8, 4, 16)))
    close(pictures, golden["pictures"], 1e-4)
    mixed = paint(jnp.stack([w, w, other, other], axis=1))
    close(mixed, golden["mixed_pictures"], 1e-4)
    critic = nets.Critic(64, 16)
    judge = jax.jit(lambda x: critic.apply({"params": players["critic"]}, x, None))
    close(judge(batch["image"] / np.float32(127.5) - 1), golden["real_logits"], 1e-4)
    close(judge(pictures), golden["fake_logits"], 1e-4)


@pytest.mark.parametrize("name", ["critic", "r1", "generator", "path"])
def test_losses_and_gradients_agree_with_another_implementation(golden, ruled, monkeypatch, name):
    """The same, for the losses of its training script: one step of every turn."""
    monkeypatch.setattr(jax.random, "normal", drawn)
    game, players, variables, batch = ruled
    turn = turn_of(game, name)

    def play(mover):
        out = turn.loss({**players, turn.players[0]: mover}, variables, batch, jax.random.key(0))
        return out.value, (out.variables, out.metrics)

    play = jax.jit(jax.value_and_grad(play, has_aux=True))
    (loss, (new, metrics)), gradients = play(players[turn.players[0]])
    if name in ("critic", "generator"):
        close(loss, golden[f"{name}/loss"], 1e-4)
    else:
        close(metrics["penalty"], golden[f"{name}/penalty"], 1e-3)
    if name == "path":
        close(new["generator"]["path"]["mean"], golden["path/mean"], 1e-4)
    prefix = "critic/" if turn.players[0] == "critic" else ""
    gradients = {prefix + path: leaf for path, leaf in named(gradients).items()}
    norms = np.array([np.linalg.norm(gradients[path]) for path in sorted(gradients)])
    entries = np.array([np.resize(np.ravel(gradients[path]), 4) for path in sorted(gradients)])
    np.testing.assert_allclose(norms, golden[f"{name}/norms"], rtol=1e-3, atol=1e-7)
    size = golden[f"{name}/norms"][:, None]
    assert (np.abs(entries - golden[f"{name}/entries"]) <= 1e-3 * size + 1e-7).all()


# What every game must hold ------------------------------------------------------------------------------------------

TINY = DataSpec((8, 8, 3), 3, 1000)


@pytest.fixture(scope="module")
def tiny():
    """Everything on: classes, mixing, both regularisers, augmentation that adapts."""
    return make(TINY, conditional=True, augmentation_groups="b", augmentation_rise_kimg=0.1)


@pytest.fixture(scope="module")
def played(tiny):
    return battery.check_trains(tiny, TINY, 3)


def test_resumes_bit_for_bit_between_the_regularisers(tiny, played):
    battery.check_resume(tiny, TINY, 1, 3)


# The generator's loss goes through both networks; the other turns compile for half a minute.
@pytest.mark.parametrize("turns", [("generator",), pytest.param(None, marks=pytest.mark.slow)])
def test_recomputed_activations_change_neither_parameters_nor_gradients(turns):
    changes = dict(conditional=True, augmentation="fixed", augmentation_p=0.9, batch_size=4)
    kept, again = (make(TINY, **changes, remat=remat) for remat in (False, True))
    battery.check_remat(kept, again, TINY, turns=turns)


def test_one_and_eight_devices_agree():
    """Without what each image has for itself: it doubles the time to compile."""
    small = make(TINY, augmentation="off", mapping_layers=1, mixing=0.0, critic="plain")
    battery.check_devices(small, TINY, 2)


@pytest.mark.slow
def test_bfloat16_trains_without_nan():
    game = make(TINY, dtype="bfloat16", r1_every=16, path_every=4)
    battery.check_trains(game, TINY, 500)


# Those of default widths at 32 and 1024 are rosinality/stylegan2-pytorch's to the last one.
GOLDEN = {
    ("stylegan2", DataSpec((32, 32, 3), 10, 50_000), ()): {
        "critic": 21_507_073,
        "generator": 21_523_475,
    },
    (
        "stylegan2",
        DataSpec((32, 32, 3), 10, 50_000),
        (("conditional", True), ("critic", "plain"), ("mapping_layers", 2)),
    ): {"critic": 23_089_664, "generator": 20_215_315},
    ("stylegan2", DataSpec((256, 256, 3), None, 1000), (("channel_base", 16_384),)): {
        "critic": 24_001_089,
        "generator": 24_767_458,
    },
    ("stylegan2", DataSpec((1024, 1024, 3), None, 1000), ()): {
        "critic": 29_012_513,
        "generator": 30_370_060,
    },
}


# What makes it StyleGAN2 ------------------------------------------------------------------------------------------


def own_kernels(x, kernel, style, demodulate, up):
    """The paper's form: a kernel for each image, and the convolution after the filter."""
    k = kernel[None] * style[:, None, None, :, None]
    if demodulate:
        k = k / jnp.sqrt(jnp.sum(jnp.square(k), axis=(1, 2, 3), keepdims=True) + 1e-8)
    if up:
        x = jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))  # what the filter writes beyond the edges
        x = resample.upsample_fir(x, modulated.FIR)

    def one(x, k):
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x[None], k, (1, 1), "SAME", dimension_numbers=layout)[0]

    y = jax.vmap(one)(x, k)
    return y[:, 4:-4, 4:-4] if up else y


@pytest.mark.parametrize(("demodulate", "up"), [(True, False), (True, True), (False, False)])
def test_scaling_the_image_is_scaling_each_ones_kernel(key, demodulate, up):
    x, style = jax.random.normal(key, (3, 4, 4, 5)), 1 + jax.random.normal(key, (3, 5))
    kernel, y = jax.random.normal(key, (3, 3, 5, 4)), jax.random.normal(key, (3, 8, 8, 4))
    y = y if up else y[:, :4, :4]

    def scaled(form):
        return lambda *args: jnp.sum(y * form(*args, demodulate, up))

    one, other = (
        jax.jit(jax.value_and_grad(scaled(form), (0, 1, 2)))(x, kernel, style)
        for form in (modulated.modulated_conv, own_kernels)
    )
    jax.tree.map(lambda a, b: close(a, b, 1e-4), one, other)


def test_demodulated_outputs_have_unit_variance(key):
    keys = jax.random.split(key, 3)
    x = jax.random.normal(keys[0], (2, 66, 66, 8))
    kernel = 7.0 * jax.random.normal(keys[1], (3, 3, 8, 4))
    style = jnp.stack([jnp.arange(8.0), 0.01 * jnp.ones(8)])
    y = modulated.modulated_conv(x, kernel, style)[:, 1:-1, 1:-1]
    np.testing.assert_allclose(jnp.var(y, axis=(1, 2)), 1.0, atol=0.1)
    raw = modulated.modulated_conv(x, kernel, style, demodulate=False)
    assert jnp.var(raw, axis=(1, 2)).min() < 0.5 < 100 < jnp.var(raw, axis=(1, 2)).max()


@pytest.fixture(scope="module")
def painter():
    """(synthesis, its variables) as they are born, but the pictures' kernels."""
    synthesis = nets.Synthesis(8, 3, 64, 8)
    init = jax.jit(lambda key: synthesis.init(key, jnp.zeros((1, 4, 6)), "constant"))
    return synthesis, init(jax.random.key(0))


def test_a_layer_before_the_crossover_sees_the_first_latent_only(key, painter):
    synthesis, variables = painter
    one, other = jax.random.normal(key, (2, 1, 6))
    layers = jnp.arange(4)[None] >= 2

    def activations(other):
        w = latents.mix(one, other, layers)
        _, seen = synthesis.apply(variables, w, "constant", capture_intermediates=True)
        found = seen["intermediates"]
        return {name: jnp.sum(found[name]["__call__"][0] ** 2) for name in order}

    order = ("conv4", "picture4", "up8", "conv8", "picture8")
    slopes = jax.jit(jax.jacrev(activations))(other)
    zero = {name: not np.any(slopes[name]) for name in order}
    assert zero == {"conv4": True, "picture4": True, "up8": True, "conv8": False, "picture8": False}


def test_styles_are_mixed_from_a_random_layer_on(key):
    layers = np.asarray(stylegan2.mixed_layers(key, 4000, 6, 0.9))
    assert not layers[:, 0].any()
    assert (np.diff(layers.astype(int)) >= 0).all()
    np.testing.assert_allclose(layers[:, -1].mean(), 0.9, atol=0.02)
    counts = np.bincount(layers.sum(axis=1), minlength=6)
    np.testing.assert_allclose(counts / 4000, [0.1, *[0.18] * 5], atol=0.03)


def test_there_is_no_noise_until_its_strength_is_learned(painter):
    synthesis, variables = painter
    w = jnp.ones((1, 4, 6))

    def pictures(variables):
        random = [
            synthesis.apply(variables, w, rngs={"noise": jax.random.key(seed)}) for seed in (1, 2)
        ]
        return [*random, synthesis.apply(variables, w, "constant")]

    a, b, c = pictures(variables)
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(a, c)
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf + (0.1 if path[-1].key == "noise_strength" else 0.0),
        variables["params"],
    )
    a, b, c = pictures({**variables, "params": params})
    assert min(jnp.abs(a - b).max(), jnp.abs(a - c).max()) > 1e-3


@pytest.mark.parametrize("group", [0, 4])
def test_a_logit_depends_on_the_images_of_its_group(key, group):
    critic = nets.Critic(64, 8, group_size=group)
    x = jax.random.normal(key, (8, 8, 8, 3))
    params = jax.jit(lambda: critic.init(key, x, None))()
    slope = jax.jit(jax.grad(lambda x: critic.apply(params, x, None)[0]))(x)
    seen = {i for i in range(8) if np.any(slope[i])}
    assert seen == (set(range(8)) if group == 0 else {0, 2, 4, 6})


def test_the_last_layers_compute_in_float32_whatever_the_others(key):
    critic = nets.Critic(64, 8, dtype=jnp.bfloat16)
    x = jax.random.normal(key, (4, 8, 8, 3))
    params = jax.jit(lambda: critic.init(key, x, None))()
    logits, seen = critic.apply(params, x, None, capture_intermediates=True)
    dtypes = {
        name: value["__call__"][0].dtype
        for name, value in seen["intermediates"].items()
        if name != "__call__"
    }
    assert logits.dtype == jnp.float32
    assert {name for name, dtype in dtypes.items() if dtype == jnp.bfloat16} == {
        "input", "conv8", "down8", "skip8",
    }  # fmt: skip


@pytest.fixture(scope="module")
def judged(played):
    """{augmentation: (sign, p, rounds) -> (loss, p afterwards)}: critic's turns on one batch.

    The last layer's bias is of that sign and large, so all logits of one class have the same.
    """
    engine, state = played
    batch = battery.batch(TINY, 0, engine.game.stages[0], 0)
    changes = {"augmentation_groups": "b", "augmentation_target": 0.0, "conditional": True}

    def prepare(augmentation):
        start = 0.5 if augmentation == "fixed" else 0.0  # replaced below
        game = make(
            TINY,
            **changes,
            augmentation=augmentation,
            augmentation_p=start,
            augmentation_rise_kimg=1.0,
        )
        loss = jax.jit(turn_of(game, "critic").loss)

        def judge(sign, p=0.0, rounds=1):
            output = {**state.params["critic"]["output"], "bias": jnp.full((16,), 100.0 * sign)}
            params = {**state.params, "critic": {**state.params["critic"], "output": output}}
            variables = {**state.variables, "critic": {"augmentation": {"ada": ada_start(p)}}}
            for _ in range(rounds):
                out = loss(params, variables, batch, jax.random.key(1))
                variables = {**variables, **out.variables}
            return float(out.value), float(variables["critic"]["augmentation"]["ada"].p)

        return judge

    return {name: prepare(name) for name in ("off", "fixed", "adaptive")}


def test_augmentation_at_p_0_changes_nothing_and_at_p_1_something(judged):
    plain, _ = judged["off"](0.0)
    for name in ("fixed", "adaptive"):
        np.testing.assert_allclose(judged[name](0.0, p=0.0)[0], plain, rtol=1e-6)
    augmented, p = judged["fixed"](0.0, p=1.0, rounds=5)
    assert abs(augmented - plain) > 1e-6
    assert p == 1.0


def test_p_rises_where_the_critic_overfits_and_falls_where_not(judged):
    """32 images are 0.032 of the thousand in which p may rise to 1."""
    assert judged["adaptive"](1.0, p=0.5, rounds=3)[1] == 0.5
    ends = [judged["adaptive"](sign, p=0.5, rounds=4)[1] for sign in (1.0, -1.0)]
    np.testing.assert_allclose(sorted(ends), [0.5 - 0.032, 0.5 + 0.032], rtol=1e-5)


def test_rates_are_those_of_rounds_where_a_regulariser_moves_too():
    """A constant gradient, against Adam written out with lr and betas to the power of 4 / 5."""
    optimizer = stylegan2.adam(dataclasses.replace(SMALL, beta1=0.5), 4)
    state, params = optimizer.init(jnp.zeros(())), 0.0
    m = v = expected = 0.0
    rate, b1, b2 = 0.002 * 0.8, 0.5**0.8, 0.99**0.8
    with jax.numpy_dtype_promotion("standard"):
        for t, g in enumerate((1.0, -3.0, 0.5), 1):
            update, state = optimizer.update(jnp.float32(g), state)
            params = params + update
            m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
            expected -= rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + 1e-8)
    np.testing.assert_allclose(params, expected, rtol=1e-5)
    optimizer = make(r1_gamma=0.0).players["critic"].optimizer  # nothing to correct
    with jax.numpy_dtype_promotion("standard"):
        update, _ = optimizer.update(jnp.ones(()), optimizer.init(jnp.zeros(())))
    np.testing.assert_allclose(update, -0.002, rtol=1e-5)


@pytest.mark.parametrize("resolution", [8, 64])
def test_the_weight_2_of_path_lengths_is_the_papers(key, resolution):
    """gamma (|J^T y|_all layers - a)^2, y of variance 1, gamma = log 2 / (r^2 (log r - log 2)); StyleGAN2, App. B."""
    layers = nets.num_styles(resolution)
    w = jax.random.normal(key, (2, layers, 3))
    slopes = jax.random.normal(key, (layers * 3, resolution**2))

    def pictures(w):
        return (w.reshape(2, -1) @ slopes).reshape(2, resolution, resolution, 1)

    penalty, _ = penalties.path_length(pictures, w, jnp.float32(0), key, decay=0.5)
    y = jax.random.normal(key, (2, resolution**2))
    lengths = jnp.linalg.norm(y @ slopes.T, axis=1)
    gamma = np.log(2) / (resolution**2 * (np.log(resolution) - np.log(2)))
    expected = gamma * jnp.mean(jnp.square(lengths - 0.5 * jnp.mean(lengths)))
    np.testing.assert_allclose(SMALL.path_weight * penalty, expected, rtol=1e-4)


def test_truncation_leads_to_the_mean_picture(tiny, played):
    engine, state = played
    labels = np.arange(3, dtype=np.int32)
    drawn = engine.sample(state, jax.random.key(0), 3, labels, truncation=0.0, noise="constant")
    same = np.asarray(drawn)
    np.testing.assert_array_equal(same[0], same[1])
    network = state.networks()["generator"]
    synthesis = nets.Synthesis(8, 3, 64, 16)
    w = jnp.broadcast_to(network["average"]["style"], (1, 4, 16))
    mean = synthesis.apply(
        {"params": network["params"]["synthesis"], "noise": network["noise"]}, w, "constant"
    )
    np.testing.assert_allclose(same[0], np.clip(mean[0], -1, 1), atol=1e-5)
    w, other = jnp.ones((2, 4, 16)), jnp.zeros(16)
    cut = latents.truncate(w, other, 0.25, 1)
    np.testing.assert_array_equal(cut[:, 0], 0.25)
    np.testing.assert_array_equal(cut[:, 1:], 1.0)


def test_the_mean_style_is_tracked(tiny, played):
    """As the running mean of what the generator's turn maps: in units of it, 0.002 after one round."""
    _, state = played
    average = np.asarray(state.variables["generator"]["average"]["style"])
    z = jax.random.normal(jax.random.key(5), (999, 16))
    w = nets.Mapping(16, 3, num_classes=3).apply(
        {"params": state.params["generator"]["mapping"]}, z, jnp.arange(999) % 3
    )
    share = average @ np.mean(w, axis=0) / np.sum(np.mean(w, axis=0) ** 2)
    np.testing.assert_allclose(share, 1 - 0.995**3, rtol=0.5)


# Tools ------------------------------------------------------------------------------------------------------------


def test_grid_of_truncations(tiny, played):
    _, state = played
    made = tiny.tools["truncation"](state.networks(), jax.random.key(0), rows=2, truncations="0,1")
    assert made.pictures.shape == (4, 8, 8, 3)
    assert made.columns == 2
    np.testing.assert_array_equal(made.pictures[0], made.pictures[2])
    assert np.abs(made.pictures[1] - made.pictures[3]).max() > 1e-4


def test_grid_of_mixed_styles(tiny, played):
    _, state = played
    make = {"rows": 2, "columns": 2, "truncation": 1.0, "label": 1}
    tool, key = tiny.tools["mixing"], jax.random.key(0)
    grid = tool(state.networks(), key, layers="0-3", **make).pictures.reshape(3, 3, 8, 8, 3)
    np.testing.assert_allclose(grid[1, 1:], grid[0, 1:], atol=1e-6)  # all styles from the column
    np.testing.assert_allclose(grid[2, 1:], grid[0, 1:], atol=1e-6)
    made = tool(state.networks(), key, layers="2", **make)
    w = made.arrays["w"].reshape(3, 3, 4, -1)
    np.testing.assert_array_equal(w[1, 2][2], w[0, 2][2])
    np.testing.assert_array_equal(w[1, 2][[0, 1, 3]], w[1, 0][[0, 1, 3]])


@pytest.mark.parametrize("space", ["w", "z"])
def test_film_of_a_walk(tiny, played, space):
    _, state = played
    make = {"points": 3, "frames": 2, "space": space}
    made = tiny.tools["interpolation"](state.networks(), jax.random.key(0), **make)
    assert made.film
    assert made.pictures.shape == (6, 8, 8, 3)
    assert made.arrays[space].shape == (6, 16)
    if space == "w":
        middle = (made.arrays["w"][0] + made.arrays["w"][2]) / 2
        np.testing.assert_allclose(made.arrays["w"][1], middle, rtol=1e-5, atol=1e-6)


def test_a_walk_on_the_sphere_keeps_the_length_and_a_steady_pace():
    points = np.random.default_rng(0).normal(size=(3, 50))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    path = latents.walk(points, 5, loop=False, sphere=True)
    assert path.shape == (11, 50)
    np.testing.assert_allclose(np.linalg.norm(path, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(path[[0, 5, 10]], points, atol=1e-6)
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    np.testing.assert_allclose(steps[:5], steps[0], rtol=1e-4)
    same = latents.walk(np.stack([points[0], points[0]]), 3, sphere=True)
    np.testing.assert_allclose(same, np.tile(points[:1], (6, 1)), atol=1e-6)


def test_projection_finds_a_picture_of_the_generator(tiny, played):
    networks = played[1].networks()
    make = {"rows": 1, "truncations": "0,1"}
    mean, truth = tiny.tools["truncation"](networks, jax.random.key(3), **make).pictures
    made = tiny.tools["projection"](
        networks, jax.random.key(0), {"image": truth}, steps=100, every_layer=True
    )
    assert made.pictures.shape == (2, 8, 8, 3)
    np.testing.assert_array_equal(made.pictures[0], truth)
    distance = np.mean((made.pictures[1] - truth) ** 2)
    np.testing.assert_allclose(made.numbers["distance"], distance, rtol=1e-3)
    assert distance < np.mean((mean - truth) ** 2) / 4
    np.testing.assert_allclose(made.numbers["psnr"], -10 * np.log10(distance / 4), rtol=1e-3)
    assert made.arrays["w"].shape == (4, 16)
    assert np.abs(np.diff(made.arrays["w"], axis=0)).max() > 1e-4  # a w for each layer
    for name in ("noise/conv4/map", "noise/up8/map", "noise/conv8/map"):  # stay normal
        np.testing.assert_allclose(made.arrays[name].mean(), 0.0, atol=1e-5)
        np.testing.assert_allclose(made.arrays[name].var(), 1.0, rtol=1e-4)


def test_projection_by_a_perceptual_distance(tiny, played, monkeypatch):
    """LPIPS of the pictures that are shown, by weights that stand in for the published files."""
    rng = np.random.default_rng(0)
    sizes = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
    backbone, heads = {}, {}
    for layer, (place, (features, inputs, side)) in enumerate(sizes.items()):
        kernel = rng.normal(size=(features, inputs, side, side)) / np.sqrt(inputs * side**2)
        backbone |= {
            f"features.{place}.weight": kernel,
            f"features.{place}.bias": kernel[:, 0, 0, 0],
        }
        heads[f"lin{layer}.model.1.weight"] = np.abs(rng.normal(size=(1, features, 1, 1)))
    files = {"alexnet": backbone, "lpips_alex": heads}
    monkeypatch.setattr(latents.weights, "load", lambda name, path: (files[name], path))
    image = {"image": np.float32(rng.uniform(-1, 1, (8, 8, 3)))}
    options = {"distance": "lpips_alex", "steps": 1, "noise": False}
    made = tiny.tools["projection"](played[1].networks(), jax.random.key(0), image, **options)
    one, other = (np.kron(x, np.ones((8, 8, 1), np.float32))[None] for x in made.pictures)
    expected = lpips.lpips(lpips.convert(backbone, heads), jnp.asarray(one), jnp.asarray(other))
    np.testing.assert_allclose(made.numbers["distance"], expected[0], rtol=1e-4)


# What is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "changes", "text"),
    [
        (
            (24, 24, 3),
            {},
            "power of two pixels, from 8; .* are 24 x 24: set data.resolution=32",
        ),
        ((16, 32, 3), {}, "are 16 x 32: set data.resolution=32"),
        ((4, 4, 1), {}, "are 4 x 4: set data.resolution=8"),
        ((2,), {}, r"makes pictures, but one example of the data has shape \(2,\)"),
        (
            (8, 8, 3),
            {"augmentation": "fixed"},
            "augmentation_p is 0.0, but a fixed .* augments nothing",
        ),
        (
            (8, 8, 3),
            {"augmentation_p": 2.0},
            "augmentation_p is 2.0, but it must be from 0 to 1",
        ),
        ((8, 8, 3), {"path_mean_decay": float("nan")}, "path_mean_decay is nan, but it must be"),
        ((8, 8, 3), {"mapping_layers": 0}, "mapping_layers is 0, but it must be at least 1"),
        ((8, 8, 3), {"minibatch_std_group": -4}, "group is -4, but it must be at least 0"),
        ((8, 8, 3), {"augmentation_rise_kimg": 0.0}, "rise_kimg is 0.0, but it must be at"),
        (
            (8, 8, 3),
            {"critic": "skip"},
            "critic is 'skip', but it must be one of residual, plain",
        ),
        (
            (8, 8, 3),
            {"augmentation": "ada"},
            "is 'ada', but it must be one of adaptive, fixed, off",
        ),
        (
            (8, 8, 3),
            {"augmentation_groups": "bgz"},
            "augmentation_groups is 'bgz', but it must be one of",
        ),
        ((8, 8, 4), {}, "has 4 channels, not 1 or 3: set augmentation_groups=bg"),
        (
            (8, 8, 3),
            {"path_batch_shrink": 9},
            "path_batch_shrink is 9, .*: set path_batch_shrink=8",
        ),
        ((8, 8, 3), {"dtype": "float16"}, "one of float32, bfloat16"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_a_sentence(shape, changes, text):
    options = dataclasses.replace(SMALL, **changes)
    battery.refused(stylegan2.game, options, DataSpec(shape, None, 9), text)


@pytest.mark.parametrize(
    ("tool", "options", "text"),
    [
        (
            "truncation",
            {"truncations": "0;1"},
            "truncations is '0;1', but it must be a tuple of numbers",
        ),
        (
            "truncation",
            {"truncations": "nan,1"},
            r"truncations is \(nan, 1.0\), but it must be finite",
        ),
        ("interpolation", {"truncation": float("nan")}, "truncation is nan, but it must"),
        ("truncation", {"label": 3}, "label is 3, but it must be from -1 to 2"),
        ("mixing", {"layers": "2-9"}, "layers is '2-9', but .* from 0 to 3: set layers=0-3"),
        ("mixing", {"layers": "all"}, "layers is 'all'"),
        ("interpolation", {"space": "v"}, "space is 'v', but it must be one of w, z"),
        ("truncation", {"rows": 0}, "rows is 0, but it must be at least 1"),
        ("mixing", {"columns": 0}, "columns is 0, but it must be at least 1"),
        ("interpolation", {"points": 1}, "points is 1, but it must be at least 2"),
        ("interpolation", {"frames": 0}, "frames is 0, but it must be at least 1"),
        ("projection", {"steps": 0}, "steps is 0, but it must be at least 1"),
        (
            "projection",
            {"distance": "lpips"},
            "is 'lpips', but it must be one of pixels, lpips_vgg",
        ),
    ],
)
def test_what_a_tool_cannot_do_is_refused_by_a_sentence(tiny, played, tool, options, text):
    image = {"image": np.zeros((8, 8, 3), np.float32)} if tool == "projection" else {}
    with pytest.raises(ValueError, match=text):
        tiny.tools[tool](played[1].networks(), jax.random.key(0), image, **options)


def test_a_picture_of_another_size_and_noise_of_another_kind_are_refused(tiny, played):
    engine, state = played
    image = {"image": np.zeros((9, 8, 3), np.float32)}
    with pytest.raises(
        ValueError, match=r"has shape \(9, 8, 3\), but this generator makes \(8, 8, 3\)"
    ):
        tiny.tools["projection"](state.networks(), jax.random.key(0), image)
    with pytest.raises(
        ValueError, match=r"noise is 'none', but it must be one of random, constant"
    ):
        engine.sample(state, jax.random.key(0), 2, noise="none")
