"""/api/models as an integrator meets it."""

import json

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts import services as accounts
from accounts.models import Membership, User
from common.ids import encode, uuid7
from common.money import NANO
from marketplace import services
from marketplace.models import AIModel, Measurement
from marketplace.services import Terms
from marketplace.tests.factories import make_model

pytestmark = pytest.mark.django_db

OF_THE_MOMENT = ("RateLimit", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests")
DRAFT = {
    "name": "Shouter",
    "description": "Says the same thing, **louder**.",
    "version": "1.0.0",
    "category": "other",
    "api_spec": {
        "input": {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}},
        "output": {"type": "object"},
    },
    "pricing": {"type": "paid", "rates": {"per_call": "0.002"}},
}
MODEL_FIELDS = {
    *("id", "slug", "name", "description", "version", "category", "capabilities", "api_spec", "pricing", "stats"),
    *("publisher", "status", "callable", "test_enabled", "created_at", "updated_at", "license", "context_tokens"),
    *("sunset_on", "degraded", "logo"),
}


class Person:
    """Somebody signed in, who speaks JSON."""

    def __init__(self, **fields):
        values = {"name": "Grace Hopper", "platform_role": "developer", **fields}
        self.user = User.objects.create_user(f"{uuid7()}@example.org", "a long password", **values)
        self.organization = accounts.ensure_personal_organization(user=self.user)
        self.client = Client()
        self.client.force_login(self.user)

    def __getattr__(self, method):
        def call(path, body=None, **headers):
            data = {"data": "" if body is None else json.dumps(body), "content_type": "application/json"}
            return getattr(self.client, method)(path, **({} if method == "get" else data), headers=headers)

        return call


@pytest.fixture
def grace():
    return Person()


@pytest.fixture
def staff():
    return Person(is_staff=True, is_superuser=True, platform_role="consumer")


@pytest.fixture
def model(grace):
    """A published model of grace's."""
    return make_model(publisher=grace.organization, status="published")


def problem(answer):
    return answer.status_code, answer.json()["code"]


def test_a_draft_is_made_and_looks_as_documented(grace):
    answer = grace.post("/api/models", DRAFT)
    assert answer.status_code == 201, answer.content
    made = answer.json()
    assert set(made) == MODEL_FIELDS
    assert made["id"].startswith("mdl_")
    assert made["slug"] == f"{grace.organization.slug}/shouter"
    since = made["pricing"]["effective_from"]
    assert since.endswith("Z")
    assert made["pricing"] == {
        "type": "paid",
        "amount": None,
        "period": None,
        "currency": "USD",
        "rates": {
            "per_call": "0.002",
            "input_tokens_per_million": None,
            "output_tokens_per_million": None,
            "included_calls": 0,
        },
        "effective_from": since,
        "announced": None,
    }
    assert made["stats"] == {
        "rating": 0,
        "reviews": 0,
        "deployments": 0,
        "requests": 0,
        "sample_size": 0,
        "latency_ms": {"p50": None, "p95": None},
        "first_token_ms": {"p50": None, "p95": None},
        "tokens_per_second": None,
        "uptime_percent": None,
        "typical_request": {
            "input_tokens": None,
            "output_tokens": None,
            "cost": {"amount": "0.002", "currency": "USD"},
        },
        "measured_at": None,
    }
    assert (made["license"], made["context_tokens"]) == ("", None)
    assert made["publisher"] == {
        "id": grace.organization.public_id,
        "slug": grace.organization.slug,
        "name": grace.organization.name,
    }
    assert (made["status"], made["callable"], made["test_enabled"]) == ("draft", False, False)
    assert made["created_at"].endswith("Z")
    assert made["api_spec"] == DRAFT["api_spec"]
    for ref in (made["id"], made["slug"].replace("/", ":")):
        assert grace.get(f"/api/models/{ref}").json() == made


def test_what_is_answered_can_be_sent_back(grace):
    pricing = {"type": "paid", "amount": "20.00", "period": "monthly", "rates": {"output_tokens_per_million": "1.2"}}
    made = grace.post("/api/models", DRAFT | {"pricing": pricing, "capabilities": ["streaming"]}).json()
    body = {name: made[name] for name in (*DRAFT, "capabilities")}
    answer = grace.put(f"/api/models/{made['id']}", body)
    assert answer.status_code == 200, answer.content
    assert answer.json() | {"updated_at": ""} == made | {"updated_at": ""}
    body["pricing"]["effective_from"] = "2099-01-01T00:00:00Z"
    refused = grace.put(f"/api/models/{made['id']}", body)
    assert refused.status_code == 422, "nobody gets a later price at once"
    assert refused.json()["errors"][0]["pointer"] == "/pricing/effective_from"


