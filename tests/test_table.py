"""Every public function of the pure modules against one battery; the table is in `tests/table/`.

A hand value, NumPy from the paper (for a batch and for one sample), finite differences, extreme inputs, bfloat16, and
the same numbers under jit, vmap and eight devices.
"""

import contextlib
import functools
import importlib
import inspect
import pkgutil
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import table
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxgan

MODULES = [module.name for module in pkgutil.iter_modules(table.__path__)]
CASES = [case for name in MODULES for case in importlib.import_module(f"table.{name}").CASES]


def function(case):
    return public(case.function) if case.call is None else case.call


def program(case, function):
    """`jax.jit` of a function that calls the case's, unless that cannot be traced: one program, not many."""
    return function if "jit" in case.skip else jax.jit(function)


PROGRAMS = {}


def compiled(case):
    """The function as a program, which several properties call with arrays of the same shapes."""
    if str(case) not in PROGRAMS:
        PROGRAMS[str(case)] = program(case, function(case))
    return PROGRAMS[str(case)]


def traced(case):
    """The function, of which only shapes and dtypes are computed, unless it cannot be traced."""
    call = function(case)
    return call if "jit" in case.skip else functools.partial(jax.eval_shape, call)


def dtype_of(leaf):
    return str(getattr(leaf, "dtype", np.asarray(leaf).dtype))


def public(name):
    first, *rest = name.split(".")
    return functools.reduce(getattr, rest, importlib.import_module(f"jaxgan.{first}"))


def floating(x):
    return np.issubdtype(np.asarray(x).dtype, np.floating) or jnp.asarray(x).dtype == jnp.bfloat16


def map_floats(f, arrays):
    return jax.tree.map(lambda x: f(x) if floating(x) else x, arrays)


def draw(case, batch=8, seed=0):
    return tuple(case.draw(np.random.default_rng(seed), batch))


def assert_close(found, expected, rtol, atol):
    jax.tree.map(
        lambda f, e: np.testing.assert_allclose(np.float64(f), e, rtol=rtol, atol=atol),
        found,
        expected,
    )


def of_wrt(case, arrays):
    """The function of its differentiable arrays alone, and those arrays."""

    def call(*chosen):
        full = list(arrays)
        for i, value in zip(case.wrt, chosen, strict=True):
            full[i] = value
        return function(case)(*full)

    return call, tuple(jax.tree.map(jnp.asarray, arrays[i]) for i in case.wrt)


# Properties of which the quick tests hold one case in three: wrong values show in the others, and the rest is slow.
THINNED = ("extremes", "bfloat16", "vmap", "jit", "gradients")


def is_slow(name, number, case):
    """Whether the test of a property is marked slow for the case of this number."""
    thinned = name in THINNED and (number + THINNED.index(name)) % 3 != 0
    return thinned or (case.slow and name != "reference")


def cases_with(name, quick=False):
    """The cases that do not skip the property; if its test is quick, none is marked slow."""
    return pytest.mark.parametrize(
        "case",
        [
            pytest.param(
                case, marks=pytest.mark.slow if not quick and is_slow(name, number, case) else ()
            )
            for number, case in enumerate(CASES)
            if name not in case.skip
        ],
        ids=str,
    )


@pytest.mark.parametrize("module", table.PURE)
def test_every_public_function_is_in_the_table(module):
    public = table.public_functions(importlib.import_module(f"jaxgan.{module}"))
    tested = {case.function for case in CASES if case.function.split(".")[0] == module}
    assert tested == set(public)


@pytest.mark.parametrize("module", table.PURE)
def test_every_public_function_has_an_example_that_the_doctests_run(module):
    module = importlib.import_module(f"jaxgan.{module}")
    for name, function in table.public_functions(module).items():
        owner = getattr(
            module, name.split(".")[1]
        )  # a namespace's example may stand in its own docstring
        assert any(">>> " in inspect.getdoc(value) for value in (function, owner)), name


