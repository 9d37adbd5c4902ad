"""The style guide: every component, in both themes, in DEBUG alone."""

from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client, override_settings

from config.tests.test_pages import Page


@pytest.mark.django_db  # the page that says so looks for what was meant
def test_the_style_guide_is_for_development(client: Client):
    assert client.get("/_components/").status_code == 404


@override_settings(DEBUG=True)
def test_no_component_is_forgotten(client: Client):
    answer = client.get("/_components/")
    shown = {template.name for template in answer.templates}
    folder = Path(settings.BASE_DIR) / "templates"
    components = {path.relative_to(folder).as_posix() for path in folder.glob("components/**/*.html")}
    assert components - shown == set()


@override_settings(DEBUG=True)
def test_the_style_guide_is_a_page_like_others_in_both_themes(client: Client):
    html = client.get("/_components/").content.decode()
    Page(html).check()
    assert html.count('data-theme="dark"') == html.count('data-theme="light"') == 1
