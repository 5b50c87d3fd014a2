"""What is in a compiled program: the memory that it needs and, from its HLO text, collectives and slow operations."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

SIZES = {
    **dict.fromkeys(("pred", "s8", "u8", "s4", "u4"), 1),
    **dict.fromkeys(("bf16", "f16", "s16", "u16"), 2),
    **dict.fromkeys(("f32", "s32", "u32"), 4),
    **dict.fromkeys(("f64", "s64", "u64", "c64"), 8),
    "c128": 16,
}  # bytes of an element
KINDS = (
    *("all-reduce", "all-gather", "all-to-all", "collective-permute"),
    *("reduce-scatter", "collective-broadcast"),
)
_SHAPE = re.compile(rf"\b({'|'.join(SIZES)})\[([\d,]*)\]")
_COLLECTIVE = re.compile(rf" ({'|'.join(KINDS)})(-start)?\(")


class Collective(NamedTuple):
    """One collective operation of a program: its kind, bytes of its result, times it runs, and where it comes from."""

    kind: str
    nbytes: int
    times: int
    source: str


class Operation(NamedTuple):
    """One operation, with the compiler's estimate of its clock cycles (TPU only) over all the times it runs."""

    cycles: int
    name: str
    source: str


def memory(compiled) -> float:
    """Bytes that a compiled program needs: arguments, results and temporary ones; NaN where XLA does not say."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return math.nan
    # Donated arguments and the results that take their place are one.
    held = analysis.argument_size_in_bytes + analysis.output_size_in_bytes
    return held - analysis.alias_size_in_bytes + analysis.temp_size_in_bytes


def flops(lowered) -> float:
    """Operations of a program as it was traced, before XLA splits and optimises it."""
    import jax
    from jax._src.lib import xla_client

    # `lowered.cost_analysis()` asks the program's own backend, and only that of a CPU knows.
    module = lowered.compiler_ir("hlo").as_hlo_module()
    client = jax.devices("cpu")[0].client
    return xla_client._xla.hlo_module_cost_analysis(client, module)["flops"]


def collectives(text: str) -> list[Collective]:
    """All of an optimised program, those of asynchronous pairs once."""
    found = []
    for line, times in _executed(text):
        match = _COLLECTIVE.search(line)
        if match is None:
            continue
        result = line.split(" = ", 1)[1].split(match.group(0))[0]
        sizes = [_nbytes(*shape) for shape in _SHAPE.findall(result)]
        # An asynchronous start gives (operands, results), except of an all-reduce: the larger half is what is moved.
        half = match.group(2) and match.group(1) != "all-reduce"
        nbytes = max(sizes, default=0) if half else sum(sizes)
        found.append(Collective(match.group(1), nbytes, times, _source(line)))
    return found


def operations(text: str) -> list[Operation]:
    """Those with an estimate of their cycles, slowest first."""
    found = []
    for line, times in _executed(text):
        cycles = re.search(r'"estimated_cycles":"(\d+)"', line)
        if cycles:
            found.append(Operation(times * int(cycles.group(1)), _name(line), _source(line)))
    return sorted(found, reverse=True)


def multiplications(text: str) -> dict[str, float]:
    """{operation that runs by itself: floating-point operations of the convolutions and matrix products in it}.

    Those of a loop are over all its turns.
    """
    bodies, results = _computations(text), {}
    for lines in bodies.values():
        results.update((_name(line), _dimensions(line.split(" = ", 1)[1])) for line in lines)

    def count(line: str) -> float:
        if " fusion(" in line:
            inner = bodies[re.search(r"calls=%?([\w.\-]+)", line).group(1)]
            return sum(map(count, inner))
        called = re.search(r" (convolution|dot)\(%?([\w.\-]+), %?([\w.\-]+)\)", line)
        if called is None:
            return 0.0
        kind, one, other = called.groups()
        if kind == "dot":
            axes = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", line).group(1)
            terms = math.prod(results[one][int(axis)] for axis in axes.split(",") if axis)
        else:
            labels = re.search(r"dim_labels=\w+_(\w+)->", line).group(1)
            terms = math.prod(results[other]) // results[other][labels.index("o")]
        return 2.0 * math.prod(results[_name(line)]) * terms

    return {_name(line): times * count(line) for line, times in _executed(text)}


def sources(text: str) -> dict[str, str]:
    """{operation that runs by itself: the place in the traced program that it comes from, if XLA knows one}."""
    return {_name(line): _source(line) for line, _ in _executed(text)}


def _name(line: str) -> str:
    return line.split(" = ")[0].strip().removeprefix("ROOT ").lstrip("%")


def _dimensions(result: str) -> tuple[int, ...]:
    """Of the first array that a result starts with: (8, 3) for "f32[8,3]{1,0} ..."."""
    shape = _SHAPE.search(result)
    return tuple(int(n) for n in shape.group(2).split(",") if n) if shape else ()


def _executed(text: str) -> Iterator[tuple[str, int]]:
    """(line, times it runs) of each operation that runs by itself; fused ones are parts of others."""
    bodies = _computations(text)
    fused, trips = set(), {}
    for lines in bodies.values():
        for line in lines:
            if " fusion(" in line:
                fused.update(re.findall(r"calls=%?([\w.\-]+)", line))
            if " while(" in line:
                count = re.search(r'known_trip_count"?:\{"n":"(\d+)"', line)
                trips[re.search(r"body=%?([\w.\-]+)", line).group(1)] = (
                    int(count.group(1)) if count else 1
                )
    for name, lines in bodies.items():
        if name not in fused:
            yield from ((line, trips.get(name, 1)) for line in lines)


def _computations(text: str) -> dict[str, list[str]]:
    """{name: the lines of its operations}"""
    found, lines = {}, None
    for line in text.splitlines():
        if line and not line[0].isspace() and line.rstrip().endswith("{"):
            name = line.split()[1] if line.startswith("ENTRY") else line.split()[0]
            lines = found.setdefault(name.lstrip("%"), [])
        elif line.startswith("}"):
            lines = None
        elif lines is not None and " = " in line:
            lines.append(line)
    return found


def _nbytes(dtype: str, dims: str) -> int:
    return SIZES[dtype] * math.prod(int(n) for n in dims.split(",") if n)


def _source(line: str) -> str:
    where = re.search(r'op_name="([^"]*)"', line)
    return where.group(1) if where else ""
