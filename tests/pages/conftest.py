"""Visitors of a whole running instance, with and without a browser."""

from __future__ import annotations

from typing import Any

import pytest

from tests.pages.visitor import Visitors


@pytest.fixture(scope="session")
def visitors(stack: Any) -> Visitors:
    return Visitors(stack)
