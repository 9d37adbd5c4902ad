"""The tab Reviews, one review, and reports, as people meet them."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest
from django.test import Client

from accounts.tests.factories import make_client, make_user
from gateway.tests.factories import make_call
from marketplace.models import AIModel
from marketplace.tests.factories import make_model
from reviews import services
from reviews.models import Reply, Report, Review
from tests.reviews.factories import make_customer, make_review
from tests.reviews.test_api import signed_in

pytestmark = pytest.mark.django_db


def page_of(ai_model: AIModel, *rest: str) -> str:
    return "/".join([f"/models/{ai_model.publisher.slug}/{ai_model.slug}", *rest])


def words_of(html: bytes) -> str:
    text = re.sub(r"<(script|style|svg).*?</\1>", " ", html.decode(), flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


def test_everybody_reads_what_they_add_up_to(client: Client):
    ai_model = make_model(status="published")
    assert "No reviews yet" in words_of(client.get(page_of(ai_model, "reviews")).content)
    for rating in (5, 5, 1):
        make_review(ai_model, rating=rating, title=f"Gives {rating}")
    hidden = make_review(ai_model, content="Insults.")
    services.hide_review(review=hidden)
    html = client.get(page_of(ai_model, "reviews")).content
    words = words_of(html)
    assert "3.7 of 5" in words
    assert "3 reviews" in words
    assert "5 stars 2 4 stars 0 3 stars 0 2 stars 0 1 star 1" in words
    assert "1 call version 1.0.0" in words
    assert "Insults." not in words
    assert "Log in" in words
    assert b'name="rating"' not in html
    assert "Reviews 3" in words, "the tab says how many"
    only = words_of(client.get(page_of(ai_model, "reviews"), {"rating": 1}).content)
    assert "Gives 1" in only
    assert "Gives 5" not in only
    assert "No review gives 3 stars" in words_of(client.get(page_of(ai_model, "reviews"), {"rating": 3}).content)


def test_orders_are_links_and_keep_the_filter(client: Client):
    ai_model = make_model(status="published")
    for rating in (1, 5, 3):
        make_review(ai_model, rating=rating, title=f"Gives {rating}")

    def order(**query: str) -> list[str]:
        return re.findall(r"Gives (\d)", words_of(client.get(page_of(ai_model, "reviews"), query).content))

    assert order() == ["3", "5", "1"]
    assert order(sort="highest") == ["5", "3", "1"]
    assert order(sort="lowest") == ["1", "3", "5"]
    html = client.get(page_of(ai_model, "reviews"), {"rating": "3"}).content.decode()
    assert 'href="?rating=3&amp;sort=lowest"' in html
    assert client.get(page_of(ai_model, "reviews"), {"sort": "best"}).status_code == 400


def test_whoever_called_the_model_writes_a_review_and_changes_it():
    ai_model = make_model(status="published")
    user = make_customer(ai_model)
    browser = signed_in(user)
    page = page_of(ai_model, "reviews")
    assert "It rests on 1 settled call" in words_of(browser.get(page).content)
    refused = browser.post(page, {"content": "x"})
    assert refused.status_code == 422
    assert "Give one to five stars." in words_of(refused.content)
    made = browser.post(page, {"rating": "4", "title": "Good", "content": "Quick."}, follow=True)
    assert made.redirect_chain == [(page, 302)]
    assert "Your review is published." in words_of(made.content)
    assert b'name="rating"' not in made.content, "one is enough"
    review = Review.objects.get()
    one = page_of(ai_model, "reviews", review.public_id)
    assert browser.post(one, {"rating": "2", "content": "Slower."}).status_code == 302
    seen = words_of(make_client().get(one).content)
    assert "Slower." in seen
    assert "What it said before" in seen
    assert "Quick." in seen
    again = browser.post(page, {"rating": "4", "content": "Again."}, follow=True)
    assert "You reviewed this model already." in words_of(again.content)
    assert browser.get(f"{one}/delete").status_code == 405
    assert browser.post(f"{one}/delete").status_code == 302
    assert not Review.objects.exists()


def test_others_are_told_what_is_missing():
    publisher = make_user(platform_role="developer")
    ai_model = make_model(publisher=publisher.personal_organization, status="published")
    page = page_of(ai_model, "reviews")
    stranger, own = signed_in(make_user()), signed_in(publisher)
    html = stranger.get(page).content
    assert "A review needs 1 settled call of this model" in words_of(html)
    assert b'name="rating"' not in html
    assert b'name="rating"' not in own.get(page).content
    for browser in (stranger, own):
        assert browser.post(page, {"rating": "5", "content": "Good."}).status_code == 403
    answer = make_client().post(page, {"rating": "5", "content": "Good."})
    assert answer.status_code == 302
    assert "/accounts/login/" in answer["Location"]


def test_readers_find_it_helpful_and_report_it():
    ai_model = make_model(status="published")
    review = make_review(ai_model)
    reader = signed_in(make_user())
    page, one = page_of(ai_model, "reviews"), page_of(ai_model, "reviews", review.public_id)
    voted = reader.post(f"{one}/helpful", {"helpful": "yes"})
    assert voted["Location"] == f"{page}#{review.public_id}"
    assert b'aria-pressed="true"' in reader.get(page).content
    reader.post(f"{one}/helpful", {"helpful": "no"})
    assert b'aria-pressed="true"' not in reader.get(page).content
    refused = reader.post(f"{one}/report", {"reason": "other"})
    assert refused.status_code == 422
    assert "Say what is wrong." in words_of(refused.content)
    told = reader.post(f"{one}/report", {"reason": "spam"}, follow=True)
    assert "The staff of this site will look at it." in words_of(told.content)
    told = reader.post(f"{one}/report", {"reason": "spam"}, follow=True)
    assert "You reported this already." in words_of(told.content)
    assert Report.objects.get().review == review


def test_a_model_is_reported():
    ai_model = make_model(status="published")
    reader = signed_in(make_user())
    page = page_of(ai_model, "report")
    assert f'href="{page}"' in reader.get(page_of(ai_model)).content.decode()
    assert reader.post(page, {"reason": "off_topic"}).status_code == 422
    told = reader.post(page, {"reason": "misleading", "note": "It guesses."}, follow=True)
    assert told.redirect_chain == [(page_of(ai_model), 302)]
    assert Report.objects.get().ai_model == ai_model


def test_the_publisher_replies():
    publisher = make_user(platform_role="developer")
    ai_model = make_model(publisher=publisher.personal_organization, status="published")
    one = page_of(ai_model, "reviews", make_review(ai_model).public_id)
    browser = signed_in(publisher)
    assert "Reply as the publisher" in words_of(browser.get(one).content)
    assert browser.post(f"{one}/reply", {"content": ""}).status_code == 422
    assert browser.post(f"{one}/reply", {"content": "Thank you."}).status_code == 302
    assert "Thank you." in words_of(make_client().get(page_of(ai_model, "reviews")).content)
    assert browser.post(f"{one}/reply", {"act": "delete"}).status_code == 302
    assert "Thank you." not in words_of(make_client().get(one).content)


def test_what_is_hidden_is_there_for_its_author_alone():
    ai_model = make_model(status="published")
    review = make_review(ai_model, content="Insults.")
    services.hide_review(review=review, reason="Be kind.")
    one = page_of(ai_model, "reviews", review.public_id)
    assert make_client().get(one).status_code == 404
    assert signed_in(make_user()).get(one).status_code == 404
    author = signed_in(review.author)
    assert "Be kind." in words_of(author.get(one).content)
    assert "Be kind." in words_of(author.get(page_of(ai_model, "reviews")).content)


def test_pages_follow_each_other(client: Client):
    ai_model = make_model(status="published")
    for number in range(22):
        make_review(ai_model, title=f"Number {number}")
    first = client.get(page_of(ai_model, "reviews"), {"sort": "highest"}).content.decode()
    following = re.search(r'href="(\?[^"]+)" rel="next"', first)
    assert following is not None
    second = words_of(client.get(page_of(ai_model, "reviews") + unescape(following[1])).content)
    assert re.findall(r"Number (\d+)", second) == ["1", "0"]
    assert "First page" in second


def test_the_page_of_an_organization_with_calls_says_how_many():
    ai_model = make_model(status="published")
    user = make_customer(ai_model, calls=2)
    make_call(ai_model, organization=make_user().personal_organization)
    assert "It rests on 2 settled calls" in words_of(signed_in(user).get(page_of(ai_model, "reviews")).content)


def test_a_publishers_page_says_how_fast_it_replies(client: Client):
    publisher = make_user(platform_role="developer")
    organization = publisher.personal_organization
    ai_model = make_model(publisher=organization, status="published")
    page = f"/publishers/{organization.slug}"
    for number, hours in enumerate((1, 3, 200)):
        assert "Replies to a review" not in words_of(client.get(page).content), "so few say nothing"
        review = make_review(ai_model)
        services.reply(review=review, organization=organization, by=publisher, content=f"Thanks, {number}.")
        late = review.created_at + timedelta(hours=hours)
        Reply.objects.filter(review=review).update(created_at=late, updated_at=late)
    assert "Replies to a review within 3 hours, as a median." in words_of(client.get(page).content)
