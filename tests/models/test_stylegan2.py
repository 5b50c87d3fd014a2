"""StyleGAN2: parity with another implementation, and the properties that define it."""

import dataclasses
import zlib
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import battery

from jaxgan import augment, draws, penalties, resample
from jaxgan.augment import ada_start
from jaxgan.engine import Engine
from jaxgan.game import Play, purpose_key
from jaxgan.models import stylegan2
from jaxgan.nets import modulated
from jaxgan.nets import stylegan2 as nets
from jaxgan.nets.features import lpips
from jaxgan.network import Network
from jaxgan.options import Option, OptionError
from jaxgan.spec import Field, Spec
from jaxgan.tools import latents
from jaxgan.train.outputs import make_output

SPEC = Spec({"image": Field("image", (8, 8, 3)), "label": Field("label", number=10)}, 1000)
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


pytestmark = pytest.mark.usefixtures("compiled_once")


def make(spec=SPEC, **changes):
    return stylegan2.game(dataclasses.replace(SMALL, **changes), spec)


def turn_of(game, name):
    (turn,) = [turn for turn in game.stages[0].turns if turn.name == name]
    return turn


# Parity -----------------------------------------------------------------------------------------------------------


def value(name, shape):
    """A parameter as a function of its name, at the scale of its initialisation or, for biases, above it."""
    x = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)
    if "mapping/" in name:
        x = x * (100 if name.endswith("kernel") else 30)
    elif name.endswith("style/bias"):
        x = 1 + 0.3 * x
    elif not name.endswith(("kernel", "constant")):
        x = 0.3 * x
    return jnp.asarray(x, jnp.float32)


def drawn(key, shape=(), dtype=jnp.float32):
    """In place of `draws.normal`: a function of the shape alone."""
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


def filled(engine):
    """A state whose parameters are those of `value`, without optimisers; all other leaves are 0."""
    shapes = engine.state_shape

    def parameter(path, leaf):
        name = "/".join(part.key for part in path)
        return value(name.removeprefix("generator/"), leaf.shape)

    params = jax.tree_util.tree_map_with_path(parameter, shapes.params)
    variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes.variables)
    variables["generator"]["path"] = {"mean": jnp.float32(0.5)}
    return shapes.replace(step=jnp.int32(0), params=params, variables=variables)


def gradient(engine, state, turn, batch, key):
    """((loss, (metrics, {player: its collections after the loss})), gradient) of the only player of a turn."""
    (mover,) = turn.players

    def loss(params):
        play = engine.play(state, batch, key, {**state.params, mover: params})
        out = turn.loss(play)
        return out.value, (out.metrics, {name: m.state for name, m in play.moved.items()})

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(state.params[mover])


@pytest.fixture(scope="module")
def reference_game():
    """(engine, state, batch); no augmentation, no mixing."""
    engine = Engine(make(augmentation="off", mixing=0.0, r1_every=16, path_every=4))
    image = np.random.default_rng(7).integers(0, 256, (8, 8, 8, 3)).astype(np.uint8)
    return engine, filled(engine), {"image": image}


def assert_close(a, b, rtol):
    scale = np.abs(b).max()
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale)


def test_networks_agree_with_another_implementation(golden, reference_game, monkeypatch):
    """rosinality/stylegan2-pytorch at bef283a, its CUDA operations written in plain PyTorch, widths of 16 and 8."""
    monkeypatch.setattr(draws, "normal", drawn)
    _, state, batch = reference_game
    params = state.params["generator"]
    mapping = nets.Mapping(16, 3)
    z = drawn(None, (8, 16))
    w, other = (mapping.apply({"params": params["mapping"]}, x, None) for x in (z, z[::-1]))
    assert_close(w, golden["w"], 1e-4)
    synthesis = nets.Synthesis(8, 3, 64, 16)
    noise = {f"{layer}": {"map": jnp.zeros(())} for layer in ("conv4", "up8", "conv8")}
    variables = {"params": params["synthesis"], "noise": noise}
    paint = jax.jit(lambda w: synthesis.apply(variables, w, rngs={"noise": jax.random.key(0)}))
    pictures = paint(jnp.broadcast_to(w[:, None], (8, 4, 16)))
    assert_close(pictures, golden["pictures"], 1e-4)
    mixed = paint(jnp.stack([w, w, other, other], axis=1))
    assert_close(mixed, golden["mixed_pictures"], 1e-4)
    critic = nets.Critic(64, 16)
    judge = jax.jit(lambda x: critic.apply({"params": state.params["critic"]}, x, None))
    assert_close(judge(batch["image"] / np.float32(127.5) - 1), golden["real_logits"], 1e-4)
    assert_close(judge(pictures), golden["fake_logits"], 1e-4)