def test_license_and_context_are_said_and_may_be_taken_back(grace):
    made = grace.post("/api/models", DRAFT | {"license": "Apache-2.0", "context_tokens": 128_000}).json()
    assert (made["license"], made["context_tokens"]) == ("Apache-2.0", 128_000)
    changed = grace.put(f"/api/models/{made['id']}", DRAFT | {"license": "MIT"}).json()
    assert (changed["license"], changed["context_tokens"]) == ("MIT", None)


def test_measured_figures_are_in_the_stats(grace, model):
    days = ["none"] * 89 + ["ok"]
    Measurement.objects.create(
        ai_model=model,
        requests=210,
        sample_size=200,
        latency_p50_ms=412,
        latency_p95_ms=1900,
        tokens_per_second="86.5",
        typical_input_tokens=800,
        typical_output_tokens=300,
        uptime_bp=9993,
        days=days,
        measured_at="2026-10-31T12:00:00Z",
    )
    stats = grace.get(f"/api/models/{model.public_id}").json()["stats"]
    assert (stats["requests"], stats["sample_size"]) == (210, 200)
    assert stats["latency_ms"] == {"p50": 412, "p95": 1900}
    assert stats["first_token_ms"] == {"p50": None, "p95": None}
    assert (stats["tokens_per_second"], stats["uptime_percent"]) == (86.5, 99.93)
    assert stats["typical_request"] == {
        "input_tokens": 800,
        "output_tokens": 300,
        "cost": {"amount": "0.00", "currency": "USD"},
    }
    assert stats["measured_at"] == "2026-10-31T12:00:00Z"


def change(path, value):
    """The draft with one value replaced; `...` leaves it out."""
    body = json.loads(json.dumps(DRAFT))
    *parents, last = path.split("/")
    node = body
    for name in parents:
        node = node[name]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return body


BAD_INPUT = [
    *((change(name, ...), f"/{name}", "required") for name in DRAFT),
    *((change(name, ""), f"/{name}", "blank") for name in ("name", "description")),
    (change("name", "two\nlines"), "/name", "invalid"),
    (change("name", "x" * 121), "/name", "max_length"),
    (change("license", "MIT\nor not"), "/license", "invalid"),
    (change("license", "x" * 61), "/license", "max_length"),
    (change("context_tokens", 0), "/context_tokens", "min_value"),
    (change("version", "1.0"), "/version", "invalid"),
    (change("version", 1), "/version", "invalid"),
    (change("category", "astrology"), "/category", "invalid_choice"),
    (change("capabilities", ["Streaming!"]), "/capabilities/0", "invalid"),
    (change("api_spec/input", "x"), "/api_spec/input", "invalid_schema"),
    (change("api_spec/input", {"type": "string"}), "/api_spec/input/type", "not_an_object"),
    (change("api_spec/output", {"pattern": "(?=a)"}), "/api_spec/output/pattern", "unsupported_pattern"),
    (change("api_spec/output", {"$ref": "https://example.org"}), "/api_spec/output/$ref", "remote_reference"),
    (change("api_spec/output", ...), "/api_spec/output", "required"),
    (change("api_spec/more", {}), "/api_spec/more", "unknown_field"),
    (change("pricing/type", "gift"), "/pricing/type", "invalid_choice"),
    (change("pricing/type", "free"), "/pricing/rates/per_call", "free_with_price"),
    (change("pricing/currency", "EUR"), "/pricing/currency", "wrong_currency"),
    (change("pricing/amount", "20"), "/pricing/period", "required"),
    (change("pricing/rates/per_call", "0.0000000001"), "/pricing/rates/per_call", "invalid_amount"),
    (change("pricing/rates/per_call", 0.5), "/pricing/rates/per_call", "invalid_amount"),
    (change("pricing/rates/per_call", "-1"), "/pricing/rates/per_call", "out_of_range"),
    (change("pricing/rates/included_calls", 100), "/pricing/rates/included_calls", "not_available"),
    (change("pricing/rates/per_cal", "1"), "/pricing/rates/per_cal", "unknown_field"),
    (change("descripton", "x"), "/descripton", "unknown_field"),
]


