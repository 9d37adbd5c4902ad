"""Every environment variable of the product, in one table.

Settings, `.env.example`, `docs/operations/configuration.md` and `manage.py config` are made from it. A secret may
stand in a file instead, named by `NAME_FILE`. All faults are reported at once; no message repeats a secret's value.
"""

import base64
import binascii
import difflib
import hashlib
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import environ
import psycopg.conninfo
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key
from django.core.exceptions import ImproperlyConfigured

OPTIONAL_FILE_SUFFIX = "_FILE"
_KEY_BYTES = 32
_KEY_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,15}")
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class Fault(ValueError):
    """The value does not fit; the message completes "NAME …"."""


def _text(value: str) -> str:
    return value


def _boolean(value: str) -> bool:
    if value.lower() not in (*environ.Env.BOOLEAN_TRUE_STRINGS, "false", "off", "n", "no", "0"):
        raise Fault("must be true or false")
    return bool(environ.Env.parse_value(value, bool))


def _integer(value: str) -> int:
    try:
        number = int(environ.Env.parse_value(value, int))
    except ValueError:
        raise Fault("must be a whole number") from None
    if number < 0:
        raise Fault("must not be negative")
    return number


def _positive(value: str) -> int:
    number = _integer(value)
    if number == 0:
        raise Fault("must be at least 1")
    return number


def _at_least_8(value: str) -> int:
    number = _integer(value)
    if number < 8:
        raise Fault("must be at least 8")
    return number


def _money(value: str) -> Decimal:
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise Fault("must be a decimal amount, such as 5.00") from None
    if not amount.is_finite() or amount < 0 or amount != round(amount, 9):
        raise Fault("must be an amount of at least 0 with at most 9 decimals")
    return amount


def _list(value: str) -> list[str]:
    return [item.strip() for item in environ.Env.parse_value(value, list) if item.strip()]