@pytest.mark.parametrize("name", ["critic", "r1", "generator", "path"])
def test_losses_and_gradients_agree_with_another_implementation(
    golden, reference_game, monkeypatch, name
):
    """The same, for the losses of its training script: one step of every turn."""
    monkeypatch.setattr(draws, "normal", drawn)
    engine, state, batch = reference_game
    turn = turn_of(engine.game, name)
    (loss, (metrics, new)), gradients = gradient(engine, state, turn, batch, jax.random.key(0))
    if name in ("critic", "generator"):
        assert_close(loss, golden[f"{name}/loss"], 1e-4)
    else:
        assert_close(metrics["penalty"], golden[f"{name}/penalty"], 1e-3)
    if name == "path":
        assert_close(new["generator"]["path"]["mean"], golden["path/mean"], 1e-4)
    prefix = "critic/" if turn.players[0] == "critic" else ""
    gradients = {prefix + path: leaf for path, leaf in named(gradients).items()}
    norms = np.array([np.linalg.norm(gradients[path]) for path in sorted(gradients)])
    entries = np.array([np.resize(np.ravel(gradients[path]), 4) for path in sorted(gradients)])
    np.testing.assert_allclose(norms, golden[f"{name}/norms"], rtol=1e-3, atol=1e-7)
    size = golden[f"{name}/norms"][:, None]
    assert (np.abs(entries - golden[f"{name}/entries"]) <= 1e-3 * size + 1e-7).all()


# Losses by hand ---------------------------------------------------------------------------------------------------

TINY = Spec({"image": Field("image", (8, 8, 3)), "label": Field("label", number=3)}, 1000)


@pytest.fixture(scope="module")
def tiny():
    """Everything on: classes, mixing, both regularisers, augmentation that adapts."""
    return make(TINY, conditional=True, augmentation_groups="b", augmentation_rise_kimg=0.1)


class ByHand:
    """The losses of `tiny` from the formulas, with plain `apply` of the networks.

    Its random numbers come from `play.rng` for the same purposes as the model's.
    """

    def __init__(self, params, variables, play):
        self.play, self.label = play, play.batch["label"]
        self.params, self.variables = params, variables
        mapping, synthesis = nets.Mapping(16, 3, num_classes=3), nets.Synthesis(8, 3, 64, 16)
        self.generator = nets.Generator(mapping, synthesis)
        self.critic = nets.Critic(64, 16, num_classes=3, mapping_layers=2)
        self.own = {"params": params["generator"], "noise": variables["generator"]["noise"]}

    def styles(self, num):
        """(mixed styles, the styles of the first latents)."""
        key, second_key = jax.random.split(self.play.rng("mixing"))
        z = jax.random.normal(self.play.rng("latent"), (2 * num, 16))
        label = self.label[:num]
        one, other = (
            self.generator.apply(self.own, part, label, method="style")
            for part in (z[0::2], z[1::2])
        )
        first = jax.random.randint(key, (num,), 1, 4)
        mixed = jax.random.uniform(second_key, (num, 1))[:, 0] < 0.9
        layers = [jnp.where((mixed & (i >= first))[:, None], other, one) for i in range(4)]
        return jnp.stack(layers, axis=1), one

    def paint(self, w):
        rngs = {"noise": self.play.rng("noise")}
        return self.generator.apply(self.own, w, "random", method="paint", rngs=rngs)

    def logits(self, pictures, purpose):
        key = self.play.rng(f"augmentation of {purpose}")
        p = self.variables["critic"]["augmentation"]["ada"].p
        shown = augment.ada(pictures, key, p, "b")
        return self.critic.apply({"params": self.params["critic"]}, shown, self.label)

    def both(self):
        fake = self.paint(self.styles(8)[0])
        return self.logits(self.play.batch["image"], "real"), self.logits(fake, "fake")

    # Each turn: (loss, (metrics, collections that it sets)).

    def critic_turn(self):
        real, fake = self.both()
        ada = self.variables["critic"]["augmentation"]["ada"]
        overfitting = (ada.real + jnp.sum(jnp.sign(real))) / (ada.images + 8)
        step = jnp.sign(overfitting - 0.6) * (ada.images + 8) / 100
        p = jnp.clip(ada.p + step, 0, 1)
        metrics = {
            "real": jnp.mean(real),
            "fake": jnp.mean(fake),
            "overfitting": overfitting,
            "p": p,
        }
        metrics["gap"] = metrics["real"] - metrics["fake"]
        loss = jnp.mean(jnp.log1p(jnp.exp(-real))) + jnp.mean(jnp.log1p(jnp.exp(fake)))
        ada = ada_start()._replace(p=p, overfitting=overfitting)
        return loss, (metrics, {"augmentation": {"ada": ada}})

    def r1_turn(self):
        """gamma / 2 E |grad C|^2, times the interval."""
        slope = jax.grad(lambda x: jnp.sum(self.logits(x, "real")))(self.play.batch["image"])
        penalty = jnp.mean(jnp.sum(slope**2, axis=(1, 2, 3))) / 2
        return 2 * 10.0 * penalty, ({"penalty": penalty}, {})

    def generator_turn(self):
        logits, style = self.both()[1], jnp.mean(self.styles(8)[1], axis=0)
        average = 0.995 * self.variables["generator"]["average"]["style"] + 0.005 * style
        return jnp.mean(jnp.log1p(jnp.exp(-logits))), ({}, {"average": {"style": average}})

    def path_turn(self):
        """On half of the batch."""
        w, _ = self.styles(4)
        y = jax.random.normal(self.play.rng("direction"), (4, 8, 8, 3)) / 8
        slope = jax.grad(lambda w: jnp.sum(self.paint(w) * y))(w)
        lengths = jnp.sqrt(jnp.mean(jnp.sum(slope**2, axis=2), axis=1))
        mean = 0.99 * self.variables["generator"]["path"]["mean"] + 0.01 * jnp.mean(lengths)
        mean = jax.lax.stop_gradient(mean)
        penalty = jnp.mean((lengths - mean) ** 2)
        return 2 * 2.0 * penalty, ({"penalty": penalty, "length": mean}, {"path": {"mean": mean}})