@pytest.mark.parametrize(("body", "pointer", "code"), BAD_INPUT, ids=lambda value: str(value)[-40:])
def test_input_that_does_not_fit_names_the_field_and_makes_nothing(grace, body, pointer, code):
    answer = grace.post("/api/models", body)
    assert problem(answer) == (422, "validation_failed")
    assert (pointer, code) in {(error["pointer"], error["code"]) for error in answer.json()["errors"]}
    assert AIModel.objects.count() == 0


def test_included_calls_are_explained(grace):
    answer = grace.post("/api/models", change("pricing/rates/included_calls", 100))
    assert "plans" in answer.json()["errors"][0]["detail"]


def test_pricing_needs_only_its_type(grace):
    for kind in ("free", "paid"):
        answer = grace.post("/api/models", DRAFT | {"pricing": {"type": kind}})
        assert answer.status_code == 201, answer.content


def test_consumers_and_members_do_not_publish(grace):
    consumer = Person(platform_role="consumer")
    assert problem(consumer.post("/api/models", DRAFT)) == (403, "developer_required")
    member = Person()
    Membership.objects.create(organization=grace.organization, user=member.user, role="member")
    answer = member.post("/api/models", DRAFT, **{"agorai-organization": grace.organization.public_id})
    assert problem(answer) == (403, "role_required")
    answer = Client().post("/api/models", json.dumps(DRAFT), content_type="application/json")
    assert problem(answer) == (401, "not_authenticated")


CHANGES = [
    ("put", "", DRAFT),
    ("delete", "", None),
    ("post", "/submit", None),
    ("post", "/publish", None),
    ("post", "/deprecate", None),
    ("post", "/versions", {"version": "9.0.0", "api_spec": DRAFT["api_spec"]}),
]


@pytest.mark.parametrize(("method", "path", "body"), CHANGES, ids=lambda value: str(value)[:12])
def test_what_one_sees_but_does_not_own_is_403_and_what_one_does_not_see_is_404(grace, model, method, path, body):
    draft = make_model(publisher=grace.organization)
    stranger = Person()
    answer = getattr(stranger, method)(f"/api/models/{model.public_id}{path}", body)
    assert problem(answer) == (403, "not_your_model")
    hidden = getattr(stranger, method)(f"/api/models/{draft.public_id}{path}", body)
    missing = getattr(stranger, method)(f"/api/models/{encode('mdl', uuid7())}{path}", body)
    assert hidden.status_code == missing.status_code == 404
    assert hidden.json() | {"request_id": ""} == missing.json() | {"request_id": ""}
    of_the_moment = dict.fromkeys(("x-request-id", *OF_THE_MOMENT), "")
    assert dict(hidden.headers) | of_the_moment == dict(missing.headers) | of_the_moment


def test_a_draft_is_hidden_from_reading_too(grace):
    draft = make_model(publisher=grace.organization)
    for caller in (Client(), Person()):
        for path in ("", "/versions"):
            assert caller.get(f"/api/models/{draft.public_id}{path}").status_code == 404
            assert caller.get(f"/api/models/{grace.organization.slug}:{draft.slug}{path}").status_code == 404
    assert Client().get("/api/models/nonsense").status_code == 404
    assert Client().get("/api/models/mdl_nonsense").status_code == 404


def test_the_way_to_publication(grace, staff):
    made = grace.post("/api/models", DRAFT).json()
    path = f"/api/models/{made['id']}"
    assert grace.post(f"{path}/submit").json()["status"] == "in_review"
    assert problem(grace.post(f"{path}/submit")) == (409, "wrong_status")
    assert problem(grace.post(f"{path}/publish")) == (403, "role_required")
    published = staff.post(f"{path}/publish")
    assert published.status_code == 200, published.content
    assert published.json()["status"] == "published"
    assert Client().get(path).status_code == 200
    assert grace.post(f"{path}/deprecate", {"sunset_on": "2020-01-01"}).status_code == 422
    gone = grace.post(f"{path}/deprecate", {"sunset_on": "2099-01-01"}).json()
    assert (gone["status"], gone["sunset_on"]) == ("deprecated", "2099-01-01")
    assert grace.delete(path).status_code == 204
    assert Client().get(path).status_code == 404
    assert grace.get(path).json()["status"] == "archived"
    assert grace.delete(path).status_code == 204
    assert problem(grace.put(path, DRAFT)) == (409, "wrong_status")


