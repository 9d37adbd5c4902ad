"""The rules that carry the house, and proof that breaking one is noticed."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import URLPattern, URLResolver, get_resolver, include, path
from django.utils.module_loading import import_string

from accounts.models import User
from common import ids, policy
from config.celery import app
from config.schedule import JOBS, SCHEDULE

ROOT: Path = settings.BASE_DIR
OURS = [config for config in apps.get_app_configs() if (ROOT / config.name / "__init__.py").is_file()]
STRICT_CSP = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
}
INLINE = re.compile(rb"<script(?![^>]*\ssrc=)(?![^>]*type=.application/json)|<style|\sstyle\s*=|\son[a-z]+\s*=", re.I)


# --- Who may import whom ---


def lint_imports(directory: Path) -> subprocess.CompletedProcess[str]:
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", command, "--no-cache"],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(directory), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def copy_of_the_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("house")
    shutil.copy(ROOT / "pyproject.toml", directory)
    for package in ("common", *(config.name for config in OURS)):
        shutil.copytree(ROOT / package, directory / package, ignore=shutil.ignore_patterns("__pycache__", "tests"))
    return directory


def test_imports_go_down_only():
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout


def test_no_import_is_excused():
    assert "ignore_imports" not in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("accounts/errors.py", "import billing.models", "Apps depend downwards only"),
        ("common/ids.py", "import accounts.models", "Apps depend downwards only"),
        ("apikeys/errors.py", "import marketplace.errors", "Apps depend downwards only"),
        ("accounts/models.py", "import accounts.services", "Every app has the same rooms, in the same order"),
        ("accounts/utils.py", "", "Every app has the same rooms, in the same order"),
        (
            "gateway/errors.py",
            "import accounts.serializers",
            "Another app is reached through its services, models and errors",
        ),
    ],
)
def test_a_wrong_import_is_noticed(copy_of_the_code: Path, file: str, line: str, contract: str):
    target = copy_of_the_code / file
    before = target.read_text() if target.exists() else None
    target.write_text(f"{before or ''}\n{line}\n")
    try:
        result = lint_imports(copy_of_the_code)
    finally:
        if before is None:
            target.unlink()
        else:
            target.write_text(before)
    assert result.returncode != 0
    assert f"{contract} BROKEN" in result.stdout


# --- The database ---


@pytest.mark.django_db
def test_migrations_are_in_step_with_the_models(capsys: pytest.CaptureFixture[str]):
    try:
        call_command("makemigrations", check=True, dry_run=True)
    except SystemExit:
        pytest.fail(f"Run: make migrations\n{capsys.readouterr().out}", pytrace=False)


def test_every_model_has_a_uuid_that_sorts_by_time():
    for config in OURS:
        for model in config.get_models():
            if model._meta.auto_created:
                continue
            key = model._meta.pk
            assert key is not None
            assert key.name == "id", model
            assert key.get_internal_type() == "UUIDField", model


def test_staff_find_every_model_in_the_admin():
    shown = set(admin.site._registry)
    shown |= {inline.model for page in admin.site._registry.values() for inline in page.inlines}
    missing = [model.__name__ for config in OURS for model in config.get_models() if model not in shown]
    assert missing == []


# --- Background work ---


def registered_tasks() -> set[str]:
    app.autodiscover_tasks(force=True)
    # The search library has tasks for those who let it index while they save; nothing sends them here.
    return {name for name in app.tasks if not name.startswith(("celery.", "django_elasticsearch_dsl."))}


def test_every_task_is_scheduled_and_every_job_is_a_task():
    assert {job.task for job in JOBS} == registered_tasks()
    assert set(SCHEDULE) == {job.task for job in JOBS}
    assert app.conf.beat_schedule == SCHEDULE


def test_every_task_is_a_door_to_the_service_of_its_name():
    for name in registered_tasks():
        app_label, _, service = name.partition(".")
        assert callable(import_string(f"{app_label}.services.{service}"))


def woken() -> Iterator[tuple[Path, str]]:
    """Every `wake(<sweep>)` in the apps."""
    for config in OURS:
        for file in (ROOT / config.name).rglob("*.py"):
            if "tests" in file.parts:
                continue
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "wake":
                    yield file, f"{config.name}.{ast.unparse(node.args[0]).rpartition('.')[2]}"


def test_what_is_woken_is_a_task():
    found = list(woken())
    assert found
    assert [(file, name) for file, name in found if name not in registered_tasks()] == []


# --- Addresses ---


def test_every_address_has_an_access_policy_and_every_policy_an_address():
    assert policy.missing_policies(get_resolver()) == []
    assert policy.stale_policies(get_resolver()) == []


def forgotten(request: HttpRequest) -> HttpResponse:
    return HttpResponse("This must not be seen.")


urlpatterns = [path("forgotten", forgotten, name="forgotten"), path("", include("config.urls"))]


def test_an_address_without_a_policy_is_noticed_and_refused(client: Client):
    with override_settings(ROOT_URLCONF=__name__):
        assert "forgotten" in policy.missing_policies(get_resolver())
        response = client.get("/forgotten")
    assert response.status_code == 403
    assert b"This must not be seen" not in response.content


def addresses(resolver: URLResolver, prefix: str = "") -> Iterator[str]:
    """One address of every URL pattern, with an id or a word in the place of each parameter."""
    for entry in resolver.url_patterns:
        pattern = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from addresses(entry, pattern)
        elif isinstance(entry, URLPattern) and "(?P" not in pattern and "^" not in pattern:
            yield "/" + re.sub(r"<(?:(\w+):)?\w+>", _example, pattern)


def _example(parameter: re.Match[str]) -> str:
    kind = parameter[1] or "str"
    if re.fullmatch(r"[a-z]{3}", kind) and kind not in ("str", "int"):
        return ids.encode(kind, UUID(int=0))
    return {"int": "1", "uuid": str(UUID(int=0))}.get(kind, "example")


@pytest.fixture
def visitors(db: None) -> SimpleNamespace:
    staff = Client()
    staff.force_login(User.objects.create_superuser("staff@example.org", "a long enough password"))
    return SimpleNamespace(anonymous=Client(), staff=staff)


def csp_of(response: Any) -> dict[str, str]:
    header = response.headers.get("Content-Security-Policy", "")
    return dict(part.strip().partition(" ")[::2] for part in header.split(";"))


@pytest.mark.parametrize("visitor", ["anonymous", "staff"])
def test_every_page_allows_nothing_inline_and_nothing_from_elsewhere(visitors: SimpleNamespace, visitor: str):
    client: Client = getattr(visitors, visitor)
    shown = 0
    for address in sorted({*addresses(get_resolver()), "/nothing/here", "/models/a%00b/c", "/api/nothing"}):
        if address == "/accounts/logout/":
            continue
        response = client.get(address)
        assert response.status_code < 500, address
        if address.partition("?")[0] not in ("/livez", "/readyz"):  # answered before anything else is asked
            assert csp_of(response) == STRICT_CSP, address
        assert "Content-Security-Policy-Report-Only" not in response.headers
        if response.headers.get("Content-Type", "").startswith("text/html"):
            shown += 1
            assert not INLINE.search(response.content), (address, INLINE.search(response.content))
    assert shown > 5


def test_an_inline_script_would_be_noticed():
    for page in (b"<script>alert(1)</script>", b'<p style="color:red">', b"<a onclick='x()'>", b"<style>p{}</style>"):
        assert INLINE.search(page)
    for page in (b'<script src="/static/js/app.js" defer></script>', b'<p class="style">', b"<button data-on='x'>"):
        assert not INLINE.search(page)


# --- Papers ---


def test_every_app_says_what_it_owns():
    missing = [config.name for config in OURS if not (ROOT / config.name / "README.md").is_file()]
    assert missing == []