@pytest.fixture(scope="module")
def setting(tiny):
    """(engine, state, batch) of large parameters, p = 0.9 and a controller that is due."""
    engine = Engine(tiny)
    state = filled(engine)
    maps = jax.tree.map(lambda x: drawn(None, x.shape), state.variables["generator"]["noise"])
    ada = ada_start(0.9)._replace(
        **{k: jnp.float32(v) for k, v in (("real", 5), ("images", 24), ("steps", 3))}
    )
    generator = {
        **state.variables["generator"],
        "noise": maps,
        "average": {"style": jnp.full(16, 0.3)},
    }
    variables = {"generator": generator, "critic": {"augmentation": {"ada": ada}}}
    batch = battery.batch(TINY, 0, tiny.stages[0], 0)
    assert len(set(batch["label"])) == 3
    return engine, state.replace(variables=variables), batch


@pytest.mark.parametrize(
    "name", ["critic", "r1", "generator", pytest.param("path", marks=pytest.mark.slow)]
)
def test_losses_gradients_and_state_are_those_by_hand(setting, name):
    engine, state, batch = setting
    # With this key 2 real and 1 generated logits are positive, so that the controller's measure is of the reals.
    turn, key = turn_of(engine.game, name), jax.random.key(5)
    (mover,) = turn.players

    def by_hand(params):
        play = engine.play(state, batch, key)
        hand = ByHand({**state.params, mover: params}, state.variables, play)
        return getattr(hand, f"{name}_turn")()

    by_hand = jax.jit(jax.value_and_grad(by_hand, has_aux=True))
    (expected, (metrics, assigned)), slopes = by_hand(state.params[mover])
    (loss, (found, new)), found_slopes = gradient(engine, state, turn, batch, key)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    for path, slope in named(slopes).items():
        far = np.linalg.norm(named(found_slopes)[path] - slope)
        assert far <= 1e-3 * np.linalg.norm(slope) + 1e-6, path
    assert found.keys() == metrics.keys()
    for metric, x in metrics.items():
        np.testing.assert_allclose(found[metric], x, rtol=1e-4, atol=1e-6, err_msg=metric)
    assert new.keys() <= {mover}
    expected = {**state.variables[mover], **assigned}
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4), new.get(mover, expected), expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["critic", *(pytest.param(n, marks=pytest.mark.slow) for n in ("generator", "path"))]
)
def test_means_and_controller_move_once_per_move_of_two_micro_batches(setting, name):
    """To the mean of what the two give from the state before the move; the controller counts the images of both."""
    engine, state, batch = setting
    engine, turn = Engine(engine.game, accumulate=2), turn_of(engine.game, name)
    (mover,) = turn.players
    key = jax.random.fold_in(purpose_key(engine.run_key, f"turn {name}", 0), 0)

    @jax.jit
    def assigned(micro, key):
        play = dataclasses.replace(engine.play(state, micro, key), batch_size=8)
        turn.loss(play)
        return play.moved[mover].assigned

    halves = [
        assigned({field: x[i::2] for field, x in batch.items()}, jax.random.fold_in(key, i))
        for i in range(2)
    ]
    adam = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), engine.state_shape.opt_state)
    before = state.replace(opt_state=adam, ema={})
    # Only the variables: XLA leaves the gradients out.
    move = jax.jit(lambda *args: engine._play_turn(turn, *args)[0].variables[mover])
    after = move(before, batch, engine.run_key, 0)
    expected = jax.tree.map(lambda a, b: (a + b) / 2, *halves)
    assert expected
    for collection, tree in expected.items():
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4), after[collection], tree)
    if name == "critic":
        # 24 images before and 8 in this move, of the 100 in which p may rise to 1.
        assert after["augmentation"]["ada"].p == pytest.approx(0.9 - 0.32)


