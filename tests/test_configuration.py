"""The configuration: one table, all faults at once, safe without any."""

import base64
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command

from config import env
from config.cache import FallbackCache
from config.management.commands import config as command

KEY = base64.urlsafe_b64encode(bytes(range(32))).decode().rstrip("=")
PRODUCTION = {
    "SITE_URL": "https://ai.example.org",
    "DATABASE_URL": "postgresql://agorai_app:pw@db.example.org/agorai",
    "REDIS_URL": "redis://cache.example.org:6379/0",
    "SECRET_KEY": "correct-horse-battery-staple-" * 3 + "!",
    "KEY_PEPPERS": f"k1:{KEY}",
    "KEY_ENCRYPTION_KEYS": f"k1:{KEY}",
    "JWT_SIGNING_KEYS": f"k1:{KEY}",
}


def faults_of(environment: dict[str, str]) -> str:
    with pytest.raises(ImproperlyConfigured) as caught:
        env.load(environment)
    return str(caught.value)


def test_production_without_anything_names_everything_it_needs_at_once():
    message = faults_of({})
    for name in PRODUCTION:
        assert f"  - {name} is required." in message
    assert message.startswith(f"The configuration has {len(PRODUCTION)} fault(s):")


def test_production_with_what_it_needs_starts_safe():
    values = env.load(PRODUCTION)
    assert values.DEBUG is False
    assert values.OUTBOUND_ALLOWED_NETWORKS == []
    assert values.OUTBOUND_ALLOW_HTTP is False
    assert values.DEVELOPER_APPROVAL == values.PUBLISH_APPROVAL == "staff"
    assert values.DEV_MAIL_DIR == ""
    assert values.TRUSTED_PROXIES == 0


def test_development_needs_the_two_servers_only():
    assert "has 2 fault(s)" in faults_of({"DEBUG": "true"})
    values = env.load({"DEBUG": "on", "DATABASE_URL": "postgresql:///agorai", "REDIS_URL": "redis://localhost"})
    assert values.DEBUG is True
    assert values.EMAIL_URL == "consolemail://"
    assert all(len(key) == 32 for key in values.KEY_ENCRYPTION_KEYS.values())


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("DEBUG", "ture", "must be true or false"),
        ("SITE_URL", "ai.example.org", "must be an address"),
        ("SITE_URL", "https://ai.example.org/path", "without a path"),
        ("DATABASE_URL", "mysql://localhost/agorai", "must begin with postgresql://"),
        ("DATABASE_URL", "postgresql://localhost:543x/agorai?nonsense=1", "is not a PostgreSQL address"),
        ("DATABASE_URL", "postgresql://localhost", "names no database"),
        ("REDIS_URL", "http://localhost", "must begin with redis://"),
        ("REDIS_URL", "unix://", "names no server"),
        ("EMAIL_URL", "mailto:me@example.org", "must begin with smtp://"),
        ("KEY_PEPPERS", KEY, "must be id:key"),
        ("KEY_PEPPERS", f"k1:{KEY},k1:{KEY}", "distinct ids"),
        ("KEY_PEPPERS", "k1:???", "is not base64url"),
        ("KEY_PEPPERS", "k1:c2hvcnQ", "at least 32 bytes"),
        ("KEY_ENCRYPTION_KEYS", f"k1:{base64.urlsafe_b64encode(bytes(33)).decode()}", "is not of 32 bytes"),
        ("CURRENCY", "Euro", "three-letter code"),
        ("WELCOME_CREDIT", "-1", "at least 0"),
        ("WELCOME_CREDIT", "0.0000000001", "at most 9 decimals"),
        ("WELCOME_CREDIT", "NaN", "at least 0"),
        ("WELCOME_CREDIT", "five", "decimal amount"),
        ("PUBLISH_APPROVAL", "nobody", "must be one of staff, checked, automatic"),
        ("AUTH_RATE_PER_MINUTE", "0", "must be at least 1"),
        ("TRUSTED_PROXIES", "-1", "must not be negative"),
        ("TRUSTED_PROXIES", "one", "must be a whole number"),
        ("OUTBOUND_ALLOWED_NETWORKS", "10.0.0.0/8, localhost", "'localhost', which is no network"),
        ("OUTBOUND_ALLOWED_NETWORKS", "127.0.0.1/32:99999", "whose port is none"),
        ("LOG_FORMAT", "xml", "must be one of json, console"),
        ("LOG_LEVEL", "LOUD", "must be one of DEBUG"),
    ],
)
def test_a_wrong_value_is_named_with_what_it_must_be(name: str, value: str, complaint: str):
    message = faults_of({**PRODUCTION, name: value})
    assert f"  - {name} " in message
    assert complaint in message
    assert "has 1 fault(s)" in message
    if env.BY_NAME[name].secret:
        assert value not in message


