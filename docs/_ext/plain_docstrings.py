"""Docstrings of jaxgan as reStructuredText.

They are plain text: formulas are indented, names stand between single backticks, and asterisks, bars and underscores
mean themselves. Here indented lines become literal blocks, and what would be markup is escaped. Sections (`Args:`,
`Returns:`) and examples (`>>>`) stay as they are, for Napoleon and for Sphinx.
"""

from __future__ import annotations

import inspect
import pkgutil
import re
import sys
import textwrap

from docutils import nodes
from sphinx import addnodes

# Sections whose items Napoleon formats, and whose indented lines are text.
SECTIONS = re.compile(r"(Args|Arguments|Attributes|Returns|Raises|Yields):$")
BULLET = re.compile(r"(-|\d+\.) ")
# "Paper: ...", at the start of a line of a config's docstring.
LABEL = re.compile(r"([A-Z][a-z]+(?: on [A-Z]\w+)?)(?: \([^)]*\))?: ")


def escaped(text: str) -> str:
    """A line or paragraph in which only names between backticks are markup.

    >>> escaped("E |f(x)| of `axis`s, `2 * x`")
    'E \\\\|f(x)\\\\| of `axis`\\\\ s, ``2 * x``'
    """
    parts = re.split(r"(`[^`\n]+`)", text.replace("``", "`"))
    written = ""
    for i, part in enumerate(parts):
        if i % 2 == 0:
            written += re.sub(r"([\\*|`])|(?<=\w)_(?!\w)", lambda m: "\\" + m[0], part)
            continue
        # Names become links if they are known; other code has no link.
        code = part if re.fullmatch(r"`[\w.]+`", part) else f"`{part}`"
        before = "\\ " if re.search(r"[\w\\]$", parts[i - 1]) else ""
        after = "\\ " if re.match(r"[\w\\]", parts[i + 1]) else ""
        written += before + code + after
    return written


def rest(text: str) -> list[str]:
    """The lines of a docstring as reStructuredText."""
    lines, written = inspect.cleandoc(text).splitlines(), []
    i = 0
    while i < len(lines):
        line = lines[i]
        if SECTIONS.match(line):
            end = _indented(lines, i + 1)
            written += ["", line, *map(_item, lines[i + 1 : end]), ""]
        elif line.startswith(">>>"):
            end = next((j for j in range(i, len(lines)) if not lines[j].strip()), len(lines))
            written += ["", *lines[i:end], ""]
        elif BULLET.match(line):
            end = _indented(lines, i + 1, blank=False)
            before = [] if i and _bullet_before(lines, i) else [""]
            written += [*before, *map(escaped, lines[i:end])]
            if end == len(lines) or not BULLET.match(lines[end]):
                written.append("")
        elif line.startswith(" ") and i and re.search(r"[^\s:]$", lines[i - 1]):
            end = i + 1  # the sentence of the line before goes on
            written.append(escaped(line.strip()))
        elif line.startswith(" "):
            end = _indented(lines, i)
            block = textwrap.dedent("\n".join(lines[i:end])).splitlines()
            if BULLET.match(block[0]):
                written += ["", *rest("\n".join(block)), ""]
            else:
                written += ["", "::", "", *("   " + each for each in block), ""]
        else:
            end = i + 1
            written.append(escaped(re.sub("::$", ":", line)))
        i = end
    return written


def _bullet_before(lines: list[str], i: int) -> bool:
    while i and lines[i - 1].startswith(" "):
        i -= 1
    return bool(i and BULLET.match(lines[i - 1]))


def _item(line: str) -> str:
    """A line of a section. Its formulas are indented by four spaces more than text; they stay lines of text."""
    indent = len(line) - len(line.lstrip())
    return line[:indent] + escaped(line[indent:])


def _indented(lines: list[str], start: int, blank: bool = True) -> int:
    """The end of the indented lines from `start` on, without blank ones at the end."""
    end = start
    for j in range(start, len(lines)):
        if lines[j].startswith(" "):
            end = j + 1
        elif lines[j].strip() or not blank:
            break
    return end


def fields(docstring: str) -> tuple[str, list[tuple[str, str]]]:
    """A config's docstring: its first line, and (label, text) of the rest; text without a label has the label "".

    >>> fields("A GAN.\\n\\nPaper: X 2014,\\n  Y.\\nMore.\\nCost: an hour.")
    ('A GAN.', [('Paper', 'X 2014, Y. More.'), ('Cost', 'an hour.')])
    """
    first, _, body = inspect.cleandoc(docstring).partition("\n")
    found: list[tuple[str, str]] = []
    for line in body.strip().splitlines():
        label = LABEL.match(line)
        if label:
            found.append(
                (label[1], line[label.end(1) + 2 :] if line[label.end(1)] == ":" else line)
            )
        elif found:
            found[-1] = (found[-1][0], f"{found[-1][1]} {line.strip()}")
        else:
            found.append(("", line))
    return first, found


def process(app, what, name, obj, options, lines: list[str]) -> None:
    """For the event autodoc-process-docstring."""
    del app, what, name, obj, options
    lines[:] = rest("\n".join(lines))


def link_names(app, doctree) -> None:
    """For the event doctree-read: full names in the text of pages (`jaxgan.losses.hinge`) become links."""
    for node in list(doctree.findall(nodes.literal)):
        name = node.astext()
        if not re.fullmatch(r"jaxgan(\.\w+)+", name) or isinstance(
            node.parent, addnodes.pending_xref
        ):
            continue
        link = addnodes.pending_xref(
            "", refdomain="py", reftype="obj", reftarget=documented(name), refdoc=app.env.docname
        )
        node.replace_self(link)
        link += node


def documented(name: str) -> str:
    """The name under which the API reference has an object: that of its module, unless its package lists it.

    >>> documented("jaxgan.metrics.frechet_distance"), documented("jaxgan.losses.cycle")
    ('jaxgan.metrics.frechet.frechet_distance', 'jaxgan.losses.cycle')
    """
    found = pkgutil.resolve_name(name)
    package = sys.modules.get(name.rpartition(".")[0])
    if hasattr(package, "__all__") or not hasattr(found, "__qualname__"):
        return name
    return f"{found.__module__}.{found.__qualname__}"


def exact(app, doctree) -> None:
    """For the event doctree-read: types and attributes in signatures refer to the name that is written, not to any
    name of which it is the last part (`Mapping` of Python's to `jaxgan.nets.styles.Mapping`)."""
    del app
    for node in doctree.findall(addnodes.pending_xref):
        node.attributes.pop("refspecific", None)


def skip(app, what, name, obj, skipped, options) -> bool | None:
    """For the event autodoc-skip-member: the fields of a named tuple are in its signature and docstring."""
    del app, what, name, skipped, options
    return True if (getattr(obj, "__doc__", "") or "").startswith("Alias for field") else None


def setup(app):
    app.setup_extension("sphinx.ext.autodoc")
    # Before Napoleon, whose priority is 500.
    app.connect("autodoc-process-docstring", process, priority=400)
    app.connect("autodoc-skip-member", skip)
    app.connect("doctree-read", exact)
    app.connect("doctree-read", link_names)
    return {"parallel_read_safe": True}