def test_default_hyper_parameters_are_the_papers():
    """Config F of StyleGAN2, with ADA's augmentations, controller and average."""
    options = stylegan2.Options()
    paper = dict(
        latent_dim=512, style_dim=512, mapping_layers=8, mapping_lr_multiplier=0.01, channel_base=32_768,
        channel_max=512, critic="residual", minibatch_std_group=4, batch_size=32, learning_rate=0.002, beta1=0.0,
        beta2=0.99, r1_gamma=10.0, r1_every=16, path_weight=2.0, path_every=4, path_batch_shrink=2,
        path_mean_decay=0.99, mixing=0.9, average_style_decay=0.995, ema_half_life_kimg=10.0, ema_ramp_up=0.05,
        augmentation="adaptive", augmentation_groups="bgc", augmentation_p=0.0, augmentation_target=0.6,
        augmentation_rise_kimg=500.0,
    )  # fmt: skip
    assert {name: getattr(options, name) for name in paper} == paper


def test_players_and_layers_start_from_different_keys(played):
    kernels = [np.asarray(x) for x in jax.tree.leaves(played[0].init().params) if x.ndim > 1]
    for i, one in enumerate(kernels):
        for other in kernels[:i]:
            assert one.shape != other.shape or np.abs(one - other).max() > 0.1


# What every game must hold ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def played(tiny):
    return battery.check_trains(tiny, TINY, 3)


@pytest.fixture(scope="module")
def trained(played):
    """seed -> what a tool is given of the trained networks."""
    engine, state = played
    networks, clock = engine.game.networks(state), engine.game.clock(state.step)
    return lambda seed=0: Play(networks, {}, jax.random.key(seed), clock, 0)


def test_resumes_bit_for_bit_between_the_regularisers(played):
    battery.check_resume(played[0], TINY, 1, 3)


# The generator's loss goes through both networks; the other turns compile for half a minute.
@pytest.mark.slow
@pytest.mark.parametrize("turns", [("generator",), None])
def test_recomputed_activations_change_neither_parameters_nor_gradients(turns):
    changes = dict(conditional=True, augmentation="fixed", augmentation_p=0.9, batch_size=4)
    if (
        turns is not None
    ):  # what is recomputed is in the networks; the rest doubles the time to compile
        changes = dict(augmentation="off", mixing=0.0, mapping_layers=1, batch_size=4)
    kept, again = (make(TINY, **changes, remat=remat) for remat in (False, True))
    battery.check_remat(kept, again, TINY, turns=turns)


@pytest.mark.slow
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
    (
        "stylegan2",
        Spec({"image": Field("image", (32, 32, 3)), "label": Field("label", number=10)}, 50_000),
        (),
    ): {
        "critic": 21_507_073,
        "generator": 21_523_475,
    },
    (
        "stylegan2",
        Spec({"image": Field("image", (32, 32, 3)), "label": Field("label", number=10)}, 50_000),
        (("conditional", True), ("critic", "plain"), ("mapping_layers", 2)),
    ): {"critic": 23_089_664, "generator": 20_215_315},
    (
        "stylegan2",
        Spec({"image": Field("image", (256, 256, 3))}, 1000),
        (("channel_base", 16_384),),
    ): {
        "critic": 24_001_089,
        "generator": 24_767_458,
    },
    ("stylegan2", Spec({"image": Field("image", (1024, 1024, 3))}, 1000), ()): {
        "critic": 29_012_513,
        "generator": 30_370_060,
    },
}


# What makes it StyleGAN2 ------------------------------------------------------------------------------------------


def own_kernels(x, kernel, style, demodulate, up):
    """The paper's form: each image has its own kernel, and the convolution follows the filter."""
    k = kernel[None] * style[:, None, None, :, None]
    if demodulate:
        k = k / jnp.sqrt(jnp.sum(jnp.square(k), axis=(1, 2, 3), keepdims=True) + 1e-8)
    if up:
        x = jnp.pad(
            x, ((0, 0), (2, 2), (2, 2), (0, 0))
        )  # the filter's output extends beyond the edges
        x = resample.upsample_fir(x, modulated.FIR)

    def one(x, k):
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x[None], k, (1, 1), "SAME", dimension_numbers=layout)[0]

    y = jax.vmap(one)(x, k)
    return y[:, 4:-4, 4:-4] if up else y


