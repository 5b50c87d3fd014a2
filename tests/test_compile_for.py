"""benchmarks/compile_for.py: what a program costs on devices, whether it fits, and what is read from its HLO text."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import compile_for
import hlo
import jax
import jax.numpy as jnp
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

TEXT = """
HloModule jit_f, entry_computation_layout={(f32[8]{0})->f32[8]{0}}

%fused_computation (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %inner = f32[8]{0} add(%p, %p), backend_config={"estimated_cycles":"999"}
}

%body (arg: (s32[], f32[4,2])) -> (s32[], f32[4,2]) {
  %arg = (s32[], f32[4,2]{1,0}) parameter(0)
  %x = f32[4,2]{1,0} get-tuple-element(%arg), index=1
  %sum = f32[4,2]{1,0} all-reduce(%x), to_apply=%add, metadata={op_name="jit(f)/while/psum"}
  ROOT %out = (s32[], f32[4,2]{1,0}) tuple(%x, %sum)
}

ENTRY %main (p0: f32[8]) -> f32[8] {
  %p0 = f32[8]{0} parameter(0)
  %first = f32[8]{0} fusion(%p0), calls=%fused_computation, backend_config={"estimated_cycles":"10"}
  %loop = (s32[], f32[4,2]{1,0}) while(%p0), condition=%cond, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  %start = (bf16[2]{0}, bf16[16]{0}) all-gather-start(%first), dimensions={0}
  %done = bf16[16]{0} all-gather-done(%start)
  %both = (f32[4]{0}, f32[2]{0}) all-reduce-start(%first, %first), to_apply=%add
  ROOT %slow = f32[8]{0} copy(%first), backend_config={"estimated_cycles":"70"}
}
"""


def test_collectives_are_counted_with_their_bytes():
    assert hlo.collectives(TEXT) == [
        hlo.Collective("all-reduce", 4 * 2 * 4, 3, "jit(f)/while/psum"),
        hlo.Collective("all-gather", 16 * 2, 1, ""),
        hlo.Collective("all-reduce", 4 * 4 + 2 * 4, 1, ""),
    ]


def test_operations_that_are_part_of_another_do_not_count():
    assert hlo.operations(TEXT) == [
        hlo.Operation(70, "slow", ""),
        hlo.Operation(10, "first", ""),
    ]


def test_multiplications_of_convolutions_and_matrix_products():
    def f(x, kernel, matrix):
        dimensions = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=dimensions)
        return jnp.tanh(y.reshape(2, -1)) @ matrix

    shapes = [(2, 8, 8, 3), (3, 3, 3, 5), (320, 7)]
    compiled = jax.jit(f).lower(*(jnp.ones(shape) for shape in shapes)).compile()
    work = hlo.multiplications(compiled.as_text())
    assert sorted(n for n in work.values() if n) == [
        2 * 2 * 320 * 7,
        2 * (2 * 8 * 8 * 5) * (3 * 3 * 3),  # with those of the padding
    ]
    sources = hlo.sources(compiled.as_text())
    assert sources.keys() == work.keys()
    assert any("conv_general_dilated" in sources[name] for name in work if work[name])


def test_multiplications_in_a_loop_count_once_for_each_turn():
    def f(x):
        return jax.lax.scan(lambda x, _: (jnp.tanh(x @ x), None), x, length=1000)[0]

    text = jax.jit(f).lower(jnp.ones((8, 8))).compile().as_text()
    assert sum(hlo.multiplications(text).values()) == 1000 * 2 * 8**3


@pytest.fixture
def compile_here(monkeypatch, capsys):
    """compile_here(argument, ...): (exit status, output) in this process, whose devices are there already."""
    monkeypatch.setattr(compile_for, "prepare", lambda args: None)
    monkeypatch.setattr(compile_for, "as_on_accelerators", lambda: None)

    def run(*arguments):
        status = compile_for.main([*arguments, "--platform", "cpu"])
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    return run


@pytest.mark.slow
def test_all_programs_of_a_config_are_shown_and_written(compile_here, tmp_path):
    out = tmp_path / "rows.jsonl"
    status, text = compile_here("gan_mixture2d", "--devices", "2", "--out", str(out))
    assert status == 0, text
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    names = ["0/init", "0/critic", "0/generator", "0/close", "0/samples"]
    assert [row["program"] for row in rows] == names
    critic = rows[1]
    assert (critic["config"], critic["devices"], critic["plays"]) == ("gan_mixture2d", 2, 1.0)
    assert 2 * critic["flops"] == pytest.approx(critic["whole_flops"], rel=0.1)
    assert critic["memory"] > critic["collectives"]["all-reduce"][1] > 0
    assert all(name in text for name in names)
    status, text = compile_here("--table", str(out))
    assert status == 0
    largest = max(rows, key=lambda row: row["memory"])
    assert f"| `gan_mixture2d` | 2 x cpu | {largest['program']} | 256 |" in text
    assert text.count("\n|") == 3


def test_what_does_not_fit_is_one_sentence_whose_way_out_works(compile_here):
    command = ("sngan_digits", "--only", "0/critic", "--memory_gib", "0.02")
    status, text = compile_here(*command, "--set", "model.batch_size=512")
    assert status == 1
    assert "sngan_digits does not fit: 0/critic needs" in text
    assert "MiB, and a cpu has 20.5 MiB" in text
    assert "give a smaller one (--set model.batch_size=...)" in text
    status, text = compile_here(*command, "--set", "model.batch_size=64")
    assert status == 0, text


@pytest.mark.slow
def test_recomputing_is_a_way_out_where_a_model_can(compile_here):
    command = ("progressive_digits", "--only", "1/critic", "--memory_gib", "0.0001")
    hint = "Recompute activations (--set model.remat=true)"
    assert hint in compile_here(*command)[1]
    assert hint not in compile_here(*command, "--set", "model.remat=true")[1]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "Ran out of memory in memory space hbm. Used 71.98G of 15.75G hbm. Exceeded by 56.2G.",
            "0/r1 needs 71.98GiB, and a v5e has 15.75GiB",
        ),
        (
            "Ran out of memory on HBM, the total memory required for HLO temporaries (19.59G) exceeds available HBM"
            " (15.75G).",
            "0/r1 needs 19.59GiB, and a v5e has 15.75GiB",
        ),
        ("No such operation\nmore", "0/r1 does not compile: No such operation"),
    ],
)
def test_what_the_compiler_says_of_memory_is_understood(message, expected):
    row = compile_for.Row("0/r1", 1.0, *[float("nan")] * 6, {}, [], message)
    assert compile_for.complaint(row, 16 * 2**30, "v5e") == expected


def test_what_cannot_be_tried_is_a_sentence(compile_here):
    status, text = compile_here("gan_digits", "--devices", "8", "--set", "model.batch_size=12")
    assert status == 2
    assert "the batch of 12 cannot be split evenly over 8 devices: set model.batch_size=16" in text
    status, text = compile_here("no_such_config")
    assert status == 2
    assert "there is no config 'no_such_config'" in text


@pytest.mark.skipif(find_spec("libtpu") is not None, reason="the TPU compiler is here")
def test_without_a_compiler_it_says_what_to_install():
    run = subprocess.run(
        [sys.executable, "compile_for.py", "gan_digits", "--platform", "tpu"],
        cwd=BENCHMARKS,
        env={**os.environ, "TPU_SKIP_MDS_QUERY": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 2
    assert 'no compiler for tpu here; install it with: pip install ".[tpu]"' in run.stderr


def test_the_command_that_a_dry_run_gives_is_understood():
    from jaxgan.cli.dry_run import elsewhere

    told = elsewhere("sngan_digits", ["model.batch_size=32", "train.fsdp=2"])
    command = told.splitlines()[-1].split()
    args = compile_for.parse(command[2:])
    assert args.configs == ["sngan_digits"]
    assert args.set == ["model.batch_size=32", "train.fsdp=2"]
    assert (args.platform, args.topology) == ("tpu", "v5e:2x2")
