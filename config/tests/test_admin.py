"""What staff see: every table, each in a few queries, and the first page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, Permission
from django.db.models import Model
from django.test import Client
from django.utils import timezone

from accounts.models import Budget, DeveloperRequest, EmailCode, Membership, Organization, RefreshFamily, User
from accounts.services import open_family, request_developer_role, set_spend_limit
from accounts.tests.factories import mails_to, make_user
from analytics.models import ModelHour, RolledHour
from analytics.services import roll_up
from apikeys.models import APIKey, LeakReport
from apikeys.tests.factories import make_key
from billing.models import Charge, CreditGrant, LedgerAccount, LedgerTransaction, UsageEvent
from billing.services import account_of, grant_credit, post_usage
from common.ids import encode, uuid7
from common.staff import CEILING
from gateway.models import ContractCheck, Deployment, Endpoint, Invocation, Prediction, SweepMark, UsageConfirmation
from gateway.services import create_deployment, settle_orphans
from gateway.services.contract import Step
from gateway.tests.factories import make_call, make_endpoint, make_prediction
from marketplace.models import AIModel, ModelVersion, Price, SavedModel
from marketplace.services import Terms
from marketplace.tests.factories import make_model
from media.models import File
from media.services import begin
from notifications.models import Message, WebhookDelivery, WebhookReceiver, WebhookSecret
from notifications.services import send_webhook
from notifications.tests.factories import make_message
from observability.models import AuditEvent, IdempotencyKey, RequestLog
from observability.services import record
from reviews import services as reviews
from reviews.models import RatingSummary, Report, Review, Vote

pytestmark = pytest.mark.django_db

#: Models of ours without a page of their own: they are on the page of what they belong to.
INLINE = {
    "accounts.BrowserSession",
    "accounts.Invitation",
    "accounts.Membership",
    "accounts.RefreshToken",
    "apikeys.KeyClient",
    "billing.GrantUse",
    "billing.LedgerEntry",
    "marketplace.Measurement",
    "marketplace.UnsavedStep",
    "reviews.Edit",
    "reviews.Reply",
}
#: Pages that need a browser's window of their own in which rows are added.
MAY_BE_ADDED = {User, Organization, Group, CreditGrant}
LIST_QUERIES, ROW_QUERIES = 14, 24


@pytest.fixture
def staff() -> SimpleNamespace:
    user = User.objects.create_superuser("staff@example.org", "a long enough password", name="Grace")
    client = Client()
    client.force_login(user)
    return SimpleNamespace(client=client, user=user)


@pytest.fixture
def world(staff: SimpleNamespace) -> Callable[[], dict[type[Model], Model]]:
    """One row of everything that staff may look at, and another one with each call."""

    def make() -> dict[type[Model], Model]:
        user = make_user(name="Ada <b>Lovelace</b>")
        organization = user.personal_organization
        key, _secret = make_key(user=user, organization=organization)
        ai_model = make_model(status="published", pricing=Terms(type="paid", input_nano_per_million=400_000_000))
        open_family(user=user, client="test")
        call = make_call(ai_model, organization=organization, user=user, api_key=key, cost_nano=680_000)
        grant = grant_credit(
            organization=organization, amount_nano=10**9, source="given", key=f"given:{call.pk}", reason="<b>Sorry</b>"
        )
        post_usage()
        settle_orphans()
        roll_up()
        review = reviews.post_review(
            ai_model=ai_model, author=user, organization=organization, rating=4, content="Sees <b>Lovelace</b> in it."
        )
        reviews.edit_review(review=review, by=user, rating=3, content="Less so today.")
        reviews.reply(review=review, organization=ai_model.publisher, by=user, content="It will be better.")
        reader = make_user()
        reviews.set_helpful(review=review, by=reader, is_helpful=True)
        return {
            User: user,
            DeveloperRequest: request_developer_role(user=user, reason="I have a model of the <b>weather</b>."),
            Organization: organization,
            Budget: set_spend_limit(
                subject_kind="key", subject_id=key.pk, limit_nano=5 * 10**9, window="month", time_zone="UTC"
            ),
            EmailCode: EmailCode.objects.create(
                user=user, email=user.email, purpose="login", digest=b"K7RT2M", expires_at=timezone.now()
            ),
            RefreshFamily: RefreshFamily.objects.latest("id"),
            APIKey: key,
            LeakReport: LeakReport.objects.create(partner="scanner", body_hash=key.pk.bytes * 2, leaks=1),
            AIModel: ai_model,
            ModelVersion: ai_model.current_version,
            Price: ai_model.price,
            Endpoint: (endpoint := make_endpoint(ai_model, sealed_secret=b"K7RT2M", max_cost_nano=10**9)),
            ContractCheck: endpoint.checks.create(
                reason="asked",
                created_at=timezone.now(),
                steps=[Step("reach", "failed", "no_answer", {"reason": "Nothing <b>answers</b>."}).document],
            ),
            ModelHour: ModelHour.objects.get(ai_model=ai_model),
            RolledHour: RolledHour.objects.latest("start"),
            Deployment: create_deployment(
                organization=organization, name="support", ai_model_id=ai_model.pk, version="1.0.0", rate_limit=60
            ),
            Invocation: call,
            UsageEvent: UsageEvent.objects.get(pk=call.pk),
            Charge: Charge.objects.get(pk=call.pk),
            CreditGrant: grant,
            LedgerAccount: account_of("credit", organization),
            LedgerTransaction: LedgerTransaction.objects.latest("id"),
            SweepMark: SweepMark.objects.get(),
            UsageConfirmation: UsageConfirmation.objects.create(
                id=call.pk,
                endpoint_id=call.pk,
                publisher_id=call.publisher_id,
                input_tokens=1,
                output_tokens=2,
                received_at=timezone.now(),
            ),
            Message: make_message(payload={"code": "K7RT2M"}),
            Prediction: make_prediction(call),
            WebhookDelivery: (
                delivery := send_webhook(
                    organization_id=organization.pk,
                    url="https://hooks.example.org/K7RT2M",
                    kind="prediction.succeeded",
                    subject=encode("pred", call.pk),
                    data={"code": "K7RT2M"},
                    at=timezone.now(),
                    dedupe_key=str(call.pk),
                )
            ),
            WebhookReceiver: delivery.receiver,
            WebhookSecret: WebhookSecret.objects.create(organization=organization, sealed=b"K7RT2M"),
            AuditEvent: AuditEvent.objects.get(pk=record("tests.looked", target=key)),
            RequestLog: RequestLog.objects.create(
                id=uuid7(), at=timezone.now(), actor_user_id=user.pk, method="GET", route="api:models", status=200, ms=4
            ),
            IdempotencyKey: IdempotencyKey.objects.create(
                organization_id=organization.pk, key_hash=call.pk.bytes, fingerprint=b"K7RT2M", call_id=call.pk
            ),
            LogEntry: LogEntry.objects.create(
                user=staff.user,
                object_repr="Ada",
                action_flag=CHANGE,
                change_message='[{"changed": {"fields": ["Name"]}}]',
            ),
            SavedModel: user.saved_models.create(ai_model=ai_model),
            File: begin(
                organization=organization, ai_model=None, kind="logo", name="logo.png", media_type="image/png", size=9
            ),
            Review: review,
            Vote: review.votes.get(),
            RatingSummary: RatingSummary.objects.get(pk=ai_model.pk),
            Report: reviews.report_review(review=review, by=reader, reason="other", note="It is <b>Lovelace</b>."),
            Group: Group.objects.create(name=f"Reviewers {call.pk}"),
        }

    return make


def list_of(model: type[Model]) -> str:
    return f"/admin/{model._meta.app_label}/{model._meta.model_name}/"


def test_every_model_of_ours_has_a_page_or_stands_on_another():
    ours = [config for config in apps.get_app_configs() if (settings.BASE_DIR / config.name / "__init__.py").is_file()]
    shown = {model._meta.label for model in admin.site._registry}
    missing = {model._meta.label for config in ours for model in config.get_models()} - shown
    assert missing == INLINE
    inlines = {inline.model._meta.label for page in admin.site._registry.values() for inline in page.inlines}
    assert inlines >= INLINE


def test_every_table_is_listed_and_every_row_shown_in_a_few_queries(
    staff: SimpleNamespace, world: Callable[[], dict[type[Model], Model]], django_assert_max_num_queries: Any
):
    rows = world()
    assert set(rows) == set(admin.site._registry), "make a row of it in `world`"
    for _ in range(4):
        world()
    for model, row in rows.items():
        with django_assert_max_num_queries(LIST_QUERIES):
            listed = staff.client.get(list_of(model))
        assert listed.status_code == 200, model
        assert b'id="result_list"' in listed.content, f"the list of {model} is empty"
        with django_assert_max_num_queries(ROW_QUERIES):
            shown = staff.client.get(f"{list_of(model)}{row.pk}/change/")
        assert shown.status_code == 200, model
        assert staff.client.get(f"{list_of(model)}{row.pk}/history/").status_code == 200
        assert staff.client.get(f"{list_of(model)}add/").status_code == (200 if model in MAY_BE_ADDED else 403)
        may_delete = model is Group
        assert staff.client.get(f"{list_of(model)}{row.pk}/delete/").status_code == (200 if may_delete else 403)
        for page in (listed, shown):
            html = page.content.decode()
            for secret in ("K7RT2M", b"K7RT2M".hex(), "memory at", "digest", "sealed"):
                assert secret not in html, model
            assert "<b>Lovelace" not in html


def test_filters_and_searches_answer_too(staff: SimpleNamespace, world: Callable[[], dict[type[Model], Model]]):
    rows = world()
    for model in rows:
        page = admin.site._registry[model]
        query = {"q": "nothing like it"} if page.search_fields else {}
        assert staff.client.get(list_of(model), query).status_code == 200, model
    for query in (
        "gateway/invocation/?made=any&http_status__gte=400&mode=live&state__exact=final",
        f"gateway/invocation/?made={timezone.localdate()}",
        "billing/usageevent/?made=30d&mode=test",
        "accounts/budget/?left=none",
        "accounts/budget/?left=some",
        "accounts/developerrequest/?decision=undecided",
        "accounts/developerrequest/?decision=granted",
        "notifications/message/?kind=accounts.verify_email",
        "observability/auditevent/?action=key.revoked&actor=keys",
        "observability/auditevent/?actor=nonsense",
    ):
        assert staff.client.get(f"/admin/{query}").status_code == 200, query
    assert staff.client.get("/admin/gateway/invocation/?made=yesterday").status_code == 200


def test_the_audit_log_is_filtered_by_act_and_by_actor(staff: SimpleNamespace):
    key, _secret = make_key(user=make_user())
    record("model.suspended", actor_user_id=staff.user.pk)
    record("model.archived", actor_user_id=key.user_id)
    record("account.login_failed", after={"reason": "password"})

    def acts(query: str) -> set[str]:
        shown = staff.client.get(f"/admin/observability/auditevent/?{query}")
        return {event.action for event in shown.context["cl"].result_list}

    assert acts("action=model.suspended") == {"model.suspended"}
    assert acts("actor=staff") >= {"model.suspended"}
    assert "model.archived" not in acts("actor=staff")
    assert "model.suspended" in acts(f"actor={staff.user.public_id}")
    by_person = acts(f"actor={encode('usr', key.user_id)}")
    assert "model.archived" in by_person
    assert "model.suspended" not in by_person
    assert "account.login_failed" in acts("actor=nobody")
    assert "model.archived" not in acts("actor=nobody")
    assert acts("actor=keys") == set()
    assert "Grace" in staff.client.get("/admin/observability/auditevent/").content.decode()


def test_a_call_is_found_by_its_id_whatever_the_filters_say(
    staff: SimpleNamespace, world: Callable[[], dict[type[Model], Model]]
):
    rows = world()
    call, key = rows[Invocation], rows[APIKey]
    page = staff.client.get("/admin/gateway/invocation/", {"q": encode("req", call.pk), "state__exact": "started"})
    assert "1 invocation" in page.content.decode()
    assert "$0.00068" in page.content.decode()
    page = staff.client.get("/admin/gateway/invocation/", {"q": encode("key", key.pk)})
    assert encode("req", call.pk) in page.content.decode()
    page = staff.client.get("/admin/gateway/invocation/", {"q": encode("key", call.pk)})
    assert "0 invocations" in page.content.decode()


def test_a_list_of_calls_begins_with_the_past_day(staff: SimpleNamespace, django_capture_on_commit_callbacks: Any):
    page = staff.client.get("/admin/gateway/invocation/").content.decode()
    assert "Past 24 hours" in page
    assert "0 invocations" in page


def test_long_lists_say_where_they_end_and_are_never_shown_whole(staff: SimpleNamespace):
    EmailCode.objects.bulk_create(
        EmailCode(user=staff.user, email="a@example.org", purpose="login", digest=b"x", expires_at=timezone.now())
        for _ in range(CEILING + 1)
    )
    for query in ("", "?all="):
        html = staff.client.get(f"/admin/accounts/emailcode/{query}").content.decode()
        assert "The newest 1,000" in html
        assert html.count(">a@example.org<") == 50
    assert "1,000 results or more" in staff.client.get("/admin/accounts/emailcode/?q=a@example.org").content.decode()


def test_the_first_page_says_how_today_goes_and_what_waits(
    staff: SimpleNamespace, world: Callable[[], dict[type[Model], Model]], django_assert_max_num_queries: Any
):
    rows = world()
    make_model(status="in_review")
    make_message(state="dead", attempts=8, next_attempt_at=None)
    make_call(rows[AIModel], organization=rows[Organization], http_status=502)
    with django_assert_max_num_queries(28):
        html = " ".join(staff.client.get("/admin/").content.decode().split())
    for label, figure in (("Requests", "2"), ("Spend", "$0.00068"), ("Error rate", "50.00%")):
        assert f'<span class="k">{label}</span><span class="v">{figure}</span>' in html
    for label in ("Listings to review", "People who ask to publish", "Mail that was given up"):
        assert f'{label}</a><span class="figure">1</span>' in html
    assert 'Suspended models</a><span class="figure">0</span>' in html
    assert "All are applied" in html
    assert "Ran 0 seconds ago" in html
    assert html.index("<details") < html.index("/admin/accounts/user/add/"), "the tables are folded away"
    for href in {part.split('"')[0] for part in html.split('<a href="')[1:] if part.startswith("/admin/")}:
        assert staff.client.get(href.replace("&amp;", "&")).status_code in (200, 302), href


def test_the_first_page_of_an_empty_site_and_of_a_stopped_worker(staff: SimpleNamespace):
    assert "Has not run yet" in staff.client.get("/admin/").content.decode()
    SweepMark.objects.create(name=SweepMark.ORPHANS, low_water="0" * 32, swept_at=timezone.now() - timedelta(hours=2))
    html = staff.client.get("/admin/").content.decode()
    assert "Look here:" in html
    assert "Ran 2\N{NO-BREAK SPACE}hours ago" in html


def test_staff_see_the_queues_they_may_work_on(staff: SimpleNamespace):
    reviewer = User.objects.create_user("r@example.org", "a long enough password", name="R", is_staff=True)
    reviewer.user_permissions.add(*Permission.objects.filter(codename__in=["view_aimodel", "change_aimodel"]))
    client = Client()
    client.force_login(reviewer)
    html = client.get("/admin/").content.decode()
    assert "Listings to review" in html
    assert "Mail that was given up" not in html
    assert "Spend" not in html


def test_a_password_changes_on_the_page_that_ends_tokens(staff: SimpleNamespace):
    assert staff.client.get("/admin/password_change/")["Location"] == "/accounts/password/change/"


def test_staff_make_an_organization_with_its_owner(staff: SimpleNamespace):
    owner = make_user()
    body = {"name": "Analytical Engines", "slug": "engines", "owner": str(owner.pk)}
    answer = staff.client.post("/admin/accounts/organization/add/", body)
    assert answer.status_code == 302
    made = Organization.objects.get(slug="engines")
    assert Membership.objects.get(organization=made).user == owner
    assert LogEntry.objects.get().object_id == str(made.pk)
    assert staff.client.post("/admin/accounts/organization/add/", body).status_code == 200, "the slug is taken"


def test_a_lost_second_factor_is_removed_and_told(staff: SimpleNamespace):
    user, colleague = make_user(), make_user(is_staff=True)
    for person in (user, colleague):
        person.authenticator_set.create(type="totp", data={"secret": "sealed"})
    helper = Client()
    person = make_user(is_staff=True)
    person.user_permissions.add(*Permission.objects.filter(codename__in=["view_user", "help_user"]))
    helper.force_login(person)
    body = {"action": "remove_second_factor", "_selected_action": [str(user.pk), str(colleague.pk)]}
    html = helper.post("/admin/accounts/user/", body, follow=True).content.decode()
    assert "1 person logs in by password alone now." in html
    assert not user.authenticator_set.exists()
    assert colleague.authenticator_set.exists(), "of other staff by a superuser alone"
    assert "off" in mails_to(user.email)[-1].subject
    staff.client.post("/admin/accounts/user/", body)
    assert not colleague.authenticator_set.exists()