@pytest.mark.parametrize(("demodulate", "up"), [(True, False), (True, True), (False, False)])
def test_modulation_equals_a_kernel_for_each_image(key, demodulate, up):
    x, style = jax.random.normal(key, (3, 4, 4, 5)), 1 + jax.random.normal(key, (3, 5))
    kernel, y = jax.random.normal(key, (3, 3, 5, 4)), jax.random.normal(key, (3, 8, 8, 4))
    y = y if up else y[:, :4, :4]

    def scaled(form):
        return lambda *args: jnp.sum(y * form(*args, demodulate, up))

    one, other = (
        jax.jit(jax.value_and_grad(scaled(form), (0, 1, 2)))(x, kernel, style)
        for form in (modulated.modulated_conv, own_kernels)
    )
    jax.tree.map(lambda a, b: assert_close(a, b, 1e-4), one, other)


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
    """(synthesis, its initial variables)."""
    synthesis = nets.Synthesis(8, 3, 64, 8)
    init = jax.jit(lambda key: synthesis.init(key, jnp.zeros((1, 4, 6)), "constant"))
    return synthesis, init(jax.random.key(0))


def test_layers_before_the_crossover_depend_on_the_first_latent_only(key, painter):
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


def test_noise_has_no_effect_at_its_initial_strength(painter):
    synthesis, variables = painter
    w = jnp.ones((1, 4, 6))

    @jax.jit
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


def test_the_last_layers_compute_in_float32_for_any_dtype(key):
    critic = nets.Critic(64, 8, dtype=jnp.bfloat16)
    x = jax.random.normal(key, (4, 8, 8, 3))
    params = jax.eval_shape(lambda: critic.init(key, x, None))
    logits, seen = jax.eval_shape(
        lambda params: critic.apply(params, x, None, capture_intermediates=True), params
    )
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
def judged():
    """{augmentation: (sign, p, rounds) -> (loss, p afterwards)}: the critic's loss on one batch, so many times.

    The last layer's bias is large and of that sign, so all logits of one class have the same sign.
    """
    changes = {"augmentation_groups": "b", "augmentation_target": 0.0, "mixing": 0.0}
    changes |= {"mapping_layers": 1, "critic": "plain"}
    engine = Engine(make(TINY, **changes))
    state, batch = filled(engine), battery.batch(TINY, 0, engine.game.stages[0], 0)

    def prepare(augmentation):
        start = 0.5 if augmentation == "fixed" else 0.0  # replaced below
        game = make(
            TINY,
            **changes,
            augmentation=augmentation,
            augmentation_p=start,
            augmentation_rise_kimg=1.0,
        )
        engine, turn = Engine(game), turn_of(game, "critic")

        @jax.jit
        def loss(params, ada):
            variables = {**state.variables, "critic": {"augmentation": {"ada": ada}}}
            play = engine.play(state, batch, jax.random.key(1), params, variables)
            return turn.loss(play).value, play.moving("critic")["augmentation"]["ada"]

        def judge(sign, p=0.0, rounds=1):
            output = state.params["critic"]["output"]
            output = {**output, "bias": jnp.full(output["bias"].shape, 100.0 * sign)}
            params = {**state.params, "critic": {**state.params["critic"], "output": output}}
            ada = ada_start(p)
            for _ in range(rounds):
                value, ada = loss(params, ada)
            return float(value), float(ada.p)

        return judge

    return {name: prepare(name) for name in ("off", "fixed", "adaptive")}


def test_augmentation_changes_the_loss_at_p_1_and_not_at_p_0(judged):
    plain, _ = judged["off"](0.0)
    for name in ("fixed", "adaptive"):
        np.testing.assert_allclose(judged[name](0.0, p=0.0)[0], plain, rtol=1e-6)
    augmented, p = judged["fixed"](0.0, p=1.0, rounds=5)
    assert abs(augmented - plain) > 1e-6
    assert p == 1.0


def test_p_rises_if_the_critic_overfits_and_falls_otherwise(judged):
    """32 images are 0.032 of the thousand in which p may rise to 1."""
    assert judged["adaptive"](1.0, p=0.5, rounds=3)[1] == 0.5
    ends = [judged["adaptive"](sign, p=0.5, rounds=4)[1] for sign in (1.0, -1.0)]
    np.testing.assert_allclose(sorted(ends), [0.5 - 0.032, 0.5 + 0.032], rtol=1e-5)