def test_an_incomplete_listing_is_not_submitted(grace):
    made = grace.post("/api/models", DRAFT | {"pricing": {"type": "paid"}}).json()
    assert problem(grace.post(f"/api/models/{made['id']}/submit")) == (409, "not_ready_to_publish")
    refused = grace.post(f"/api/models/{made['id']}/submit", {"force": True})
    assert problem(refused) == (422, "validation_failed")


def test_versions_rise_and_are_listed(grace, model):
    path = f"/api/models/{model.public_id}"
    spec = {"input": {"type": "object"}, "output": {}}
    answer = grace.post(f"{path}/versions", {"version": "1.1.0", "api_spec": spec, "changelog": "Freer."})
    assert answer.status_code == 201, answer.content
    assert answer.json()["is_current"] is True
    assert answer.json()["published_at"] is not None
    assert grace.get(path).json()["version"] == "1.1.0"
    refused = grace.post(f"{path}/versions", {"version": "1.0.9", "api_spec": spec})
    assert problem(refused) == (409, "version_not_higher")
    assert refused.json()["highest_version"] == "1.1.0"
    listed = Client().get(f"{path}/versions").json()["data"]
    assert [(version["version"], version["is_current"]) for version in listed] == [("1.1.0", True), ("1.0.0", False)]
    put = grace.put(path, DRAFT | {"version": "1.1.0"})
    assert problem(put) == (409, "version_not_higher")


def test_unpublished_versions_are_shown_to_the_publisher_alone(grace, model):
    model.versions.create(version="2.0.0")
    path = f"/api/models/{model.public_id}/versions"
    assert len(grace.get(path).json()["data"]) == 2
    assert len(Client().get(path).json()["data"]) == 1


def test_the_list_is_public_searchable_and_in_pages(grace):
    for name in ("Sentiment", "Eliza", "Embed"):
        make_model(name=name, publisher=grace.organization, status="published")
    make_model(name="Hidden sentiment", publisher=grace.organization)
    first = Client().get("/api/models?limit=2")
    page = first.json()
    assert [set(row) for row in page["data"]] == [MODEL_FIELDS] * 2
    assert page["has_more"] is True
    assert f'cursor={page["next_cursor"]}>; rel="next"' in first["Link"]
    rest = Client().get(f"/api/models?limit=2&cursor={page['next_cursor']}").json()
    assert (len(rest["data"]), rest["has_more"], rest["next_cursor"]) == (1, False, None)
    found = Client().get("/api/models?q=sentiment&facets=true").json()
    assert [row["name"] for row in found["data"]] == ["Sentiment"]
    assert found["facets"]["category"] == [{"value": "text-classification", "count": 1}]
    assert found["facets"]["publisher"] == [{"value": grace.organization.slug, "count": 1}]
    own = grace.get(f"/api/models?publisher={grace.organization.slug}&q=sentiment").json()["data"]
    assert {row["status"] for row in own} == {"published", "draft"}


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("categry=chat", "/categry"),
        ("category=astrology", "/category/0"),
        ("pricing=gift", "/pricing"),
        ("sort=best", "/sort"),
        ("min_rating=6", "/min_rating"),
        ("min_rating=NaN", "/min_rating"),
        ("price_max=cheap", "/price_max"),
        ("price_max=-1", "/price_max"),
        ("limit=0", "/limit"),
        ("limit=101", "/limit"),
        ("cursor=abc", "/cursor"),
        ("facets=maybe", "/facets"),
        ("q=%00", "/q"),
        ("q=" + "x" * 201, "/q"),
    ],
)
def test_a_bad_parameter_is_400_and_named(query, pointer):
    answer = Client().get(f"/api/models?{query}")
    assert problem(answer) == (400, "invalid_parameter")
    assert answer.json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(
    ("query", "pointer", "meant"),
    [
        ("categroy=chat", "/categroy", "Did you mean “category”?"),
        ("prices_max=3", "/prices_max", "Did you mean “price_max”?"),
        ("Sort=price", "/Sort", "Did you mean “sort”?"),
        ("category=chatt", "/category/0", "Did you mean “chat”?"),
        ("category=chat,text-clasification", "/category/1", "Did you mean “text-classification”?"),
        ("sort=relevence", "/sort", "Did you mean “relevance”?"),
        ("sort=-price", "/sort", "Did you mean “price”?"),
        ("pricing=fre", "/pricing", "Did you mean “free”?"),
        ("pricing=zzz", "/pricing", "Valid: free, paid."),
    ],
)
def test_an_unknown_parameter_or_value_meets_the_nearest_known_one(query, pointer, meant):
    for path in ("/api/models", "/models"):
        answer = Client().get(f"{path}?{query}")
        assert answer.status_code == 400
        if path.startswith("/api"):
            (fault,) = answer.json()["errors"]
            assert fault["pointer"] == pointer
            assert fault["detail"].endswith(meant)
        else:
            assert meant in answer.content.decode()


