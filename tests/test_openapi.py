"""The committed description of the API is the one that the code generates, and it leaves nothing out."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.test import Client
from django.urls import get_resolver
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiYamlRenderer
from drf_spectacular.validation import validate_schema

from common.policy import find_policy
from common.problems import REGISTRY
from common.rest import Serializer
from common.schema import routes, security
from observability.views import documents

COMMITTED = Path(__file__).resolve().parent.parent / "docs" / "api" / "openapi.yaml"


@pytest.fixture(scope="module")
def generated():
    with GENERATOR_STATS.silence():
        return SchemaGenerator().get_schema(request=None, public=True)


def operations(document):
    return [(p, m, operation) for p, methods in document["paths"].items() for m, operation in methods.items()]


def test_nothing_had_to_be_guessed():
    with GENERATOR_STATS.silence():
        SchemaGenerator().get_schema(request=None, public=True)
        assert [*GENERATOR_STATS._warn_cache, *GENERATOR_STATS._error_cache] == []


def test_the_committed_document_is_the_generated_one(generated):
    text = OpenApiYamlRenderer().render(generated, renderer_context={}).decode()

    assert COMMITTED.read_text() == text, "Run `make schema` and commit docs/api/openapi.yaml."


def test_it_is_valid_openapi_3_1(generated):
    assert generated["openapi"].startswith("3.1")
    validate_schema(generated)


def test_it_is_served_to_anyone(generated):
    response = Client().get("/openapi.json")

    assert response.status_code == 200
    assert response.json() == json.loads(json.dumps(generated))


def test_all_who_ask_first_at_the_same_time_are_answered():
    documents._make_schema.cache_clear()
    with GENERATOR_STATS.silence(), ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _number: documents._schema(), range(4)))

    assert len(set(answers)) == 1


def test_every_operation_has_a_name_of_its_own_and_its_errors(generated):
    names = [operation["operationId"] for _, _, operation in operations(generated)]

    assert len(names) == len(set(names))
    assert all({"429", "500"} <= operation["responses"].keys() for _, _, operation in operations(generated))


def test_access_is_the_policys(generated):
    names = {re.sub(r"<\w+:(\w+)>", r"{\1}", route): name for route, name in routes(get_resolver()).items()}

    for path, method, operation in operations(generated):
        assert operation.get("security", []) == security(find_policy(names[path]), method.upper())


def test_calls_for_an_organization_take_the_header_that_names_it(generated):
    reference = {"$ref": "#/components/parameters/Organization"}
    assert generated["components"]["parameters"]["Organization"]["name"] == "Agorai-Organization"
    taking = {path for path, _, operation in operations(generated) if reference in operation.get("parameters", ())}
    assert {"/api/keys", "/api/limits", "/api/audit-events", "/api/auth/me"} <= taking
    assert not taking & {"/api/auth/login", "/api/keys/leaks", "/v1/models"}


def test_shapes_are_described_in_their_own_words(generated):
    ours = " ".join((Serializer.__doc__ or "").split())
    described = [
        " ".join(shape.get("description", "").split()) for shape in generated["components"]["schemas"].values()
    ]

    assert any(described)
    assert ours not in described


def test_every_reference_leads_somewhere(generated):
    text = json.dumps(generated)
    for reference in set(re.findall(r'"#/components/(\w+)/(\w+)"', text)):
        kind, name = reference
        assert name in generated["components"][kind]


def test_every_error_is_an_example_somewhere(generated):
    examples = {
        code
        for response in generated["components"]["responses"].values()
        for content in response["content"].values()
        for code in content.get("examples", {})
    }
    assert examples == set(REGISTRY)


def test_swagger_ui_is_served_without_anything_inline():
    page = Client().get("/api/docs").content.decode()

    assert "swagger-ui-bundle" in page
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)
