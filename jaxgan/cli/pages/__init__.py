"""HTML pages of one file each: they load nothing from elsewhere, and are legible in light and dark, narrow and wide.

The templates lie beside this file. Whatever a run's files hold is escaped, so it cannot become part of a page's code.
"""

from __future__ import annotations

from typing import Any


def render(template: str, **values: Any) -> str:
    """The page of the template NAME.html in this folder."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader(__name__, ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["number"] = number
    return pages.get_template(f"{template}.html").render(**values)


def number(value: Any) -> str:
    """A value of JSON as a person reads it.

    >>> number(12345), number(0.123456), number(True), number(None), number([1, 2])
    ('12,345', '0.1235', 'yes', 'none', '1, 2')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or (isinstance(value, list | tuple | str) and not len(value)):
        return "none"
    if isinstance(value, list | tuple):
        more = f" and {len(value) - MOST:,} more" if len(value) > MOST else ""
        return ", ".join(map(str, value[:MOST])) + more
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


MOST = 40  # largest number of elements of a list that a page shows
