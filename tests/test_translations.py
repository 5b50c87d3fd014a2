"""Translations say what the English pages say: block by block the same code, links, numbers, names and formulas.

README.zh-CN.md translates README.md, and docs/zh/PAGE.md translates docs/PAGE.md. A translation has the blocks of its
original (headings, paragraphs, items, cells) in the same order. Digits stay digits, and number words become Chinese
numerals; one and two are not compared, since both languages use them for much else.
"""

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
ZH = ROOT / "docs" / "zh"
# {translation: its original}
PAIRS = {ROOT / "README.zh-CN.md": ROOT / "README.md"} | {
    page: ROOT / "docs" / page.relative_to(ZH) for page in sorted(ZH.rglob("*.md"))
}
# {number words: their value}
ENGLISH = {"three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}
ENGLISH |= {"ten": 10, "eleven": 11, "twelve": 12, "third": 3, "fourth": 4, "fifth": 5}
ENGLISH |= {"sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9, "tenth": 10}
CHINESE = {"三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}
CHINESE |= {"十": 10, "十一": 11, "十二": 12}
DIGITS = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?|\.\d+")
# Latin text between Chinese: names and formulas.
LATIN = re.compile(r"[ -~\u00c0-\u024f]+")
FORMULA = re.compile(r"[=^_|<>+*/$]")


class Block(NamedTuple):
    line: int
    kind: str  # of the token, with its depth: heading_open h2, inline, fence
    text: str  # its words, without code
    exact: (
        Counter  # what a translation does not change: code, targets of links and images, emphasis
    )


def blocks(page: Path, text: str) -> list[Block]:
    found, line = [], 0
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        line = token.map[0] + 1 if token.map else line
        words, exact = "", Counter()
        if token.type == "inline":
            words = "".join(
                " " if part.type == "softbreak" else part.content for part in prose(token)
            )
            exact.update(filter(None, (fixed(page, part) for part in token.children)))
        elif token.content:
            lines = [token.info, *token.content.splitlines()]
            exact.update(f"line {at}: {line}" for at, line in enumerate(lines) if line)
        found.append(Block(line, f"{token.type} {token.tag}".strip(), words, exact))
    return found


def prose(token):
    """The parts of a line that are words, with something between those that code separates."""
    return [
        part if part.type != "code_inline" else part.copy(content="、") for part in token.children
    ]


def fixed(page: Path, part) -> str:
    """A part that no translation changes, "" for words. A link to a translation counts as one to its original."""
    if part.type in ("code_inline", "html_inline"):
        return f"`{part.content}`"
    if part.type in ("link_open", "image"):
        target = part.attrs.get("href") or part.attrs["src"]
        if re.match("https?:|mailto:", target):
            return f"{part.type} {target}"
        file = (page.parent / target.partition("#")[0]).resolve()
        return f"{part.type} {PAIRS.get(file, file).relative_to(ROOT)}"
    return part.type if part.type in ("strong_open", "em_open") else ""


def numbers(text: str) -> Counter:
    return Counter(float(number.replace(",", "")) for number in DIGITS.findall(text))


def number_words(text: str) -> set[int]:
    words = re.findall("[a-z]+|[一二三四五六七八九十]+", text.lower())
    return {value for word in words if (value := (ENGLISH | CHINESE).get(word))}


def inventions(english: str, chinese: str) -> list[str]:
    """Names and formulas of the translation that the original does not have."""
    known = " ".join(english.lower().split())
    runs = (run.strip(' .,;:!?"') for run in LATIN.findall(chinese))
    return [run for run in runs if re.search("[A-Za-z]", run) and run.lower() not in known]


def omissions(english: str, chinese: str) -> list[str]:
    """Parts of formulas of the original that the translation does not have."""
    words = (word.strip(".,;:") for word in english.split())
    return [word for word in words if FORMULA.search(word) and word not in chinese]


def differing(english: Block, chinese: Block) -> dict:
    """{what differs between two blocks: how}."""
    lost, new = english.exact - chinese.exact, chinese.exact - english.exact
    said, told = numbers(english.text), numbers(chinese.text)
    words = number_words(english.text) ^ number_words(chinese.text)
    found = {
        "only in the original": [*lost, *(said - told), *omissions(english.text, chinese.text)],
        "only in the translation": [*new, *(told - said), *inventions(english.text, chinese.text)],
        "number words on one side": sorted(words),
    }
    return {what: values for what, values in found.items() if values}


def differences(page: Path) -> dict[str, object]:
    """{place in the original and in the translation: what differs}, up to the first block of another kind."""
    pages = (PAIRS[page], page)
    names = [str(side.relative_to(ROOT)) for side in pages]
    sides = [blocks(side, side.read_text()) for side in pages]
    found: dict[str, object] = {}
    for english, chinese in zip(*sides, strict=False):
        place = f"{names[0]}:{english.line} and {names[1]}:{chinese.line}"
        if english.kind != chinese.kind:
            return found | {place: f"{english.kind} in the original, {chinese.kind} here"}
        if different := differing(english, chinese):
            found[place] = different
    if len(sides[0]) != len(sides[1]):
        found[f"the end of {names[0]} and {names[1]}"] = "one of the two has more blocks"
    return found


@pytest.mark.parametrize("page", PAIRS, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_translation_says_what_its_original_says(page):
    """If this fails, the original has changed: translate what it says now."""
    assert PAIRS[page].is_file(), f"{page.relative_to(ROOT)} translates nothing"
    assert differences(page) == {}


def test_all_questions_are_translated():
    names = {page.name for page in (ROOT / "docs" / "questions").glob("*.md")}
    assert {page.name for page in (ZH / "questions").glob("*.md")} == names
