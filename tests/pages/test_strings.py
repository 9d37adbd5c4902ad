"""No words in a template that gettext does not see, and no address written out that has a name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.template.base import Lexer, Token, TokenType
from django.urls import Resolver404, resolve

from tests.pages.html import Page

ROOT: Path = settings.BASE_DIR
TEMPLATES = ROOT / "templates"
# The style guide is for those who write pages; the bare page must appear when nothing else works.
WORDS_ALLOWED = ("config/components.html", "config/guide/*", "layouts/bare*.html", "errors/500.html", "errors/503.html")
ADDRESSES_ALLOWED = (*WORDS_ALLOWED, "admin/*")
# Names and units, the same in every language.
NAMES = set(re.findall(r"\S+", "Agorai JSON API CSV curl Python Node Markdown GET POST HTTP UTC ID URL ms px"))
SEEN = {
    "alt",
    "title",
    "placeholder",
    "aria-label",
    "aria-description",
    "aria-roledescription",
    "aria-valuetext",
    "label",
}
BLOCKS = {"blocktranslate": "endblocktranslate", "blocktrans": "endblocktrans", "comment": "endcomment"}
CLASSES = ("block width",)  # blocks that hold the name of a class
OPAQUE = "\N{OBJECT REPLACEMENT CHARACTER}"  # where a tag or a variable puts something


def shown(template: str) -> str:
    """The template with only its own words left: what tags and variables make is opaque."""
    parts, until = [], ""
    for token in Lexer(template).tokenize():
        if until:
            until = "" if _name(token) == until else until
        elif token.token_type == TokenType.TEXT:
            parts.append(token.contents)
        elif token.token_type == TokenType.VAR:
            parts.append(OPAQUE)
        elif token.token_type == TokenType.BLOCK:
            until = "endblock" if token.contents in CLASSES else BLOCKS.get(_name(token), "")
            if _name(token) not in (
                "load",
                "comment",
                "if",
                "elif",
                "else",
                "endif",
                "for",
                "endfor",
                "with",
                "endwith",
            ):
                parts.append(OPAQUE)
        if token.token_type != TokenType.TEXT:
            parts.append("\n" * token.contents.count("\n"))
    return "".join(parts)


def _name(token: Token) -> str:
    return token.split_contents()[0] if token.token_type == TokenType.BLOCK and token.contents.strip() else ""


def loose_words(template: str) -> Iterator[str]:
    """Words that a person would read and a translator would not."""
    page = Page(shown(template))
    for one in (page.root, *page.elements):
        if one.tag in ("script", "style"):
            continue
        texts = (
            [child for child in one.children if isinstance(child, str)] if one.tag not in ("code", "pre", "kbd") else []
        )
        texts += [one.get(name) for name in SEEN]
        if one.tag == "input" and one.get("type") in ("submit", "button", "reset"):
            texts.append(one.get("value"))
        for text in texts:
            if words_in(text):
                yield f"{one}: {' '.join(text.split())!r}"


def words_in(text: str) -> list[str]:
    """Those of a language: no ids, no numbers, no names, and no attributes in a template that is put into a tag."""
    tokens = re.sub(r'[\w-]+="[^"]*"', " ", text).replace(OPAQUE, " ").split()
    words = [token.strip(".,:;!?()…“”‘’\"'·–—|/") for token in tokens]
    return [word for word in words if re.fullmatch(r"[^\W\d_]{2,}([’'/-][^\W\d_]+)*", word) and word not in NAMES]


def written_out(template: str) -> Iterator[str]:
    """Addresses of pages that should come from `url`."""
    for one in Page(shown(template)).elements:
        for name in ("href", "action", "formaction", "hx-get", "hx-post", "hx-put", "hx-patch", "hx-delete"):
            address = re.split(rf"[?#{OPAQUE}]", one.get(name))[0]
            if address.startswith("/") and not address.startswith("/static/") and is_named(address):
                yield f"{one}: {name}={address!r}"


def is_named(address: str) -> bool:
    try:
        return bool(resolve(address).url_name)
    except Resolver404:
        return False


def templates() -> list[Path]:
    return sorted(path.relative_to(TEMPLATES) for path in TEMPLATES.rglob("*.html"))


def is_allowed(path: Path, allowed: tuple[str, ...]) -> bool:
    return any(path.match(pattern) for pattern in allowed)


@pytest.mark.parametrize("path", templates(), ids=str)
def test_every_word_can_be_translated_and_every_address_has_its_name(path: Path):
    text = (TEMPLATES / path).read_text()
    found = [] if is_allowed(path, WORDS_ALLOWED) else list(loose_words(text))
    found += [] if is_allowed(path, ADDRESSES_ALLOWED) else list(written_out(text))
    assert not found, "\n".join(found)


def test_mails_and_subjects_can_be_translated():
    found = []
    for path in TEMPLATES.rglob("*.txt"):
        found += [f"{path.relative_to(TEMPLATES)}: {word}" for word in words_in(shown(path.read_text()))]
    assert found == []


@pytest.mark.parametrize(
    "planted",
    [
        "<p>Hello there</p>",
        "Hello there",
        "{% if user %}Hello there{% endif %}",
        "<p>{% translate 'Hello' %} there</p>",
        "<p>{{ name }} is here</p>",
        '<img src="{{ address }}" alt="A plan">',
        '<input placeholder="Search">',
        '<button aria-label="Close"></button>',
        '<a href="{% url "home" %}" title="Back">{% translate "Home" %}</a>',
        '<input type="submit" value="Send">',
        "<option>All of them</option>",
        "<title>{% block title %}Keys{% endblock %}</title>",
    ],
)
def test_a_loose_word_is_found(planted: str):
    assert list(loose_words(planted))


@pytest.mark.parametrize(
    "good",
    [
        '{% load i18n %}<p class="lede">{% translate "Hello" %} {{ name }}, 5&nbsp;%</p>',
        "<p>{% blocktranslate count n=keys %}{{ n }} key{% plural %}{{ n }} keys{% endblocktranslate %}</p>",
        "{% comment %}For those who write pages.{% endcomment %}{# And this. #}<!-- And this. -->",
        '<input name="q" value="chat" type="search"><code>pip install openai</code>',
        "<p>Agorai · API</p>",
        '<script src="/static/js/app.js" type="module"></script>',
    ],
)
def test_what_is_no_loose_word_passes(good: str):
    assert list(loose_words(good)) == []


@pytest.mark.parametrize(
    "planted",
    [
        '<a href="/models">x</a>',
        '<a href="/models?q={{ q }}">x</a>',
        '<form action="/keys">',
        '<button hx-post="/keys">x</button>',
        '<a href="/models/demo/eliza">x</a>',
    ],
)
def test_an_address_written_out_is_found(planted: str):
    assert list(written_out(planted))


@pytest.mark.parametrize(
    "good",
    [
        '<a href="{% url "models" %}?q=x">x</a>',
        '<a href="#top">x</a>',
        '<a href="https://example.org/models">x</a>',
        '<a href="{{ address }}/models">x</a>',
    ],
)
def test_a_named_address_passes(good: str):
    assert list(written_out(good)) == []