def test_a_function_that_is_not_in_the_table_is_found():
    module = ModuleType("jaxgan.example")
    exec(
        "def shown(x): return x\n"
        "def _hidden(x): return x\n"
        "class pair:\n"
        "    @staticmethod\n"
        "    def critic(x): return x\n"
        "from math import sqrt\n",
        vars(module),
    )
    assert set(table.public_functions(module)) == {"example.shown", "example.pair.critic"}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_a_case_leaves_out_has_a_reason(case):
    assert set(case.skip) <= set(table.PROPERTIES)
    assert all(len(why) > 10 for why in case.skip.values())
    assert case.hand or "hand" in case.skip
    assert case.reference or "reference" in case.skip
    assert case.wrt or "gradients" in case.skip
    assert jaxgan.__name__ not in case.function


@cases_with("hand")
def test_hand_values(case):
    for lists, expected in case.hand:
        leaves, structure = jax.tree.flatten(draw(case))
        given = structure.flatten_up_to(lists)
        arrays = structure.unflatten(
            jnp.asarray(value, np.asarray(x).dtype) for value, x in zip(given, leaves, strict=True)
        )
        assert_close(compiled(case)(*arrays), expected, case.rtol, case.atol)


@cases_with("reference")
@pytest.mark.parametrize("batch", [8, pytest.param(1, marks=pytest.mark.slow)])
def test_the_papers_formula_in_numpy(case, batch):
    if batch == 1 and "one" in case.skip:
        pytest.skip(case.skip["one"])
    arrays = draw(case, batch)
    expected = case.reference(*map_floats(np.float64, arrays))
    assert_close(compiled(case)(*arrays), expected, case.rtol, case.atol)


@cases_with("gradients")
def test_gradients_against_finite_differences(case):
    """As `jax.test_util.check_grads` in mode "rev", in one program."""
    arrays = tuple((case.smooth or case.draw)(np.random.default_rng(4), 3))
    rng = np.random.default_rng(5)
    call, chosen = of_wrt(case, arrays)
    like = functools.partial(jax.tree.map, lambda x: rng.normal(size=x.shape).astype(np.float32))
    direction = like(chosen)
    weights = [
        like(jax.eval_shape(call, *chosen)) if "jit" not in case.skip else like(call(*chosen))
    ]
    weights += [like(chosen) for _ in range(case.order - 1)]

    def slopes(*chosen):
        return list(both_slopes(call, chosen, direction, weights))

    for by_gradient, by_difference in program(case, slopes)(*chosen):
        np.testing.assert_allclose(by_gradient, by_difference, rtol=2e-2, atol=5e-3)


def both_slopes(f, at, direction, weights):
    """For each order, the slope of sum(weights * f) along `direction` by its gradient, and by finite differences."""
    eps = np.float32(1e-2)  # as large a step as float32 needs

    def projected(sign):
        return f(*jax.tree.map(lambda x, v: x + sign * eps * v, at, direction))

    difference = jax.tree.map(lambda a, b: (a - b) / (2 * eps), projected(1), projected(-1))
    _, pullback = jax.vjp(f, *at)
    yield inner(pullback(weights[0]), direction), inner(difference, weights[0])
    if weights[1:]:
        gradient = lambda *at: jax.vjp(f, *at)[1](weights[0])  # noqa: E731
        yield from both_slopes(gradient, at, direction, weights[1:])


def inner(a, b):
    return sum(
        jnp.sum(x * y, dtype=jnp.float32)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@cases_with("extremes")
def test_extreme_inputs_keep_value_and_gradient_finite(case):
    def value_and_gradient(*arrays):
        call, chosen = of_wrt(case, arrays)
        every = tuple(range(len(chosen)))
        return call(*chosen), jax.grad(sum_of(call), every)(*chosen) if case.wrt else ()

    both = program(case, value_and_gradient)
    for scale in case.scales:
        which = range(len(draw(case))) if case.scaled is None else case.scaled
        arrays = [
            map_floats(lambda x, s=scale: np.float32(s) * x, a) if i in which else a
            for i, a in enumerate(draw(case))
        ]
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(both(*arrays)))


