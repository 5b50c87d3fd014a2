"""A game as SVG: a row for each player, a column for each turn of a round, a dot where the turn moves the player."""

from __future__ import annotations

from html import escape
from typing import NamedTuple

from jaxgan.game import Game, Stage, Turn

ROW, COLUMN, HEAD, MARGIN, LETTER = 30, 118, 96, 12, 7.2
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#222}.s{font-size:11px;fill:#666}.b{font-weight:600}"
    ".l{stroke:#ccc}.m{stroke:#2a6f97;stroke-width:3}.d{fill:#2a6f97}.g{fill:#f3f6f8}"
)


class Group(NamedTuple):
    """Consecutive stages with the same turns."""

    title: str
    turns: tuple[Turn, ...]
    batch: str


def groups(game: Game) -> list[Group]:
    """The stages of a game; consecutive ones whose turns differ in nothing that is drawn are one group."""
    parts: list[list[tuple[int, Stage]]] = []
    for number, stage in enumerate(game.stages, 1):
        if parts and _drawn(parts[-1][-1][1]) == _drawn(stage):
            parts[-1].append((number, stage))
        else:
            parts.append([(number, stage)])
    return [_group(part, len(game.stages)) for part in parts]


def _drawn(stage: Stage) -> list[tuple]:
    return [(t.name, t.players, t.every, t.repeat, t.fresh_batch) for t in stage.turns]


def _group(part: list[tuple[int, Stage]], count: int) -> Group:
    (first, start), (last, end) = part[0], part[-1]
    title = "" if count == 1 else f"stage {first}" if first == last else f"stages {first} to {last}"
    sizes = [stage.resolution for _, stage in part if stage.resolution]
    if sizes:
        pixels = (
            f"{sizes[0]} pixels" if len(set(sizes)) == 1 else f"{sizes[0]} to {sizes[-1]} pixels"
        )
        title = f"{title}, {pixels}" if title else pixels
    batches = {start.batch_size, end.batch_size}
    batch = " to ".join(str(size) for size in sorted(batches, reverse=True))
    return Group(title, start.turns, f"batch of {batch}")


def notes(turn: Turn) -> list[str]:
    """How often a turn is played, and on which batch."""
    often = f"{turn.repeat} times a round" if turn.repeat > 1 else "once a round"
    if turn.every > 1:
        times = f"{turn.repeat} times " if turn.repeat > 1 else ""
        often = f"{times}every {turn.every} rounds"
    return [often, "a new batch" if turn.fresh_batch else "the same batch"]


def svg(game: Game) -> str:
    """The picture; it needs no script, no font and no other file."""
    left = MARGIN + 22 + LETTER * max(len(_label(game, name)) for name in game.players)
    parts, x = [], left
    bottom = HEAD + ROW * len(game.players)
    for i, name in enumerate(game.players):
        y = HEAD + ROW * (i + 0.5)
        parts.append(_text(MARGIN, y + 4, _label(game, name)))
    for group in groups(game):
        begin = x
        widths = [_width(turn) for turn in group.turns]
        width = sum(widths)
        title = ", ".join(filter(None, (group.title, group.batch)))
        width = max(width, LETTER * len(title) + 8)
        parts.append(
            f'<rect class="g" x="{begin:.0f}" y="6" width="{width:.0f}" height="{bottom}"/>'
        )
        parts.append(_text(begin + 6, 22, title, "s"))
        for i in range(len(game.players)):
            y = HEAD + ROW * (i + 0.5)
            parts.append(f'<path class="l" d="M{begin:.0f} {y}H{begin + width:.0f}"/>')
        for turn, column in zip(group.turns, widths, strict=True):
            parts += _turn(game, turn, x, column)
            x += column
        x = begin + width + 10
    width, height = x + MARGIN - 10, bottom + 12
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}"'
        f' height="{height}" role="img"><title>Players and turns</title><style>{STYLE}</style>'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _label(game: Game, name: str) -> str:
    player = game.players[name]
    if player.optimizer is None:
        return f"{name} (fixed)"
    return f"{name} (averaged)" if player.average else name


def _width(turn: Turn) -> float:
    words = [turn.name, *notes(turn)]
    return max(COLUMN, LETTER * max(map(len, words)) + 14)


def _turn(game: Game, turn: Turn, x: float, width: float) -> list[str]:
    names = list(game.players)
    middle = x + width / 2
    rows = sorted(names.index(name) for name in turn.players)
    ys = [HEAD + ROW * (row + 0.5) for row in rows]
    parts = [_text(x + 6, 44, turn.name, "b")]
    parts += [_text(x + 6, 60 + 15 * i, note, "s") for i, note in enumerate(notes(turn))]
    parts.append(f'<path class="m" d="M{middle:.0f} {ys[0]}V{ys[-1]}"/>')
    parts += [f'<circle class="d" cx="{middle:.0f}" cy="{y}" r="7"/>' for y in ys]
    return parts


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    kind = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.0f}" y="{y:.0f}"{kind}>{escape(text)}</text>'
