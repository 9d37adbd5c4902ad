"""One registry of errors, and one answer wherever something goes wrong: a document for programs, a page for people."""

import ast
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest
from django.test import Client
from django.urls import path

from common.policy import Policy
from common.problems import REGISTRY
from config.urls import urlpatterns as site_patterns

ROOT = Path(__file__).resolve().parent.parent
APPS = ["common", *sorted(path.parent.name for path in ROOT.glob("*/apps.py"))]

every_problem = pytest.mark.parametrize("problem", [pytest.param(REGISTRY[code], id=code) for code in sorted(REGISTRY)])


@every_problem
def test_every_error_explains_itself(problem):
    assert problem.status == 499 or HTTPStatus(problem.status) >= 400  # 499 is said to nobody: the caller has gone
    assert problem.code == problem.code.lower().replace("-", "_").strip("_")
    assert 0 < len(str(problem.title)) <= 60
    assert not str(problem.title).endswith(".")
    assert str(problem.explanation).endswith((".", "?", "!"))
    assert str(problem.fix).endswith((".", "?", "!"))
    assert problem.retry in ("never", "after", "now")


def sources() -> Iterator[Path]:
    for app in APPS:
        yield from (path for path in (ROOT / app).rglob("*.py") if "tests" not in path.parts)


def problem_classes() -> dict[str, set[str]]:
    """Every class that descends from Problem as the source says, whether its module is ever imported or not."""
    bases: dict[str, tuple[str, set[str]]] = {}
    for source in sources():
        module = ".".join(source.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.ClassDef):
                names = {base.id if isinstance(base, ast.Name) else getattr(base, "attr", "") for base in node.bases}
                bases.setdefault(node.name, (module, set()))[1].update(names)
    found: dict[str, set[str]] = {"Problem": {"common.problems"}}
    while fresh := [name for name, (_, above) in bases.items() if name not in found and above & found.keys()]:
        for name in fresh:
            found[name] = {bases[name][0]}
    return found


def test_every_error_in_the_source_is_registered_at_start_up():
    registered = {(problem.__module__, problem.__name__) for problem in REGISTRY.values()}
    classes = problem_classes()
    del classes["Problem"]

    assert len(classes) == len(REGISTRY)
    assert {(module, name) for name, modules in classes.items() for module in modules} == registered


def test_errors_stand_in_the_room_for_errors():
    assert {problem.__module__.rpartition(".")[2] for problem in REGISTRY.values()} <= {"errors", "problems"}


def test_nobody_raises_an_error_without_a_code():
    bare = [
        f"{source.relative_to(ROOT)}:{node.lineno}"
        for source in sources()
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and getattr(node.exc.func, "id", getattr(node.exc.func, "attr", "")) == "Problem"
    ]
    assert bare == []


@pytest.fixture
def client():
    return Client(raise_request_exception=False)


def test_every_code_has_its_place_on_the_page_of_errors(client):
    page = client.get("/docs/errors").content.decode()

    for code in REGISTRY:
        assert f'id="{code}"' in page


class TestWhereNothingIs:
    def test_programs_get_a_document(self, client):
        response = client.get("/api/nothing-here")

        assert response.status_code == 404
        assert response["Content-Type"] == "application/problem+json"
        assert response.json()["code"] == "not_found"
        assert response.json()["request_id"] == response["x-request-id"]

    def test_openai_clients_get_their_envelope(self, client):
        response = client.get("/v1/nothing-here")

        assert response.status_code == 404
        assert response.json()["error"]["type"] == "not_found_error"

    @pytest.mark.django_db
    def test_people_get_a_page_with_the_request_id(self, client):
        response = client.get("/nothing-here")

        assert response.status_code == 404
        assert response["Content-Type"].startswith("text/html")
        assert response["x-request-id"] in response.content.decode()

    def test_a_bad_id_is_like_a_missing_object(self, client):
        missing = client.get("/api/keys/key_01jdbm3x5kfa7s6bhq0v9w2c8")

        assert missing.json()["code"] == "not_found"


@pytest.mark.parametrize("address", ["/api/keys", "/accounts/login/"])
def test_a_foreign_host_name_is_misdirected(client, address):
    assert client.get(address, HTTP_HOST="evil.example").status_code == 421


def test_another_method_on_a_page_is_a_405_that_says_which(client):
    response = client.delete("/docs/errors")

    assert response.status_code == 405
    assert response["Allow"] == "GET, HEAD"
    assert response["x-request-id"] in response.content.decode()


def test_a_form_without_its_token_says_that_it_expired():
    response = Client(enforce_csrf_checks=True).post("/accounts/login/", {"login": "ada@example.org"})

    assert response.status_code == 403
    assert "expired" in response.content.decode()


def test_a_body_of_ten_megabytes_is_too_large_for_a_page(client):
    response = client.post("/accounts/login/", b"x=" + b"x" * 10_000_000, "application/x-www-form-urlencoded")

    assert response.status_code == 413


class Broke(Exception):
    """Nobody's error: a bug."""


def broken(request):
    raise Broke("the password is hunter2")


def refused(request):
    raise REGISTRY["rate_limited"]("Three times an hour.", retry_after_seconds=1200)


urlpatterns = [path("api/broken", broken), path("broken", broken), path("refused", refused), *site_patterns]
handler500 = "observability.views.server_error"
ACCESS = {f"{__name__}.*": Policy.public()}


@pytest.fixture
def broken_site(settings):
    settings.ROOT_URLCONF = __name__
    settings.ACCESS_TABLE = f"{__name__}.ACCESS"


@pytest.mark.usefixtures("broken_site")
class TestBugs:
    @pytest.mark.parametrize("address", ["/api/broken", "/broken"])
    def test_a_bug_is_a_500_that_gives_nothing_away(self, client, address):
        response = client.get(address)

        assert response.status_code == 500
        assert response["x-request-id"] in response.content.decode()
        assert "hunter2" not in response.content.decode()

    def test_it_is_answered_even_where_templates_are_what_broke(self, client, settings):
        settings.TEMPLATES = []

        response = client.get("/broken")

        assert response.status_code == 500
        assert response["x-request-id"] in response.content.decode()

    def test_a_page_may_raise_what_a_service_raises(self, client):
        response = client.get("/refused")

        assert response.status_code == 429
        assert response["Retry-After"] == "1200"
        assert "Three times an hour." in response.content.decode()