def test_adam_of_a_player_with_a_regulariser_counts_rounds():
    """A constant gradient, against Adam written out with lr and betas to the power of 4 / 5."""
    optimizer = make(beta1=0.5, r1_every=4).players["critic"].optimizer
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
    for changes, player, rate in (
        ({"r1_gamma": 0.0}, "critic", 0.002),
        ({"path_weight": 0.0}, "generator", 0.002),
        ({"path_every": 3}, "generator", 0.0015),
    ):
        optimizer = make(**changes).players[player].optimizer
        with jax.numpy_dtype_promotion("standard"):
            update, _ = optimizer.update(jnp.ones(()), optimizer.init(jnp.zeros(())))
        np.testing.assert_allclose(update, -rate, rtol=1e-5)


@pytest.mark.parametrize("resolution", [8, 64])
def test_a_path_weight_of_2_is_the_papers(key, resolution):
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


def labels(rows):
    return {"label": (rows % 3).astype(np.int32)}


def test_truncation_to_0_makes_the_picture_of_the_mean_style(tiny, played):
    engine, state = played
    options = {"truncation": 0.0, "noise": "constant"}
    same = make_output(engine, state, "samples", jax.random.key(0), 3, labels, **options)
    np.testing.assert_array_equal(same[0], same[1])
    network = engine.game.networks(state)["generator"]
    synthesis = nets.Synthesis(8, 3, 64, 16)
    w = jnp.broadcast_to(network["average"]["style"], (1, 4, 16))
    variables = {"params": network.params["synthesis"], "noise": network["noise"]["synthesis"]}
    mean = jax.jit(lambda variables: synthesis.apply(variables, w, "constant"))(variables)
    np.testing.assert_allclose(same[0], np.clip(mean[0], -1, 1), atol=1e-5)
    w, other = jnp.ones((2, 4, 16)), jnp.zeros(16)
    cut = latents.truncate(w, other, 0.25, 1)
    np.testing.assert_array_equal(cut[:, 0], 0.25)
    np.testing.assert_array_equal(cut[:, 1:], 1.0)


def test_samples_are_truncated_pictures_of_their_labels(played):
    engine, state = played
    key = jax.random.key(4)
    options = {"truncation": 0.7, "truncation_layers": 2, "noise": "constant"}
    made = make_output(engine, state, "samples", key, 3, labels, **options)
    latent_key = jax.random.fold_in(jax.random.fold_in(key, 0), zlib.crc32(b"latent"))
    z = jax.random.normal(latent_key, (engine.chunk_rows("samples"), 16))[:3]
    averaged = {**state.variables["generator"], **state.ema["generator"]}
    generator = nets.Generator(nets.Mapping(16, 3, num_classes=3), nets.Synthesis(8, 3, 64, 16))

    @jax.jit
    def by_hand(averaged):
        w = generator.apply(averaged, z, jnp.arange(3), method="style")[:, None]
        cut = averaged["average"]["style"][None, None] * 0.3 + 0.7 * w
        w = jnp.concatenate([cut, cut, w, w], axis=1)
        return jnp.clip(generator.apply(averaged, w, "constant", method="paint"), -1, 1)

    expected = by_hand(averaged)
    np.testing.assert_allclose(made, expected, rtol=1e-3, atol=1e-5)
    options = {**options, "noise": "random"}
    assert np.abs(make_output(engine, state, "samples", key, 3, labels, **options) - made).max() > 0


def test_the_running_mean_of_styles_approaches_their_mean(tiny, played):
    """Three rounds bring it to 1 - 0.995^3 of the mean."""
    _, state = played
    average = np.asarray(state.variables["generator"]["average"]["style"])
    z = jax.random.normal(jax.random.key(5), (999, 16))
    w = nets.Mapping(16, 3, num_classes=3).apply(
        {"params": state.params["generator"]["mapping"]}, z, jnp.arange(999) % 3
    )
    share = average @ np.mean(w, axis=0) / np.sum(np.mean(w, axis=0) ** 2)
    np.testing.assert_allclose(share, 1 - 0.995**3, rtol=0.5)


# Tools ------------------------------------------------------------------------------------------------------------


def test_grid_of_truncations(tiny, trained):
    made = tiny.tools["truncation"](trained(), rows=2, truncations="0,1")
    assert made.pictures.shape == (4, 8, 8, 3)
    assert made.columns == 2
    np.testing.assert_array_equal(made.pictures[0], made.pictures[2])
    assert np.abs(made.pictures[1] - made.pictures[3]).max() > 1e-4


