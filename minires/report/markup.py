"""HTML from Python: text is escaped unless it is `Html` already, so that no name can become markup by mistake.

tag("td", class_name)              escaped
tag("tr", tag("td", a), tag("td", b), class_="last")
"""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

EMPTY = {"img", "meta"}  # elements without an end


class Html(str):
    """Markup that is meant as such."""

    __slots__ = ()


def text(value: Any) -> Html:
    """Any value as text: escaped, and without control characters and halves of surrogate pairs, which HTML forbids."""
    if isinstance(value, Html):
        return value
    return Html(escape("".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd"
                               for letter in str(value))))  # fmt: skip


def tag(name: str, /, *content: Any, **attributes: Any) -> Html:
    """One element. `class_` is the attribute class; an attribute that is None is left out."""
    words = "".join(f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
                    for key, value in attributes.items() if value is not None)  # fmt: skip
    inside = join(content)
    return Html(f"<{name}{words}>" if name in EMPTY else f"<{name}{words}>{inside}</{name}>")


def join(parts: Iterable[Any]) -> Html:
    """Parts one after the other; None is nothing."""
    return Html("".join(text(part) for part in parts if part is not None))


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]], **attributes: Any) -> Html:
    """A table with a head; cells may be markup."""
    top = tag("tr", *(tag("th", cell) for cell in head))
    body = (tag("tr", *(tag("td", cell) for cell in row)) for row in rows)
    return tag("table", tag("thead", top), tag("tbody", *body), **attributes)


def folded(title: Any, *content: Any) -> Html:
    """A part that is shown when its title is clicked, without a script."""
    return tag("details", tag("summary", title), *content)
