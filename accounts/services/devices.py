"""Which device this was, in words, from what its programs say about themselves."""

from __future__ import annotations

import re

from django.utils.translation import gettext as _

# In the order in which they are told apart: Edge and Opera call themselves Chrome as well, and Chrome Safari.
PROGRAMS = (
    (r"Edg(e|A|iOS)?/", "Edge"),
    (r"OPR/|Opera", "Opera"),
    (r"SamsungBrowser/", "Samsung Internet"),
    (r"Firefox/|FxiOS/", "Firefox"),
    (r"Chrome/|CriOS/|Chromium/", "Chrome"),
    (r"Safari/", "Safari"),
    (r"OpenAI/Python", "openai-python"),
    (r"OpenAI/JS", "openai-node"),
)
SYSTEMS = (
    (r"iPhone", "iPhone"),
    (r"iPad", "iPad"),
    (r"Android", "Android"),
    (r"CrOS", "ChromeOS"),
    (r"Windows", "Windows"),
    (r"Macintosh|Mac OS X|macOS", "macOS"),
    (r"Linux|X11", "Linux"),
)
PRODUCT = re.compile(r"([A-Za-z][\w.-]{1,30})(/|$)", re.ASCII)


def name_device(user_agent: str) -> str:
    """“Firefox on Linux”; of a program that is no browser its own name; never the version, which changes by itself."""
    program = next((name for pattern, name in PROGRAMS if re.search(pattern, user_agent)), "")
    system = next((name for pattern, name in SYSTEMS if re.search(pattern, user_agent)), "")
    if not program and (found := PRODUCT.match(user_agent)) and found[1] != "Mozilla":
        program = found[1]
    if program and system:
        return _("%(program)s on %(system)s") % {"program": program, "system": system}
    return program or system or _("Unknown device")