def test_grid_of_mixed_styles(tiny, trained):
    make = {"rows": 2, "columns": 2, "truncation": 1.0, "label": 1}
    tool = tiny.tools["mixing"]
    grid = tool(trained(), layers="0-3", **make).pictures.reshape(3, 3, 8, 8, 3)
    np.testing.assert_allclose(grid[1, 1:], grid[0, 1:], atol=1e-6)  # all styles from the column
    np.testing.assert_allclose(grid[2, 1:], grid[0, 1:], atol=1e-6)
    made = tool(trained(), layers="2", **make)
    w = made.arrays["w"].reshape(3, 3, 4, -1)
    np.testing.assert_array_equal(w[1, 2][2], w[0, 2][2])
    np.testing.assert_array_equal(w[1, 2][[0, 1, 3]], w[1, 0][[0, 1, 3]])


@pytest.mark.parametrize("space", ["w", "z"])
def test_film_of_a_walk(tiny, trained, space):
    make = {"points": 3, "frames": 2, "space": space}
    made = tiny.tools["interpolation"](trained(), **make)
    assert made.film
    assert made.pictures.shape == (6, 8, 8, 3)
    assert made.arrays[space].shape == (6, 16)
    if space == "w":
        middle = (made.arrays["w"][0] + made.arrays["w"][2]) / 2
        np.testing.assert_allclose(made.arrays["w"][1], middle, rtol=1e-5, atol=1e-6)


def test_a_walk_on_the_sphere_keeps_the_length_in_equal_steps():
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


@pytest.mark.slow
def test_projection_finds_a_picture_of_the_generator(tiny, trained):
    make = {"rows": 1, "truncations": "0,1"}
    mean, truth = tiny.tools["truncation"](trained(3), **make).pictures
    made = tiny.tools["projection"](trained(), {"image": truth}, steps=100, every_layer=True)
    assert made.pictures.shape == (2, 8, 8, 3)
    np.testing.assert_array_equal(made.pictures[0], truth)
    distance = np.mean((made.pictures[1] - truth) ** 2)
    np.testing.assert_allclose(made.numbers["distance"], distance, rtol=1e-3)
    assert distance < np.mean((mean - truth) ** 2) / 4
    np.testing.assert_allclose(made.numbers["psnr"], -10 * np.log10(distance / 4), rtol=1e-3)
    assert made.arrays["w"].shape == (4, 16)
    assert np.abs(np.diff(made.arrays["w"], axis=0)).max() > 1e-4  # a w for each layer
    for name in ("conv4", "up8", "conv8"):  # stay normal
        np.testing.assert_allclose(
            made.arrays[f"noise/synthesis/{name}/map"].mean(), 0.0, atol=1e-5
        )
        np.testing.assert_allclose(made.arrays[f"noise/synthesis/{name}/map"].var(), 1.0, rtol=1e-4)


class Toy(nn.Module):
    """A conditional generator without styles: pictures 2x2 of z [B, 3]."""

    @nn.compact
    def __call__(self, z, label):
        x = jnp.concatenate([z, jax.nn.one_hot(label, 2)], axis=1)
        return nn.Dense(4, kernel_init=nn.initializers.normal(0.3))(x).reshape(-1, 2, 2, 1)


@pytest.fixture
def toy(key):
    """(a play, its space of latents); the generator has no styles."""
    variables = Toy().init(key, jnp.zeros((1, 3)), jnp.zeros((1,), jnp.int32))
    space = latents.Space(
        lambda networks, z, label: z,
        lambda networks, z, label: networks["generator"](z, label),
        sphere=False,
    )
    return Play({"generator": Network(Toy(), variables)}, {}, key, None, 0), space


def uniform(key, num):
    return jax.random.uniform(key, (num, 3), minval=-1.0)


def test_projection_of_a_generator_without_styles(toy):
    play, space = toy
    tool = latents.projection("z", space, latents.Latents(uniform, 2), (2, 2, 1))
    z, label = jnp.array([[0.7, -0.4, 0.2]]), jnp.array([1])
    truth = np.asarray(play.networks["generator"](z, label)[0])
    made = tool(play, {"image": truth}, steps=300, learning_rate=0.05, label=1)
    np.testing.assert_allclose(made.pictures[1], truth, atol=0.02)
    assert made.arrays.keys() == {"z"}
    assert made.arrays["z"].shape == (3,)
    np.testing.assert_allclose(made.numbers["distance"], np.mean((made.pictures[1] - truth) ** 2))
    assert {"every_layer", "noise"}.isdisjoint(tool.options)


@pytest.mark.parametrize("prior", [uniform, None])
def test_a_walk_connects_latents_of_the_prior_given_or_standard_normal(toy, prior):
    play, space = toy
    tool = latents.interpolation({"z": space}, 3, 2, prior=prior)
    made = tool(play, points=40, frames=1)
    z = (prior or latents.normal(3))(jax.random.split(play.key)[0], 40)
    np.testing.assert_array_equal(made.arrays["z"], z)
    assert (np.abs(z).max() > 1.0) == (prior is None)
    labels = jax.random.randint(jax.random.split(play.key)[1], (40,), 0, 2)
    pictures = play.networks["generator"](z, labels)
    np.testing.assert_allclose(made.pictures, np.clip(pictures, -1, 1), rtol=1e-5, atol=1e-6)