def test_wrong_and_missing_values_are_reported_together():
    message = faults_of({"DEBUG": "maybe", "WELCOME_CREDIT": "x", "REDIS_URL": "redis://cache"})
    for name in ("DEBUG", "WELCOME_CREDIT", "SECRET_KEY", "DATABASE_URL"):
        assert f"  - {name} " in message


def test_a_secret_may_stand_in_a_file(tmp_path: Path):
    path = tmp_path / "secret key"
    path.write_text("from-a-file-with-a-newline-at-its-end\n")
    given = {name: value for name, value in PRODUCTION.items() if name != "SECRET_KEY"}
    assert env.load({**given, "SECRET_KEY_FILE": str(path)}).SECRET_KEY == "from-a-file-with-a-newline-at-its-end"
    assert "keep one" in faults_of({**PRODUCTION, "SECRET_KEY_FILE": str(path)})

    message = faults_of({**given, "SECRET_KEY_FILE": str(tmp_path / "absent")})
    assert "cannot be read: No such file or directory" in message
    assert "has 1 fault(s)" in message


def test_what_is_no_secret_is_not_read_from_files(tmp_path: Path):
    (tmp_path / "name").write_text("Elsewhere")
    assert env.load({**PRODUCTION, "SITE_NAME_FILE": str(tmp_path / "name")}).SITE_NAME == "Agorai"


def test_the_first_key_is_the_current_one():
    other = base64.urlsafe_b64encode(bytes(32)).decode()
    keys = env.load({**PRODUCTION, "KEY_PEPPERS": f"new:{other}, old:{KEY}"}).KEY_PEPPERS
    assert list(keys.items()) == [("new", bytes(32)), ("old", bytes(range(32)))]


def test_networks_may_name_a_port():
    assert env.split_network("10.0.0.0/8") == ("10.0.0.0/8", None)
    assert env.split_network("127.0.0.1/32:9000") == ("127.0.0.1/32", 9000)
    assert env.split_network("[fd00::/8]:443") == ("fd00::/8", 443)
    assert env.split_network("fd00::/8") == ("fd00::/8", None)


def test_databases_are_found_through_sockets_with_spaces_and_capitals():
    found = env.database("postgresql://app@/agorai?host=/srv/My%20Data/pg")
    assert (found["HOST"], found["NAME"], found["USER"]) == ("/srv/My Data/pg", "agorai", "app")
    found = env.database("postgresql://app:p%40ss@db.example.org:6000/agorai?sslmode=verify-full")
    assert (found["HOST"], found["PORT"], found["PASSWORD"]) == ("db.example.org", "6000", "p@ss")
    assert found["OPTIONS"] == {"sslmode": "verify-full"}


def test_the_broker_is_the_same_redis():
    assert env.broker("redis://cache:6379/3") == "redis://cache:6379/3"
    assert env.broker("unix:///srv/run/valkey.sock?db=2") == "redis+socket:///srv/run/valkey.sock?virtual_host=2"