def _choice(*options: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in options:
            raise Fault(f"must be one of {', '.join(options)}")
        return value

    return parse


def _currency(value: str) -> str:
    if not re.fullmatch(r"[A-Z]{3}", value):
        raise Fault("must be a three-letter code such as USD")
    return value


def _percentage(value: str) -> Decimal:
    try:
        share = Decimal(value)
    except InvalidOperation:
        raise Fault("must be a number such as 15 or 2.5") from None
    if not (share.is_finite() and 0 <= share <= 100 and share * 100 % 1 == 0):
        raise Fault("must be from 0 to 100, with two decimals at most")
    return share


def _issuer(value: str) -> str:
    """An OpenID Connect issuer: an origin and perhaps a path. Plain http is for this machine alone."""
    if not value:
        return ""
    parts = urlsplit(value)
    is_local = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1")
    if not parts.hostname or not (parts.scheme == "https" or is_local):
        raise Fault("is not an https address")
    if parts.query or parts.fragment or parts.username:
        raise Fault("must be without user, query and fragment")
    return value.rstrip("/")


def _origin(value: str) -> str:
    parts = urlsplit(value.rstrip("/"))
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query or parts.username:
        raise Fault("must be an address such as https://ai.example.org, without a path")
    return value.rstrip("/")


def _recipient(value: str) -> str:
    if value and not re.fullmatch(r"[^\s@<>]+@[^\s@<>]+", value):
        raise Fault("must be an address such as help@example.org")
    return value


def _postgresql(value: str) -> str:
    if not value.startswith(("postgresql://", "postgres://")):
        raise Fault("must begin with postgresql://")
    try:
        parameters = psycopg.conninfo.conninfo_to_dict(value)
    except psycopg.ProgrammingError:
        raise Fault("is not a PostgreSQL address that libpq reads") from None
    if not parameters.get("dbname"):
        raise Fault("names no database")
    return value


def _redis(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise Fault("must begin with redis://, rediss:// or unix://")
    if not (parts.path if parts.scheme == "unix" else parts.hostname):
        raise Fault("names no server")
    return value


def _server(value: str) -> str:
    parts = urlsplit(value)
    if value and parts.scheme not in ("http", "https"):
        raise Fault("must begin with http:// or https://")
    if value and not parts.hostname:
        raise Fault("names no server")
    return value


def _mail(value: str) -> str:
    scheme = urlsplit(value).scheme
    if scheme not in ("smtp", "smtps", "smtp+tls", "smtp+ssl", "consolemail", "filemail", "memorymail", "dummymail"):
        raise Fault("must begin with smtp://, smtp+tls://, smtp+ssl://, consolemail:// or filemail://")
    return value


def _keys(exact: bool) -> Callable[[str], dict[str, bytes]]:
    """`id:base64url,id:base64url` -> {id: key}, the current one first. Keys have 32 bytes, exactly or at least."""

    def parse(value: str) -> dict[str, bytes]:
        keys: dict[str, bytes] = {}
        for item in _list(value):
            key_id, colon, encoded = item.partition(":")
            if not colon or not _KEY_ID.fullmatch(key_id) or key_id in keys:
                raise Fault("must be id:key,id:key with distinct ids of a-z, 0-9, - and _")
            try:
                key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
            except (binascii.Error, ValueError):
                raise Fault(f"has a key ({key_id}) that is not base64url") from None
            if len(key) < _KEY_BYTES or (exact and len(key) > _KEY_BYTES):
                raise Fault(f"has a key ({key_id}) that is not of {'' if exact else 'at least '}{_KEY_BYTES} bytes")
            keys[key_id] = key
        if not keys:
            raise Fault("holds no key")
        return keys

    return parse


def _public_keys(value: str) -> dict[str, ec.EllipticCurvePublicKey]:
    """`id:key,id:key` -> {id: key} of ECDSA keys on P-256, each as PEM or as the base64 inside of it."""
    keys: dict[str, ec.EllipticCurvePublicKey] = {}
    for item in value.split(","):
        key_id, colon, text = item.strip().partition(":")
        if not key_id and not text:
            continue
        if not colon or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", key_id) or key_id in keys:
            raise Fault("must be id:key,id:key with distinct ids of letters, digits, - and _")
        encoded = "".join(re.sub(r"-----[A-Z ]+-----", "", text.replace("\\n", "")).split())
        try:
            key = load_der_public_key(base64.b64decode(encoded, validate=True))
        except (ValueError, UnsupportedAlgorithm):
            raise Fault(f"has a key ({key_id}) that is no public key in PEM or base64") from None
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise Fault(f"has a key ({key_id}) that is not of the curve P-256")
        keys[key_id] = key
    return keys


def _networks(value: str) -> list[str]:
    """CIDR, or CIDR:port (an IPv6 network with a port stands in brackets); kept as text for the outbound door."""
    networks = _list(value)
    for network in networks:
        bare, port = split_network(network)
        try:
            ipaddress.ip_network(bare)
        except ValueError:
            raise Fault(f"has {network!r}, which is no network such as 10.0.0.0/8 or 127.0.0.1/32:9000") from None
        if port is not None and not 1 <= port <= 65535:
            raise Fault(f"has {network!r}, whose port is none")
    return networks


def split_network(text: str) -> tuple[str, int | None]:
    """`10.0.0.0/8:443` -> ("10.0.0.0/8", 443); `[fd00::/8]:443` -> ("fd00::/8", 443); without a port, None."""
    found = re.fullmatch(r"\[(?P<six>[^\]]+)\](?::(?P<port6>\d+))?|(?P<four>[0-9./]+):(?P<port4>\d+)", text)
    if not found:
        return text, None
    port = found["port6"] or found["port4"]
    return found["six"] or found["four"], int(port) if port else None


TYPES: Mapping[str, Callable[[str], Any]] = {
    "text": _text,
    "true or false": _boolean,
    "whole number": _integer,
    "whole number from 1": _positive,
    "whole number from 8": _at_least_8,
    "amount": _money,
    "percentage": _percentage,
    "list": _list,
    "currency": _currency,
    "address": _origin,
    "issuer": _issuer,
    "PostgreSQL address": _postgresql,
    "Redis address": _redis,
    "Elasticsearch address": _server,
    "S3 address": _server,
    "mail address": _mail,
    "recipient": _recipient,
    "keys": _keys(exact=False),
    "keys of 32 bytes": _keys(exact=True),
    "public keys": _public_keys,
    "networks": _networks,
    "staff or automatic": _choice("staff", "automatic"),
    "staff, checked or automatic": _choice("staff", "checked", "automatic"),
    "json or console": _choice("json", "console"),
    "log level": _choice(*_LEVELS),
}


@dataclass(frozen=True)
class Variable:
    """One environment variable. `default` is text, read like the variable itself; None means there is none.

    `in_debug` is the default while DEBUG is on. Without either, the setting is None (or, `required`, a fault).
    """

    section: str
    name: str
    type: str
    default: str | None
    help: str
    required: bool = False
    required_in_production: bool = False
    secret: bool = False
    in_debug: str | None = None


def _development_key(name: str) -> str:
    """A fixed, public value, so that development needs no set-up; never used while DEBUG is off."""
    digest = hashlib.sha256(f"agorai development {name}".encode()).digest()
    return f"dev:{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


_SITE, _STORES, _SECRETS, _MARKET = "Site", "Databases and mail", "Secrets", "Marketplace"
_LIMITS, _NETWORK, _LOGS, _STRIPE = "Limits", "Network", "Logs", "Stripe"
_OIDC = "Log-in through another site"

VARIABLES: tuple[Variable, ...] = (
    Variable(
        _SITE, "DEBUG", "true or false", "false", "Development mode: error pages with code. Never on a public host."
    ),
    Variable(
        _SITE,
        "SITE_URL",
        "address",
        "http://localhost:8000",
        "The address that people and programs use, without a path. Cookies are secure when it is https.",
        required_in_production=True,
    ),
    Variable(_SITE, "SITE_NAME", "text", "Agorai", "The name on pages and in mail."),
    Variable(_SITE, "SITE_HEADLINE", "text", "", "The first words of the start page, in place of ours."),
    Variable(_SITE, "SITE_INTRO", "text", "", "The sentence below them."),
    Variable(
        _SITE,
        "SUPPORT_EMAIL",
        "recipient",
        "",
        "Where people ask for help: a link at the foot of every page and mail. None by default.",
    ),
    Variable(
        _SITE,
        "ALLOWED_HOSTS",
        "list",
        None,
        "Host names that are answered. Default: the host of SITE_URL, and localhost in development.",
    ),
    Variable(_SITE, "LANGUAGE_CODE", "text", "en", "Language of pages when the browser asks for none that we have."),
    Variable(_SITE, "TIME_ZONE", "text", "UTC", "Time zone of pages for people who have set none."),
    Variable(
        _SITE,
        "MEDIA_DIR",
        "text",
        "var/media",
        "Folder of uploaded files; a relative path starts at the project's folder. Unused with MEDIA_S3_BUCKET.",
    ),
    Variable(
        _SITE,
        "MEDIA_S3_BUCKET",
        "text",
        "",
        "A private bucket of a server that speaks S3, for uploaded files, which then go there directly.",
    ),
    Variable(
        _SITE,
        "MEDIA_S3_ENDPOINT",
        "S3 address",
        "",
        "Address of that server, as people reach it too: https://s3.example.org. Default: Amazon's of the region.",
    ),
    Variable(_SITE, "MEDIA_S3_REGION", "text", "us-east-1", "Region of the bucket."),
    Variable(_SITE, "MEDIA_S3_ACCESS_KEY", "text", "", "A key that may read, write and delete in that bucket alone."),
    Variable(_SITE, "MEDIA_S3_SECRET_KEY", "text", "", "The secret that belongs to it.", secret=True),
    Variable(
        _SITE,
        "MEDIA_QUOTA_MIB",
        "whole number from 1",
        "100",
        "How much the uploaded files of one organization may take together, in MiB.",
    ),
    Variable(
        _SITE,
        "STATIC_DIR",
        "text",
        "staticfiles",
        "Folder that `manage.py collectstatic` fills; a relative path starts at the project's folder.",
    ),
    Variable(
        _STORES,
        "DATABASE_URL",
        "PostgreSQL address",
        None,
        "PostgreSQL 15 to 18, as the role that runs the application: postgresql://user:password@host:5432/agorai, "
        "or postgresql://user@/agorai?host=/path/of/socket/folder.",
        required=True,
        required_in_production=True,
        secret=True,
    ),
    Variable(
        _STORES,
        "DATABASE_OWNER_URL",
        "PostgreSQL address",
        None,
        "The same database as the role that owns it; `manage.py migrate` uses it. Default: DATABASE_URL.",
        secret=True,
    ),
    Variable(
        _STORES,
        "DATABASE_POOL_SIZE",
        "whole number",
        "10",
        "Connections that each process keeps at most; 0 opens one per request instead.",
    ),
    Variable(
        _STORES,
        "REDIS_URL",
        "Redis address",
        None,
        "Valkey or Redis 7 and newer: redis://host:6379/0, rediss://… or unix:///path/of/socket?db=0.",
        required=True,
        required_in_production=True,
        secret=True,
    ),
    Variable(
        _STORES,
        "ELASTICSEARCH_URL",
        "Elasticsearch address",
        "",
        "Elasticsearch 8 or 9 for searching models: https://user:password@host:9200. Empty: PostgreSQL searches. After "
        "it is set, run `manage.py search_index --rebuild`.",
        secret=True,
    ),
    Variable(
        _STORES,
        "ELASTICSEARCH_INDEX",
        "text",
        "agorai-models",
        "Name of the alias that is searched; its indexes have a time behind it.",
    ),
    Variable(
        _STORES,
        "EMAIL_URL",
        "mail address",
        "smtp://localhost:25",
        "Where mail goes: smtp://user:password@host:587, smtp+tls://…, smtp+ssl://…, consolemail:// or "
        "filemail:///folder (one message per file).",
        secret=True,
        in_debug="consolemail://",
    ),
    Variable(_STORES, "DEFAULT_FROM_EMAIL", "text", None, "Sender of mail. Default: no-reply@ the host of SITE_URL."),
    Variable(
        _STORES,
        "DEV_MAIL_DIR",
        "text",
        "",
        "A mail folder that /dev/mail shows to everyone. Set by `make up` only; leave it empty.",
    ),
    Variable(
        _SECRETS,
        "SECRET_KEY",
        "text",
        None,
        "Signs sessions and links. Long and random.",
        required_in_production=True,
        secret=True,
        in_debug="development-only-development-only-development-only-0000",
    ),
    Variable(
        _SECRETS,
        "SECRET_KEY_FALLBACKS",
        "list",
        "",
        "Earlier values of SECRET_KEY, whose sessions and links stay valid.",
        secret=True,
    ),
    Variable(
        _SECRETS,
        "KEY_PEPPERS",
        "keys",
        None,
        "Keys under which API keys, codes and refresh tokens are hashed: id:base64url,… of 32 bytes or more. New ones "
        "are hashed under the first.",
        required_in_production=True,
        secret=True,
        in_debug=_development_key("KEY_PEPPERS"),
    ),
    Variable(
        _SECRETS,
        "KEY_ENCRYPTION_KEYS",
        "keys of 32 bytes",
        None,
        "Keys that wrap stored upstream secrets: id:base64url,… of 32 bytes. New ones are sealed under the first.",
        required_in_production=True,
        secret=True,
        in_debug=_development_key("KEY_ENCRYPTION_KEYS"),
    ),
    Variable(
        _SECRETS,
        "JWT_SIGNING_KEYS",
        "keys",
        None,
        "Keys of access tokens: id:base64url,… of 32 bytes or more. The first signs, all verify.",
        required_in_production=True,
        secret=True,
        in_debug=_development_key("JWT_SIGNING_KEYS"),
    ),
    Variable(
        _SECRETS,
        "LEAK_REPORT_KEYS",
        "public keys",
        "",
        "Public keys (ECDSA, P-256) of those who may report leaked API keys at /api/keys/leaks: id:key,id:key, each in "
        "PEM or base64. None by default, and then every report is refused.",
    ),
    Variable(_MARKET, "CURRENCY", "currency", "USD", "The one currency of this instance."),
    Variable(_MARKET, "WELCOME_CREDIT", "amount", "0", "Credit that a new account receives, in CURRENCY."),
    Variable(
        _MARKET,
        "PLATFORM_FEE",
        "percentage",
        "0",
        "What the platform keeps of each charge, in percent; the rest is the publisher's. For calls not posted yet.",
    ),
    Variable(
        _MARKET,
        "DEVELOPER_APPROVAL",
        "staff or automatic",
        "staff",
        "Who makes a user a developer, who may publish: staff, or everyone who asks.",
    ),
    Variable(
        _MARKET,
        "PUBLISH_APPROVAL",
        "staff, checked or automatic",
        "staff",
        "Who publishes a model: staff, its publisher after a passed contract check, or its publisher at once.",
    ),
    Variable(
        _MARKET,
        "REVIEW_MIN_CALLS",
        "whole number from 1",
        "1",
        "Settled live calls of a model that an organization needs before its people may review it.",
    ),
    Variable(
        _MARKET,
        "STAFF_REQUIRES_MFA",
        "true or false",
        "true",
        "Whether staff need a second factor for the administration, and a fresh one for every act. Off in the embedded "
        "run.",
        in_debug="false",
    ),
    Variable(
        _LIMITS,
        "AUTH_RATE_PER_MINUTE",
        "whole number from 1",
        "10",
        "Sign-ups, and log-ins, that one address may try in a minute.",
    ),
    Variable(
        _LIMITS,
        "API_RATE_PER_MINUTE",
        "whole number from 1",
        "600",
        "Requests in a minute that one key, person or unknown address may send; of a key, where it has no number of "
        "its own. Searches may be half as many, files a twentieth.",
    ),
    Variable(
        _LIMITS,
        "ORGANIZATION_RATE_PER_MINUTE",
        "whole number from 1",
        None,
        "Requests in a minute that all keys and people of one organization together may send, where staff set no other "
        "number. Default: ten times API_RATE_PER_MINUTE.",
    ),
    Variable(
        _LIMITS,
        "GATEWAY_UPSTREAM_TIMEOUT_SECONDS",
        "whole number from 1",
        "120",
        "How long the gateway waits for a model that says nothing.",
    ),
    Variable(
        _LIMITS,
        "GATEWAY_CIRCUIT_FAILURES",
        "whole number",
        "10",
        "After how many failures in a row a gateway process leaves an endpoint alone for some seconds; 0: never.",
    ),
    Variable(
        _LIMITS,
        "PREDICTIONS_PER_PROCESS",
        "whole number from 1",
        "16",
        "How many predictions one gateway process makes at a time; the others wait in line.",
    ),
    Variable(
        _LIMITS,
        "PREDICTIONS_RUNNING_PER_ORGANIZATION",
        "whole number from 1",
        "8",
        "How many predictions of one organization run at a time, in all processes together.",
    ),
    Variable(
        _LIMITS,
        "PREDICTIONS_PER_ORGANIZATION",
        "whole number from 1",
        "100",
        "How many predictions of one organization may wait and run together; one more is refused.",
    ),
    Variable(
        _LIMITS,
        "PREDICTION_MAX_SECONDS",
        "whole number from 1",
        "3600",
        "How long a prediction may take at most, waiting included; whoever makes one may give it less.",
    ),
    Variable(
        _LIMITS,
        "PREDICTION_HOURS",
        "whole number from 1",
        "24",
        "How many hours what was sent to a prediction and what came back are kept after its end.",
    ),
    Variable(
        _LIMITS,
        "GATEWAY_CONCURRENT_CALLS",
        "whole number from 1",
        "4000",
        "Calls that one gateway process makes at a time; one more is answered 503 with Retry-After.",
    ),
    Variable(
        _LIMITS,
        "GATEWAY_BODY_MEMORY_MIB",
        "whole number from 8",
        "128",
        "What the requests of over 64 KiB that a gateway process works on may weigh together. Each takes several times "
        "as much memory while it is read and passed on.",
    ),
    Variable(
        _LIMITS,
        "GATEWAY_DRAINS",
        "whole number",
        "100",
        "How many streams one process reads on for their usage at a time after their clients have gone, each for 30 "
        "seconds and 256 KiB at most. Beyond that they are cut off at once, and what was delivered is charged.",
    ),
    Variable(
        _LIMITS,
        "LIMITER_PROCESSES",
        "whole number from 1",
        "1",
        "How many web and gateway processes share the limits; used only while Redis is away.",
    ),
    Variable(
        _NETWORK,
        "TRUSTED_PROXIES",
        "whole number",
        "0",
        "How many proxies of yours stand in front and append to X-Forwarded-For. 0 believes no such header.",
    ),
    Variable(
        _NETWORK,
        "OUTBOUND_ALLOWED_NETWORKS",
        "networks",
        "",
        "Private networks that publishers' addresses may lie in, each with a port or without: "
        "10.20.0.0/16,127.0.0.1/32:9000. None by default.",
    ),
    Variable(
        _NETWORK,
        "OUTBOUND_ALLOW_HTTP",
        "true or false",
        "false",
        "Whether publishers' addresses may be http:// (in allowed networks they always may not without it).",
    ),
    Variable(
        _LOGS,
        "LOG_FORMAT",
        "json or console",
        "json",
        "One JSON object a line, or lines for people.",
        in_debug="console",
    ),
    Variable(_LOGS, "LOG_LEVEL", "log level", "INFO", "The lowest level that is written."),
    Variable(
        _LOGS,
        "REQUEST_LOG_DAYS",
        "whole number from 1",
        "30",
        "How many days the request log keeps: a row for each request to the API, without bodies.",
    ),
    Variable(
        _LOGS,
        "AUDIT_ANCHOR_FILE",
        "text",
        "",
        "Where the audit log's head is kept each minute, so that a cut end is found; a relative path starts at the "
        "project's folder. Best on another machine. By default it is in the worker's output alone.",
    ),
    Variable(
        _OIDC,
        "OIDC_ISSUER",
        "issuer",
        "",
        "An OpenID Connect provider that people may log in through: https://id.example.org/realms/us. Tell it the "
        "address SITE_URL/accounts/oidc/id.example.org-realms-us/login/callback/.",
    ),
    Variable(_OIDC, "OIDC_NAME", "text", "Single sign-on", "What the button is called."),
    Variable(_OIDC, "OIDC_CLIENT_ID", "text", "", "The id by which the provider knows this site."),
    Variable(_OIDC, "OIDC_CLIENT_SECRET", "text", "", "The secret that belongs to it.", secret=True),
    Variable(_STRIPE, "STRIPE_LIVE_SECRET_KEY", "text", "", "Secret key of the live Stripe account.", secret=True),
    Variable(_STRIPE, "STRIPE_TEST_SECRET_KEY", "text", "", "Secret key of the Stripe test account.", secret=True),
    Variable(_STRIPE, "STRIPE_LIVE_MODE", "true or false", "false", "Whether the live account is used."),
)

BY_NAME: Mapping[str, Variable] = {variable.name: variable for variable in VARIABLES}

# Read before the table can be, or by the launcher and the build alone.
OUTSIDE_THE_TABLE = frozenset({"AGORAI_ENV_FILE", "AGORAI_VAR", "DJANGO_SETTINGS_MODULE", "PORT"})


def load(environment: Mapping[str, str]) -> SimpleNamespace:
    """All settings by name. Raises ImproperlyConfigured, whose message lists every fault."""
    faults: list[str] = []
    texts = {variable.name: _given(variable, environment, faults) for variable in VARIABLES}
    try:
        debug = _boolean(texts["DEBUG"] or "false")
    except Fault:
        debug = False  # the fault itself is reported below, with the others
    values: dict[str, Any] = {}
    for variable in VARIABLES:
        text = texts[variable.name]
        if text is None:
            if variable.required or (variable.required_in_production and not debug):
                faults.append(f"{variable.name} is required. {variable.help}")
                continue
            text = variable.in_debug if debug and variable.in_debug is not None else variable.default
        try:
            values[variable.name] = None if text is None else TYPES[variable.type](text)
        except Fault as fault:
            faults.append(f"{variable.name} {fault}.")
    if faults:
        lines = "\n".join(f"  - {fault}" for fault in faults)
        raise ImproperlyConfigured(f"The configuration has {len(faults)} fault(s):\n{lines}")
    return SimpleNamespace(**values)


def _given(variable: Variable, environment: Mapping[str, str], faults: list[str]) -> str | None:
    """What the operator wrote, directly or in a file. An empty value counts as none."""
    text = environment.get(variable.name, "").strip() or None
    path = environment.get(variable.name + OPTIONAL_FILE_SUFFIX, "") if variable.secret else ""
    if not path:
        return text
    if text is not None:
        faults.append(f"{variable.name} is set, and {variable.name}_FILE too; keep one.")
        return text
    try:
        return Path(path).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not text"
        faults.append(f"{variable.name}_FILE names {path}, which cannot be read: {reason}.")
        return "unread"  # so that it is not reported as missing, too


def database(url: str) -> dict[str, Any]:
    """A libpq address as Django's connection settings. Read by libpq's own rules, so that psycopg agrees."""
    parameters = psycopg.conninfo.conninfo_to_dict(url)
    names = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
    settings = {setting: str(parameters.pop(name, "") or "") for name, setting in names.items()}
    return {"ENGINE": "django.db.backends.postgresql", **settings, "OPTIONS": dict(parameters)}


def broker(redis_url: str) -> str:
    """The Redis address in Celery's words: `unix:///s?db=1` is `redis+socket:///s?virtual_host=1` there."""
    parts = urlsplit(redis_url)
    if parts.scheme != "unix":
        return redis_url
    query = dict(pair.partition("=")[::2] for pair in parts.query.split("&") if pair)
    return f"redis+socket://{parts.path}?virtual_host={query.get('db', '0')}"


def mail(url: str) -> dict[str, Any]:
    """The mail address as Django's EMAIL_… settings."""
    parts = urlsplit(url)
    if parts.scheme == "filemail":
        return {"EMAIL_BACKEND": "notifications.adapters.filemail.EmailBackend", "EMAIL_FILE_PATH": parts.path}
    found = environ.Env.email_url_config(url)
    return {name: value for name, value in found.items() if value is not None and name.startswith("EMAIL_")}


def unknown(environment: Mapping[str, str], env_file: Path | None = None) -> dict[str, str]:
    """Names that look meant for us but are not ours -> the nearest that is.

    Every name of the `.env` file is; of the process's environment only those close to one of ours.
    """
    known = {
        *BY_NAME,
        *(f"{name}{OPTIONAL_FILE_SUFFIX}" for name, v in BY_NAME.items() if v.secret),
        *OUTSIDE_THE_TABLE,
    }
    in_file = set(_names_in(env_file)) if env_file else set()
    found = {}
    for name in sorted({*environment, *in_file} - known):
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.6 if name in in_file else 0.85)
        if nearest or name in in_file:
            found[name] = nearest[0] if nearest else ""
    return found


def shown(variable: Variable, text: str) -> str:
    """A value for people to read: of an address everything but the password, of any other secret nothing."""
    if not variable.secret or not text:
        return text
    if "://" not in text:
        return "(hidden)"
    text = re.sub(r"(://[^/?#:]*):[^/?#]*@", r"\1:…@", text)
    return re.sub(r"(password=)[^&]*", r"\1…", text, flags=re.IGNORECASE)


def _names_in(env_file: Path) -> list[str]:
    if not env_file.is_file():
        return []
    return re.findall(r"^(?:export )?([A-Za-z_][A-Za-z0-9_]*)=", env_file.read_text(encoding="utf-8"), re.MULTILINE)