def test_an_unknown_word_in_a_listing_meets_the_nearest_known_one(grace):
    answer = grace.post("/api/models", DRAFT | {"category": "chatt", "pricing": {"type": "fre"}, "licence": "MIT"})
    assert answer.status_code == 422
    said = {fault["pointer"]: fault["detail"] for fault in answer.json()["errors"]}
    assert said["/category"].endswith("Did you mean “chat”?")
    assert said["/pricing/type"].endswith("Did you mean “free”?")
    assert said["/licence"].endswith("Did you mean “license”?")


@pytest.mark.parametrize("path", ["/api/models?facets=true", "/api/models?q=sentiment"])
def test_the_list_takes_the_same_queries_for_3_and_30_rows(grace, path):
    def count():
        with CaptureQueriesContext(connection) as queries:
            assert Client().get(f"{path}{'&' if '?' in path else '?'}limit=100").status_code == 200
        return len(queries)

    for _ in range(3):
        make_model(publisher=grace.organization, status="published")
    few = count()
    for _ in range(27):
        make_model(publisher=grace.organization, status="published")
    ai_model = AIModel.objects.first()
    for nano in range(1, 4):
        services.set_price(ai_model=ai_model, terms=Terms(type="paid", per_call_nano=nano))
    assert count() == few


def test_the_price_shown_is_the_one_in_force(grace, model):
    services.set_price(ai_model=model, terms=Terms(type="paid", per_call_nano=NANO // 1000))
    for shown in (
        Client().get(f"/api/models/{model.public_id}").json(),
        Client().get("/api/models").json()["data"][0],
    ):
        assert shown["pricing"]["rates"]["per_call"] == "0.001"


def test_a_client_that_has_the_answer_is_told_so(grace, model):
    for path in ("/api/models", f"/api/models/{model.public_id}"):
        answer = Client().get(path)
        etag = answer["ETag"]
        again = Client().get(path, headers={"if-none-match": f'"other", W/{etag}'})
        assert (again.status_code, again.content, again["ETag"]) == (304, b"", etag)
    grace.put(f"/api/models/{model.public_id}", DRAFT | {"version": "1.1.0"})
    assert Client().get(path, headers={"if-none-match": etag}).status_code == 200


@pytest.mark.parametrize("name", ["a:%00", "%00", "a:b%ED%A0%80", "a:" + "b" * 5000, "mdl_%00", "a%3Ab%2Fc", "a:b:c"])
def test_no_name_breaks_anything(name):
    for path in (f"/api/models/{name}", f"/api/models/{name}/versions", f"/models/a/{name}"):
        assert Client().get(path).status_code == 404


@pytest.mark.parametrize("name", ["a:\\u0000", "a:\\ud800", "mdl_"])
def test_no_filter_breaks_anything(name):
    for query in ({"publisher": "a\x00"}, {"capability": "\x00"}, {"q": "\\' & | ! :*"}, {"publisher": name}):
        assert Client().get("/api/models", query).status_code in (200, 400)
        assert Client().get("/models", query).status_code in (200, 400)


def test_a_publisher_opens_a_model_to_test_keys_and_closes_it(grace):
    made = grace.post("/api/models", DRAFT | {"test_enabled": True}).json()
    assert made["test_enabled"] is True
    assert grace.put(f"/api/models/{made['id']}", DRAFT).json()["test_enabled"] is False
