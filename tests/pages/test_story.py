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
NAME, MISSPELT, RIVAL = "Moodring", "modring", "Moodstone"
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
    publisher.page.get_by_role("status").filter(has_text="of 8 failed").wait_for(timeout=60_000)
    step = publisher.main.locator(".steps li").filter(has_text="Accept the credential")
    assert "404" in step.inner_text()
    assert "How to fix it" in step.inner_text()
    publisher.follow("2 Endpoint")
    publisher.page.get_by_label("Address").fill(f"{models}/sentiment")
    publisher.press("Save and test")
    publisher.page.get_by_role("status").filter(has_text="Passed").wait_for(timeout=60_000)
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
    caller.goto(path)
    caller.follow("Deploy")
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

    # Of what they used they may say something, as soon as the call is settled. The rating moves, and the order follows.
    list_rival(stack, models)
    assert ranked(passer_by) == [RIVAL, NAME]
    caller.goto(path)
    caller.follow("Reviews")
    for _once_more in range(20):
        if caller.main.get_by_role("heading", name="Write a review").count():
            break
        caller.page.wait_for_timeout(500)
        caller.page.reload()
    caller.main.get_by_role("radio", name="5 stars").check(force=True)
    caller.page.get_by_label("Title").fill("Knows how I feel")
    caller.page.get_by_label("Your review").fill("Sorts our inbox since this morning, and no friendly mail was lost.")
    caller.press("Publish review")
    caller.is_told("Your review is published.")
    passer_by.goto(f"{path}/reviews")
    assert "Knows how I feel" in passer_by.text
    assert "2 calls" in passer_by.text
    assert re.search(r"5[.,]0\s+of 5", passer_by.text)
    assert ranked(passer_by) == [NAME, RIVAL]

    # The publisher answers. A caller who thinks again moves it back, and what was said before stays to be read.
    publisher.goto(f"{path}/reviews")
    publisher.follow("Reply, report or link")
    publisher.page.get_by_role("textbox", name="Reply").fill("That is what we made it for.")
    publisher.press("Publish reply")
    publisher.is_told("Your reply is published.")
    caller.goto(f"{path}/reviews")
    assert "That is what we made it for." in caller.text
    caller.follow("Change or delete it")
    caller.main.get_by_role("radio", name="1 star").check(force=True)
    caller.press("Save review")
    caller.is_told("Your review is changed.")
    assert ranked(passer_by) == [RIVAL, NAME]


def ranked(one: Walker) -> list[str]:
    """The two of the story, the better rated first."""
    return [name for name in found_by(one, "mood", "rating") if name in (NAME, RIVAL)]


def list_rival(stack: Any, models: str) -> None:
    """One like it, without a review, by the API and at once."""
    api = Client(stack.url)
    developer = Client(stack.url, api.post("/api/auth/login", stack.demo["users"]["developer"]).json["access"])
    listing = {
        "name": RIVAL,
        "description": "Tells a mood.",
        "version": "1.0.0",
        "category": "text-classification",
        "api_spec": {"input": {"type": "object"}, "output": {}},
        "pricing": {"type": "free"},
    }
    path = f"/api/models/{developer.post('/api/models', listing).json['id']}"
    assert developer.put(f"{path}/endpoint", {"url": f"{models}/sentiment", "protocol": "json"}).status == 200
    published = developer.post(f"{path}/publish")
    assert published.status == 200, published