def test_unknown_names_are_pointed_at_the_nearest_known(tmp_path: Path):
    (tmp_path / ".env").write_text("SITE_NAME=x\nexport SOMETHING_ELSE=1\nWELCOME_CREDITS=5\n# COMMENT=1\n")
    found = env.unknown({"SITE_ULR": "x", "PATH": "/bin", "SECRET_KEY_FILE": "/x"}, tmp_path / ".env")
    assert found == {"SITE_ULR": "SITE_URL", "SOMETHING_ELSE": "", "WELCOME_CREDITS": "WELCOME_CREDIT"}


def test_the_example_and_the_page_are_made_from_the_table():
    again = "Run: manage.py config --env-example --docs"
    assert command.ENV_EXAMPLE.read_text(encoding="utf-8") == command.env_example(), again
    assert command.PAGE.read_text(encoding="utf-8") == command.page(), again


def test_every_variable_is_a_setting_or_part_of_one():
    parts = {"EMAIL_URL", "MEDIA_DIR", "STATIC_DIR", "DATABASE_POOL_SIZE"}
    parts |= {"MEDIA_S3_REGION", "MEDIA_S3_ACCESS_KEY", "MEDIA_S3_SECRET_KEY"}  # of STORAGES
    parts |= {"OIDC_NAME", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET"}  # of SOCIALACCOUNT_PROVIDERS
    missing = [name for name in env.BY_NAME if name not in parts and not hasattr(settings, name)]
    assert missing == []


def test_the_command_shows_values_and_masks_secrets(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SITE_NAME", "Elsewhere")
    monkeypatch.setenv("SECRET_KEY", "do-not-print-me")
    monkeypatch.setenv("DATABASE_OWNER_URL", "postgresql://owner:do-not-print-me@db/agorai")
    monkeypatch.setenv("EMAIL_URL", "smtp://me@example.org:do-not-print-me@mail:25")
    monkeypatch.setenv("SITE_ULR", "typing mistake")
    out = StringIO()
    call_command("config", stdout=out, no_color=True)
    text = out.getvalue()
    assert "SITE_NAME = Elsewhere  (set)" in text
    assert "SECRET_KEY = (hidden)" in text
    assert "DATABASE_OWNER_URL = postgresql://owner:…@db/agorai" in text
    assert "do-not-print-me" not in text
    assert "SITE_ULR is not a variable of this product; did you mean SITE_URL?" in text


def run_manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=settings.BASE_DIR,
        env={"PATH": os.environ["PATH"], "AGORAI_ENV_FILE": os.devnull, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_shipped_settings_pass_the_deployment_checks():
    result = run_manage("check", "--deploy", "--fail-level", "WARNING", TRUSTED_PROXIES="1", **PRODUCTION)
    assert result.returncode == 0, result.stderr
    assert "no issues" in result.stdout


def test_a_command_without_configuration_says_what_is_missing():
    result = run_manage("check")
    assert result.returncode != 0
    assert "KEY_PEPPERS is required" in result.stderr


@pytest.fixture
def lonely_cache(tmp_path: Path) -> FallbackCache:
    return FallbackCache(f"unix://{tmp_path}/no-such-socket", {"KEY_PREFIX": "test"})


def test_without_redis_attempts_are_still_counted(lonely_cache: FallbackCache):
    assert lonely_cache.add("attempts", 1, 60) is True
    assert lonely_cache.add("attempts", 1, 60) is False
    assert lonely_cache.incr("attempts") == 2
    assert lonely_cache.get("attempts") == 2
    lonely_cache.set("name", "value", 60)
    assert lonely_cache.get_many(["attempts", "name"]) == {"attempts": 2, "name": "value"}
    assert lonely_cache.delete("attempts") is True
    assert lonely_cache.get("attempts", "none") == "none"


def test_pages_may_load_nothing_from_elsewhere():
    directives = settings.CONTENT_SECURITY_POLICY["DIRECTIVES"]
    assert directives["default-src"] == ["'none'"]
    assert directives["script-src"] == directives["style-src"] == ["'self'"]
    allowed = {source for sources in directives.values() for source in sources}
    assert allowed == {"'none'", "'self'", "data:"}
