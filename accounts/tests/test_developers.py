"""The way to becoming a platform developer: asked for, decided, told."""

import pytest

from accounts import services
from accounts.models import DeveloperRequest
from accounts.tests.factories import later, mails_to, make_client, make_member, make_user
from common.problems import ValidationFailed
from observability.models import AuditEvent

pytestmark = pytest.mark.django_db
PAGE = "/settings/developer"
WHY = "I have a model of the weather, and farmers who want it."


@pytest.fixture(autouse=True)
def approval(settings):
    settings.DEVELOPER_APPROVAL = "staff"


@pytest.fixture
def ada():
    user = make_user()
    user.client = make_client()
    user.client.force_login(user)
    return user


@pytest.fixture
def staff():
    user = make_user(is_staff=True, is_superuser=True)
    user.client = make_client()
    user.client.force_login(user)
    return user


def html_of(response, status=200):
    assert response.status_code == status
    return " ".join(response.content.decode().split())


def events(user):
    return list(
        AuditEvent.objects.filter(subject_user_id=user.pk, action__startswith="developer")
        .order_by("id")
        .values_list("action", flat=True)
    )


def decide(staff, asked, **values):
    return staff.client.post(f"/admin/accounts/developerrequest/{asked.pk}/change/", values)


def test_one_asks_by_a_sentence_and_sees_that_it_waits(ada):
    assert "Ask for it" in html_of(ada.client.get(PAGE))
    html = html_of(ada.client.post(PAGE, {"reason": WHY}, follow=True))
    assert "Your request is with the people who run this site." in html
    assert "Requested on" in html
    asked = ada.developer_requests.get()
    assert (asked.reason, asked.decision, asked.decided_at) == (WHY, "", None)
    assert events(ada) == ["developer.requested"]
    better = f"{WHY} They asked me."
    ada.client.post(PAGE, {"reason": better})
    assert ada.developer_requests.get().reason == better, "the words may change while nobody has decided"
    assert events(ada) == ["developer.requested"]


def test_a_request_without_a_word_is_refused_by_the_form(ada):
    assert "This field is required." in html_of(ada.client.post(PAGE, {"reason": " "}), 422)
    assert not ada.developer_requests.exists()
    assert ada.client.post(PAGE, {"reason": "x" * 501}).status_code == 422


def test_staff_grant_it_and_the_person_is_told(ada, staff):
    ada.client.post(PAGE, {"reason": WHY})
    queue = html_of(staff.client.get("/admin/accounts/developerrequest/?decision=undecided"))
    assert WHY in queue
    asked = ada.developer_requests.get()
    assert decide(staff, asked, decision="granted", decision_reason="Welcome.").status_code == 302
    asked.refresh_from_db()
    ada.refresh_from_db()
    assert (ada.role, asked.decision, asked.decided_by, asked.decided_at is not None) == (
        "developer",
        "granted",
        staff,
        True,
    )
    mail = mails_to(ada.email)[-1]
    assert "may publish" in mail.subject
    assert "Welcome." in mail.body
    assert events(ada) == ["developer.requested", "developer.granted"]
    assert "You may publish models." in html_of(ada.client.get(PAGE))
    ada.client.post(PAGE, {"reason": WHY})
    assert ada.developer_requests.count() == 1


def test_staff_refuse_it_with_a_reason_and_one_may_ask_again(ada, staff):
    ada.client.post(PAGE, {"reason": WHY})
    asked = ada.developer_requests.get()
    assert "Say why it is refused." in html_of(decide(staff, asked, decision="refused"))
    assert "Grant or refuse it." in html_of(decide(staff, asked, decision=""))
    assert decide(staff, asked, decision="refused", decision_reason="We have enough weather.").status_code == 302
    ada.refresh_from_db()
    assert ada.role == "consumer"
    mail = mails_to(ada.email)[-1]
    assert "We have enough weather." in mail.body
    assert PAGE in mail.body
    html = html_of(ada.client.get(PAGE))
    assert "Not granted on" in html
    assert "We have enough weather." in html
    ada.client.post(PAGE, {"reason": "It is about the sea."})
    assert ada.developer_requests.filter(decision="").count() == 1
    assert events(ada) == ["developer.requested", "developer.refused", "developer.requested"]


def test_what_is_decided_stays(ada, staff):
    ada.client.post(PAGE, {"reason": WHY})
    asked = ada.developer_requests.get()
    decide(staff, asked, decision="granted")
    assert decide(staff, asked, decision="refused", decision_reason="Oh no.").status_code == 403
    asked.refresh_from_db()
    assert asked.decision == "granted"
    assert not services.refuse_developer_role(user=ada, by=staff, reason="Oh no.")
    assert not services.grant_developer_role(user=ada, by=staff)
    assert len(mails_to(ada.email)) == 1


def test_the_role_is_withdrawn_and_the_person_told(ada, staff):
    services.grant_developer_role(user=ada, by=staff)
    assert not ada.developer_requests.exists(), "granted without having been asked"
    body = {"action": "withdraw_developer_role", "_selected_action": [str(ada.pk)]}
    assert "1 person may publish no more." in html_of(staff.client.post("/admin/accounts/user/", body, follow=True))
    ada.refresh_from_db()
    assert ada.role == "consumer"
    assert "no longer publish" in mails_to(ada.email)[-1].subject
    assert not services.withdraw_developer_role(user=ada)
    assert events(ada) == ["developer.granted", "developer.withdrawn"]


def test_where_the_site_says_so_it_is_granted_at_once(ada, settings):
    settings.DEVELOPER_APPROVAL = "automatic"
    assert "granted it at once" in html_of(ada.client.get(PAGE))
    assert "You may publish models now." in html_of(ada.client.post(PAGE, {"reason": WHY}, follow=True))
    asked = ada.developer_requests.get()
    assert (asked.decision, asked.decided_by) == ("granted", None)
    assert services.request_developer_role(user=ada) == asked


def test_one_who_may_publish_is_told_where_their_role_does_not_cover_it(ada):
    services.grant_developer_role(user=ada)
    member = make_member(user=ada)
    html = html_of(ada.client.get(PAGE, headers={"agorai-organization": member.organization.public_id}))
    assert f"In {member.organization.name} your role does not cover it" in html


def test_asking_by_the_api_asks_the_same(ada):
    first = services.request_developer_role(user=ada)
    with later("1 day"):
        assert services.request_developer_role(user=ada).created_at == first.created_at
    assert "Requested on" in html_of(ada.client.get(PAGE))
    assert services.request_developer_role(user=make_user(is_staff=True)) is None


def test_a_refusal_needs_a_reason_and_a_request(ada, staff):
    with pytest.raises(ValidationFailed):
        services.refuse_developer_role(user=ada, by=staff, reason=" ")
    assert not services.refuse_developer_role(user=ada, by=staff, reason="No.")
    assert not DeveloperRequest.objects.exists()
