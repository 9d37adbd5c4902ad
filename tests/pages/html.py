"""A page as a tree, on the standard library alone: what the rules look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from html.parser import HTMLParser

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
# The end of these may be left out; whatever they are found in ends them.
OPTIONAL = {"li", "dt", "dd", "p", "tr", "td", "th", "thead", "tbody", "tfoot", "option", "optgroup", "rt", "rp"}
UNSPOKEN = {"script", "style", "template", "noscript"}


@dataclass(eq=False)
class Element:
    tag: str
    attributes: dict[str, str]
    line: int
    parent: Element | None = None
    children: list[Element | str] = field(default_factory=list)

    def __str__(self) -> str:
        names = [name for name in ("id", "name", "href", "src", "class") if name in self.attributes]
        shown = [f'{name}="{self.attributes[name][:60]}"' for name in names]
        return f"line {self.line}: <{' '.join([self.tag, *shown[:2]])}>"

    def get(self, name: str) -> str:
        return self.attributes.get(name, "")

    def ancestors(self) -> Iterator[Element]:
        above = self.parent
        while above is not None:
            yield above
            above = above.parent

    def within(self, tag: str) -> Element | None:
        """The nearest element of this tag around it."""
        return next((one for one in self.ancestors() if one.tag == tag), None)

    def descendants(self) -> Iterator[Element]:
        for child in self.children:
            if isinstance(child, Element):
                yield child
                yield from child.descendants()

    @property
    def text(self) -> str:
        """The words in it, those of pictures included."""
        words = []
        for child in self.children:
            if isinstance(child, str):
                words.append(child)
            elif child.tag == "img":
                words.append(child.get("alt"))
            elif child.get("aria-label"):
                words.append(child.get("aria-label"))
            elif child.tag not in UNSPOKEN:
                words.append(child.text)
        return " ".join(" ".join(words).split())


class Page(HTMLParser):
    """The elements of a page, or of a part of one, in their order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.html = html
        self.root = Element("", {}, 0)
        self.unbalanced: list[str] = []
        self._open = [self.root]
        self.feed(html)
        self.close()
        self.unbalanced += [f"{one} is never closed" for one in self._open[1:] if one.tag not in OPTIONAL]

    @cached_property
    def elements(self) -> list[Element]:
        return list(self.root.descendants())

    def find(self, *tags: str) -> list[Element]:
        return [one for one in self.elements if one.tag in tags]

    @cached_property
    def by_id(self) -> dict[str, Element]:
        return {one.attributes["id"]: one for one in reversed(self.elements) if "id" in one.attributes}

    @property
    def is_whole(self) -> bool:
        """Not a part that htmx asked for."""
        return bool(self.find("html"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes: dict[str, str] = {}
        for name, value in attrs:
            attributes.setdefault(name, value or "")  # of two attributes of a name, browsers take the first
        made = Element(tag, attributes, self.getpos()[0], self._open[-1])
        self._open[-1].children.append(made)
        if tag not in VOID:
            self._open.append(made)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        for depth in range(len(self._open) - 1, 0, -1):
            if self._open[depth].tag == tag:
                self.unbalanced += [
                    f"{one} is never closed" for one in self._open[depth + 1 :] if one.tag not in OPTIONAL
                ]
                del self._open[depth:]
                return
            if self._open[depth].tag not in OPTIONAL:
                break
        self.unbalanced.append(f"line {self.getpos()[0]}: </{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)
