"""What pages write with: figures, times, other people's Markdown, forms."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django import forms
from django.template import Context, Template
from django.test import RequestFactory

from config.forms import FormRenderer
from config.templatetags import site

NOW = datetime(2026, 10, 12, 14, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (950, "950"), (38_400, "38.4k"), (999_960, "1.0M"), (61_700_000, "61.7M"), (3_000_000_000, "3.0B")],
)
def test_large_numbers_are_short(value, text):
    assert site.compact(value) == text


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (0, "0\xa0ms"), (999, "999\xa0ms"), (1420, "1.42\xa0s")])
def test_durations_carry_their_unit(value, text):
    assert site.milliseconds(value) == text


def test_a_share_of_nothing_is_not_a_figure():
    assert (site.percent(9, 10_000), site.percent(0, 0)) == ("0.09%", "–")


@time_machine.travel(NOW, tick=False)
@pytest.mark.parametrize(
    ("age", "words"),
    [
        (timedelta(seconds=10), "just now"),
        (timedelta(minutes=4), "4\xa0minutes ago"),
        (timedelta(hours=23), "23\xa0hours ago"),
        (timedelta(days=3), "9 Oct 2026, 14:02"),
        (-timedelta(hours=1), "12 Oct 2026, 15:02"),
    ],
)
def test_times_are_relative_for_a_day_and_always_exact_in_the_title(age, words):
    html = site.when(NOW - age)
    assert f">{words}</time>" in html
    assert f'datetime="{(NOW - age).isoformat()}"' in html
    assert f'title="{NOW - age:%-d Oct 2026, %H:%M} UTC"' in html


def test_never_used_is_said_in_a_word():
    assert site.when(None) == "never"


def test_markdown_brings_no_markup_script_or_picture_of_its_own():
    html = site.markdown(
        "# Title\n<script>alert(1)</script> <b onclick=x>b</b>\n\n"
        "![pixel](https://elsewhere.example/p.gif) [bad](javascript:alert(1)) [good](https://example.org/)"
    )
    assert "<h2>Title</h2>" in html
    assert "<script" not in html
    assert "<b " not in html
    assert "<img" not in html
    assert 'href="javascript' not in html
    assert '<a href="https://example.org/" rel="noopener noreferrer">good</a>' in html


def test_headings_of_markdown_begin_below_the_page_and_leave_no_level_out():
    assert site.markdown("## Good for\n\n#### Cats\n\n## Limits").count("<h2>") == 2
    assert "<h3>Cats</h3>" in site.markdown("## Good for\n\n#### Cats\n\n## Limits")
    assert "<h2>Cats</h2>" in site.markdown("### Cats\n\n# Good for")
    assert "<h4>Fixed</h4>" in site.markdown("# Fixed", 3)


def test_a_summary_is_the_first_paragraph_in_words():
    assert site.summary("# Aurora\n\nFast & *small* `model`.\n\nMore.") == "Fast & small model."
    assert len(site.summary("word " * 200)) <= 241


def test_highlighting_escapes_the_source():
    assert "<script>" not in site.highlight('x = "<script>"', "python")


@pytest.mark.parametrize(
    ("path", "words"), [("/models/acme/aurora-70b", "aurora 70b"), ("/a%3Cb%3E/", "a b"), ("/", "")]
)
def test_a_wrong_address_becomes_a_search(path, words):
    assert site.path_words(path) == words


def test_a_link_to_a_page_that_is_not_mounted_is_left_out():
    request = RequestFactory().get("/")
    assert site.nav_link(Context({"request": request}), "Nowhere", "no-such-page") == ""


class Form(forms.Form):
    default_renderer = FormRenderer()
    name = forms.CharField(
        label="Name", help_text="What you call it.", widget=forms.TextInput({"placeholder": "Name of it"})
    )
    mode = forms.ChoiceField(label="Mode", widget=forms.RadioSelect, choices=[("live", "Live"), ("test", "Test")])
    note = forms.CharField(label="Note", required=False)


def test_a_form_ties_labels_hints_and_errors_to_their_fields():
    html = str(Form({"mode": "live"}))
    assert '<label for="id_name">Name</label>' in html
    assert 'aria-describedby="id_name_helptext id_name_error"' in html
    assert 'aria-invalid="true"' in html
    assert 'id="id_name_helptext"' in html
    assert 'id="id_name_error"' in html
    assert "<legend>Mode</legend>" in html
    assert "(optional)" in html
    assert '<a href="#id_name">Name</a>' in html, "the summary leads to the field"
    assert "placeholder" not in html, "a placeholder that repeats the label is noise"


def test_a_form_without_errors_has_no_summary():
    assert 'role="alert"' not in str(Form({"mode": "live", "name": "x"}))


def test_a_code_block_shows_the_visitors_language():
    tabs = [
        {"label": "Shell", "value": "curl", "language": "bash", "source": "curl"},
        {"label": "Node", "value": "node", "language": "javascript", "source": "fetch()"},
    ]
    source = '{% include "components/code.html" with id="x" tabs=tabs chosen="node" only %}'
    html = Template(source).render(Context({"tabs": tabs}))
    assert html.index("checked") < html.rindex('value="node" checked'), (
        "the later of two checked radios is the one shown"
    )
