"""The papers agree with the code."""

import re
import tomllib
from pathlib import Path

import pytest
from django.conf import settings
from packaging.requirements import Requirement

from gateway.models import Rule

ROOT: Path = settings.BASE_DIR
PAPERS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")]


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: str(paper.relative_to(ROOT)))
def test_links_lead_somewhere(paper: Path):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", paper.read_text()):
        if "://" not in target:
            assert (paper.parent / target).exists(), target


def test_every_rule_is_in_the_billing_policy():
    named = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "billing-policy.md").read_text(), re.MULTILINE))
    assert named == set(Rule.values)


def test_every_decision_is_listed_and_short():
    folder = ROOT / "docs" / "decisions"
    pages = sorted(path.name for path in folder.glob("0*.md"))
    assert re.findall(r"\]\((0\S+\.md)\)", (folder / "README.md").read_text()) == pages
    for name in pages:
        text = (folder / name).read_text()
        assert all(part in text for part in ("**Context.**", "**Decision.**", "**Consequences.**")), name


def test_every_dependency_has_a_sentence():
    page = (ROOT / "docs" / "decisions" / "0009-dependencies.md").read_text().lower()
    for file in ("requirements.in", "requirements-dev.in"):
        for line in (ROOT / file).read_text().splitlines():
            if line and not line.startswith(("#", "-r")):
                name = Requirement(line.partition("#")[0].strip()).name.lower()
                assert name in page, name


def test_the_version_is_the_newest_heading_of_the_changelog():
    assert re.fullmatch(r"\d+\.\d+\.\d+", settings.VERSION)
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert next(heading for heading in headings if heading != "Unreleased") == settings.VERSION


def test_the_least_python_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["requires-python"] == ">=3.11"
    assert project["tool"]["ruff"]["target-version"] == "py311"
    assert "Python 3.11" in (ROOT / "README.md").read_text()