def test_a_walk_of_seeds_meets_the_same_latents_in_any_company(toy):
    play, space = toy
    tool = latents.interpolation({"z": space}, 3, 2, prior=uniform)
    walk = tool(play, seeds=(5, 2, 5), frames=2, loop=False).arrays["z"]
    assert walk.shape == (5, 3)
    np.testing.assert_array_equal(walk[0], walk[4])
    np.testing.assert_array_equal(walk[2:], tool(play, seeds="2,5", frames=2).arrays["z"][:3])
    z, _ = latents.Latents(uniform, 2).draw(jax.random.key(5), 1)
    np.testing.assert_array_equal(walk[:1], z)
    with pytest.raises(OptionError, match=r"seeds is \(7,\), but .*: set seeds=\(7, 8\)"):
        tool(play, seeds=(7,))


def test_other_numbers_compile_nothing_in_walks_and_projections(toy):
    """A second call compiled everything anew, with the same options too."""
    play, space = toy
    painted = []

    def paint(networks, z, label, shrink=1.0):
        painted.append(shrink)
        return shrink * networks["generator"](z, label)

    space = space._replace(paint=paint)
    option = {"shrink": Option(1.0, "factor")}
    film = latents.interpolation({"z": space}, 3, 2, option, prior=uniform)
    search = latents.projection("z", space, latents.Latents(uniform, 2), (2, 2, 1))
    image = np.zeros((2, 2, 1), np.float32)
    for make in (
        lambda x: film(play, points=8, frames=1, shrink=x),
        lambda x: search(play, {"image": image}, steps=2, learning_rate=x),
    ):
        one, programs = make(0.1), len(painted)
        other = make(0.2)
        assert len(painted) == programs
        assert (one.pictures[-1] != other.pictures[-1]).any()


def test_style_tools_draw_latents_of_their_prior(trained):
    """All latents are one: all rows are the same."""
    styles = latents.Styles(16, 4, 3, (8, 8, 3), prior=lambda key, num: jnp.ones((num, 16)))
    tools = latents.style_tools(styles)
    made = tools["truncation"](trained(), rows=2, truncations="0.5,1", label=1)
    w = made.arrays["w"].reshape(2, 2, 4, 16)
    np.testing.assert_array_equal(w[0], w[1])
    generator = trained().networks["generator"]
    expected = generator(jnp.ones((1, 16)), jnp.array([1]), method="style")[0]
    np.testing.assert_allclose(w[1, 1], np.tile(expected, (4, 1)), rtol=1e-5)
    made = tools["interpolation"](trained(), points=2, frames=1, space="z")
    np.testing.assert_array_equal(made.arrays["z"], 1.0)


@pytest.mark.slow
def test_projection_by_a_perceptual_distance(tiny, trained, monkeypatch):
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
    made = tiny.tools["projection"](trained(), image, **options)
    one, other = (np.kron(x, np.ones((8, 8, 1), np.float32))[None] for x in made.pictures)
    expected = jax.jit(lpips.lpips)(lpips.convert(backbone, heads), one, other)
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
        ((2,), {}, "stylegan2 needs a picture 'image' in each example, but the data has only"),
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
        ((8, 8, 3), {"mapping_layers": 0}, "mapping_layers is 0, but it must be from 1 to 1000"),
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
    kind = "image" if len(shape) == 3 else "points"
    battery.assert_refused(stylegan2.game, options, Spec({"image": Field(kind, shape)}, 9), text)


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
def test_what_a_tool_cannot_do_is_refused_by_a_sentence(tiny, trained, tool, options, text):
    image = {"image": np.zeros((8, 8, 3), np.float32)} if tool == "projection" else {}
    with pytest.raises(ValueError, match=text):
        tiny.tools[tool](trained(), image, **options)


def test_a_picture_of_another_size_and_noise_of_another_kind_are_refused(tiny, trained, played):
    engine, state = played
    image = {"image": np.zeros((9, 8, 3), np.float32)}
    with pytest.raises(
        ValueError, match=r"has shape \(9, 8, 3\), but this generator makes \(8, 8, 3\)"
    ):
        tiny.tools["projection"](trained(), image)
    with pytest.raises(
        ValueError, match=r"noise is 'none', but it must be one of random, constant"
    ):
        make_output(engine, state, "samples", jax.random.key(0), 2, labels, noise="none")
