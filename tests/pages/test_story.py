"""A model's whole way, in a browser: listed, checked, let in by staff, found, tried, deployed, called, reviewed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.client import Client, sign_up
from tests.pages.chromium import HEIGHT, Watch
from tests.pages.visitor import PASSWORD
from tests.pages.walking import Walker

pytestmark = pytest.mark.browser
NAME, MISSPELT = "Moodring", "modring"
PUBLISHER, CALLER = "greta@moodring.example", "carl@moodring.example"
SECRET = re.compile(r"agr_live_[0-9A-Za-z]{38}")
OUTPUT = """{"type": "object", "required": ["label", "score"], "properties": {
  "label": {"enum": ["positive", "neutral", "negative"]}, "score": {"type": "number", "minimum": -1, "maximum": 1},
  "scores": {"type": "object"}}}"""
WORDS = (
    "Tells from a few words in which mood somebody wrote them: positive, neutral or negative, with a score.\n\n"
    "Good for triage of feedback and of short messages in English. It counts words and knows negations and smileys; it "
    "does not understand irony, and longer texts come out as the mean of their sentences."
)


@pytest.fixture(scope="module")
def staffed(stack: Any) -> str:
    """The same site by a process of its own, where staff decides what is published."""
    return stack.start_gateway(PUBLISH_APPROVAL="staff", OUTBOUND_ALLOW_HTTP="true")


@pytest.fixture
def walker(browser: Any, stack: Any, staffed: str) -> Iterator[Callable[..., Walker]]:
    """`walker(email)`: somebody with an account, logged in at a browser of their own; nobody without one."""
    opened = []

    def open_page(email: str = "", password: str = PASSWORD) -> Walker:
        context = browser.new_context(viewport={"width": 1280, "height": HEIGHT})
        context.set_default_timeout(20_000)
        page = context.new_page()
        opened.append((context, Watch(page, staffed)))
        found = Walker(stack, page, email)
        found.url = staffed
        if email:
            found.log_in(password=password)
        return found

    yield open_page
    for context, _watch in opened:
        context.close()
    assert [watch.faults for _context, watch in opened] == [[] for _one in opened]


def found_by(one: Walker, words: str, sort: str = "") -> list[str]:
    """The names of the models that a search shows, in its order."""
    one.goto(f"/models?q={words}{sort and '&sort='}{sort}")
    return one.main.locator("#results .mcard h3").all_inner_texts()


def test_a_model_from_the_first_word_to_the_first_star(stack: Any, staffed: str, walker: Callable[..., Walker]) -> None:
    models = "http://" + stack.environment["OUTBOUND_ALLOWED_NETWORKS"].replace("/32", "")
    sign_up(stack, PUBLISHER, password=PASSWORD, name="Greta Galvani")
    sign_up(stack, CALLER, password=PASSWORD, name="Carl Caller")
    publisher, passer_by = walker(PUBLISHER), walker()

    # Whoever wants to list a model is told what it takes.
    publisher.goto("/publish")
    publisher.follow("Ask for it")
    publisher.page.get_by_label("What do you want to publish?").fill("A model that reads moods.")
    publisher.press("Ask to publish")
    publisher.is_told("You may publish models.")

    # 1 Basics: what it is. The card beside the form shows it while it is typed, the draft saves itself.
    publisher.goto("/publish")
    publisher.main.get_by_role("link", name="New model").first.click()
    publisher.page.get_by_label("Name", exact=True).fill(NAME)
    publisher.page.get_by_label("Task").select_option(label="Text classification")
    publisher.main.locator("#basics-side h3").filter(has_text=NAME).wait_for()
    publisher.page.get_by_label("Description").fill("Tells a mood.")
    publisher.page.get_by_label("Output").fill(OUTPUT)
    publisher.press("Save and continue")
    publisher.arrives("/publish/mdl_")
    publisher.follow("1 Basics")
    publisher.page.get_by_label("Description").fill(WORDS)
    publisher.page.get_by_label("License").fill("MIT")
    publisher.page.get_by_label("Capabilities").fill("moods, smileys")
    publisher.page.get_by_label("Capabilities").blur()
    publisher.is_told(re.compile("Draft saved"))
    publisher.page.reload()
    assert publisher.page.get_by_label("Description").input_value() == WORDS
    publisher.press("Save and continue")

    # 2 Endpoint, 3 Test: the first address is wrong, and the check says where and why; the second keeps the contract.
    publisher.page.get_by_label("Address").fill(f"{models}/sentimental")
    publisher.page.get_by_label("Protocol").select_option("json")
    publisher.press("Save and test")
    publisher.page.get_by_role("status").filter(has_text="of 8 failed").wait_for()
    step = publisher.main.locator(".steps li").filter(has_text="Accept the credential")
    assert "404" in step.inner_text()
    assert "How to fix it" in step.inner_text()
    publisher.follow("2 Endpoint")
    publisher.page.get_by_label("Address").fill(f"{models}/sentiment")
    publisher.press("Save and test")
    publisher.page.get_by_role("status").filter(has_text="Passed").wait_for()
    assert publisher.main.locator(".steps li.fail").count() == 0
    assert publisher.main.locator(".steps li.done").count() >= 6

    # 4 Price, with what it comes to; 5 Review.
    publisher.follow("Continue")
    publisher.main.get_by_role("radio", name=re.compile("^Paid")).check(force=True)
    publisher.page.get_by_label("Per call").fill("0.002")
    publisher.page.get_by_label("Calls a day").fill("5000")
    publisher.page.get_by_label("Calls a day").blur()
    publisher.main.locator("#sum").get_by_text("$10.00").wait_for()
    publisher.press("Save and continue")
    publisher.is_told("The price is saved.")
    publisher.press("Submit for review")
    publisher.is_told("The staff will look at it.")
    assert found_by(passer_by, NAME) == []

    # Staff finds it in the queue, looks at it, and lets it in.
    person = stack.demo["users"]["staff"]
    staff = walker(person["email"], person["password"])
    staff.goto("/admin/marketplace/aimodel/?status__exact=in_review")
    staff.page.get_by_role("link", name=NAME).click()
    assert "Nobody has looked at it yet." in staff.page.locator("#content").inner_text()
    staff.page.go_back()
    staff.page.get_by_role("row").filter(has_text=NAME).get_by_role("checkbox").check()
    staff.page.get_by_label("Action:").select_option(label="Publish: in review, or suspended")
    staff.page.get_by_role("button", name="Go", exact=True).or_(staff.page.get_by_role("button", name="Run")).click()
    staff.is_told("1 model is changed.")

    # Somebody who cannot spell finds it, and its page says what it is and costs.
    passer_by.goto("/")
    passer_by.page.get_by_role("combobox", name="What should the model do?").fill(MISSPELT)
    passer_by.page.get_by_role("option").filter(has_text=NAME).first.click()
    passer_by.page.wait_for_url(re.compile(rf"/models/[\w-]+/{NAME.lower()}$"))
    path = passer_by.page.url.removeprefix(staffed)
    assert found_by(passer_by, MISSPELT) == [NAME]
    passer_by.goto(path)
    assert "triage of feedback" in passer_by.text
    assert "$0.002" in passer_by.text

    # A caller tries it.
    caller = walker(CALLER)
    caller.goto(path)
    caller.follow("Open playground")
    caller.page.get_by_label("Text", exact=False).first.fill("What a lovely day!")
    caller.press("Run")
    caller.page.wait_for_selector('[data-cell="cost"] a')
    assert "positive" in caller.page.locator("#answer").inner_text()
    assert "$0.002" in caller.page.locator('[data-cell="cost"] dd').inner_text()

    # And gives it a name of their own, which a program calls.
    slug = path.removeprefix("/models/")
    caller.goto(f"/deployments?new&model={slug}")
    caller.page.get_by_label("Name", exact=True).fill("feedback")
    caller.press("Make deployment")
    caller.is_told("Send “feedback” as “model”.")
    caller.goto("/keys?new")
    caller.page.get_by_role("textbox", name="Name").fill("triage")
    caller.press("Make key")
    caller.page.wait_for_selector(".reveal")
    secret = SECRET.search(caller.text)
    assert secret is not None
    answer = Client(stack.url, secret[0]).post("/api/models/feedback/invoke", {"text": "I hate waiting."})
    assert answer.status == 200, answer
    assert answer.json["label"] == "negative"
    assert answer.headers["x-cost-usd"] == "0.002"