@cases_with("bfloat16")
def test_bfloat16_in(case):
    arrays = map_floats(lambda x: jnp.asarray(x, jnp.bfloat16), draw(case))
    result = compiled(case)(*arrays)
    expected = compiled(case)(*map_floats(lambda x: x.astype(jnp.float32), arrays))
    dtype = jnp.bfloat16 if case.keeps_dtype else jnp.float32
    for leaf in jax.tree.leaves(result):
        assert leaf.dtype == dtype or not floating(leaf)
    atol = max(case.atol, case.bfloat16_rtol / 10)
    assert_close(result, jax.tree.map(np.float64, expected), case.bfloat16_rtol, atol)


@cases_with("bfloat16", quick=True)
def test_dtypes_under_x64(case):
    """Strict promotion is on in the tests, so a float64 number inside a function raises or shows in the result."""
    call = traced(case)
    with jax.enable_x64(True):
        for given in ("float32", "bfloat16", "float64"):
            arrays = map_floats(lambda x, dtype=given: jnp.asarray(x, dtype), draw(case, 4))
            for leaf in jax.tree.leaves(call(*arrays)):
                found = dtype_of(leaf)
                expected = given if case.keeps_dtype else "float32"
                assert found in (expected, "bool", "int32"), (given, found)


@contextlib.contextmanager
def numpy_defaults(case):
    """The defaults of the case's function as NumPy numbers, which JAX promotes by their dtype."""
    function = inspect.unwrap(public(case.function))

    def converted(value):
        if isinstance(value, tuple):
            return tuple(map(converted, value))
        if isinstance(value, bool) or not isinstance(value, int | float):
            return value
        return np.float64(value) if isinstance(value, float) else np.int64(value)

    positional, named = function.__defaults__, function.__kwdefaults__
    function.__defaults__ = positional and converted(positional)
    function.__kwdefaults__ = named and {k: converted(v) for k, v in named.items()}
    try:
        yield
    finally:
        function.__defaults__, function.__kwdefaults__ = positional, named


def has_numbers(case):
    found = public(case.function)
    if not inspect.isfunction(inspect.unwrap(found)):
        return False
    defaults = [p.default for p in inspect.signature(found).parameters.values()]
    return any(isinstance(x, int | float) and not isinstance(x, bool) for x in defaults)


with_numbers = pytest.mark.parametrize(
    "case", [c for c in CASES if "bfloat16" not in c.skip and has_numbers(c)], ids=str
)


@with_numbers
def test_numpy_numbers_are_taken_as_pythons(case):
    """A number that widens the result, or that a check of types refuses, shows while tracing."""
    call = traced(case)
    for x64 in (False, True):
        with jax.enable_x64(x64), numpy_defaults(case):
            dtypes = {dtype_of(leaf) for leaf in jax.tree.leaves(call(*draw(case, 4)))}
        assert not {"float64", "int64"} & dtypes


@pytest.mark.slow
@with_numbers
def test_numpy_numbers_give_the_same_values(case):
    expected = to_double(compiled(case)(*draw(case, 4)))
    for x64 in (False, True):
        with jax.enable_x64(x64), numpy_defaults(case):
            result = program(case, function(case))(*draw(case, 4))
        assert_close(result, expected, 1e-6, 1e-7)


@cases_with("vmap")
def test_vmap_gives_the_same(case):
    each = [draw(case, 8, seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *x: np.stack(x), *each)
    results = [to_double(compiled(case)(*arrays)) for arrays in each]
    expected = jax.tree.map(lambda *x: np.stack(x), *results)
    assert_close(jax.vmap(compiled(case))(*stacked), expected, case.rtol, case.atol)


@cases_with("jit")
def test_jit_gives_the_same_on_eight_devices(case):
    """On one where the arrays cannot be split."""
    arrays = draw(case, 16)
    expected = to_double(compiled(case)(*arrays))
    if "devices" not in case.skip:
        mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
        whole, split = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("data",)))
        arrays = [
            jax.device_put(a, whole if i in case.shared else split) for i, a in enumerate(arrays)
        ]
    assert_close(jax.jit(function(case))(*arrays), expected, case.rtol, case.atol)


def sum_of(call):
    return lambda *arrays: sum(jnp.sum(x) for x in jax.tree.leaves(call(*arrays)))


def to_double(tree):
    return jax.tree.map(np.float64, tree)
