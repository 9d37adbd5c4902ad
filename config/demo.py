"""What the demonstration holds: three people, a dozen listings, a key and a month of made-up usage.

The first four listings have real models behind them (`examples/model_server`); the others are there to be looked at.
Everything made here is marked `is_demo`, and seeding twice changes nothing.
"""

from __future__ import annotations

import json
import random
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from accounts import services as accounts
from accounts.models import Organization, User
from apikeys import services as apikeys
from apikeys.models import APIKey
from common import clock
from common.problems import Problem
from config.roles import as_owner
from config.var import Var, write_private
from gateway import services as gateway
from gateway.models import Endpoint, Invocation, Rule
from marketplace import services as marketplace
from marketplace.models import AIModel
from marketplace.services import Terms
from marketplace.services.pricing import cost_of

PUBLISHER = "demo"
KEY_NAME = "Demo key"
KEY_PERMISSIONS = ("models:read", "models:invoke", "analytics:read", "keys:read")
USAGE_DAYS = 30
CALLS_ON_A_WEEKDAY = 70
FAILURES_IN_A_THOUSAND = 12
BATCH = 1000

MILLI = 1_000_000  # nano-units in a thousandth of the currency
CENT = 10 * MILLI


# --- Listings ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Listing:
    """One model. `path`: where the demo's upstream answers for it; empty: nowhere, so it cannot be called."""

    name: str
    category: str
    description: str
    input: dict[str, Any]
    output: dict[str, Any]
    pricing: Terms
    capabilities: tuple[str, ...] = ()
    version: str = "1.0.0"
    path: str = ""
    protocol: str = "json"
    upstream_model: str = ""
    kind: str = Invocation.Kind.INVOKE
    weight: int = 0  # of the made-up usage
    tokens: tuple[int, int] = (0, 0)  # about how many go in and come out


def text_input(description: str, example: str, **more: Any) -> dict[str, Any]:
    text = {"type": "string", "description": description, "maxLength": 20_000, "examples": [example]}
    return {"type": "object", "required": ["text"], "properties": {"text": text, **more}, "additionalProperties": False}


MESSAGES = {
    "type": "array",
    "minItems": 1,
    "description": "The conversation so far.",
    "items": {
        "type": "object",
        "required": ["role", "content"],
        "properties": {
            "role": {"enum": ["system", "developer", "user", "assistant", "tool", "function"]},
            "content": {"type": ["string", "array", "null"]},
        },
    },
}
CHAT_IN = {
    "type": "object",
    "required": ["messages"],
    "properties": {
        "messages": MESSAGES | {"examples": [[{"role": "user", "content": "I am a little tired of my job."}]]},
        "max_tokens": {
            "type": "integer",
            "minimum": 1,
            "maximum": 4096,
            "description": "The most that is answered.",
            "x-order": 1,
        },
        "temperature": {"type": "number", "minimum": 0, "maximum": 2, "x-order": 2},
        "seed": {"type": "integer", "description": "The same seed gives the same answer.", "x-order": 3},
        "stream": {"type": "boolean"},
    },
}
CHAT_OUT = {
    "type": "object",
    "required": ["choices"],
    "properties": {"choices": {"type": "array", "minItems": 1}, "usage": {"type": "object"}},
}
IMAGE_IN = {
    "type": "object",
    "required": ["prompt"],
    "properties": {
        "prompt": {"type": "string", "maxLength": 2_000, "description": "What the picture shows."},
        "size": {"enum": ["512x512", "1024x1024"], "default": "1024x1024"},
    },
}
AUDIO_IN = {
    "type": "object",
    "required": ["audio_url"],
    "properties": {
        "audio_url": {"type": "string", "maxLength": 500, "description": "Where the recording can be fetched."},
        "language": {"type": "string", "maxLength": 8, "description": "ISO 639 code; left out, it is found."},
    },
}
TEXT_OUT = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}

REAL = (
    Listing(
        name="Sentiment",
        category="text-classification",
        description="""Tells whether an English text is positive, negative or neutral, and how strongly.

## Good for

- Sorting reviews, tickets and survey answers
- Short texts with slang, capitals and emoji

## Limits

It reads words and their order by rule (VADER, Hutto and Gilbert 2014); irony passes unnoticed, and other languages than
English are mostly neutral to it.
""",
        capabilities=("english", "scores"),
        input=text_input("English text.", "The delivery was quick and the people were friendly."),
        output={
            "type": "object",
            "required": ["label", "score", "scores"],
            "properties": {
                "label": {"enum": ["positive", "neutral", "negative"]},
                "score": {"type": "number", "minimum": -1, "maximum": 1},
                "scores": {"type": "object"},
            },
        },
        pricing=Terms(type="free"),
        path="/sentiment",
        weight=45,
    ),
    Listing(
        name="Language ID",
        category="language-identification",
        description="""Names the language that a text is written in: 139 languages, from a few words on.

## Good for

- Routing support mail to people who can read it
- Cleaning multilingual data sets

## Limits

Close relatives (Norwegian and Danish, Croatian and Serbian) are told apart less surely in short texts; look at
`confidence`.
""",
        capabilities=("multilingual", "scores"),
        input=text_input("A text in any language.", "Guten Morgen, wie geht es dir heute?"),
        output={
            "type": "object",
            "required": ["language", "confidence"],
            "properties": {
                "language": {"type": "string", "description": "ISO 639 code; `und` when it cannot be told."},
                "name": {"type": "string"},
                "confidence": {"type": "number", "minimum": 0, "maximum": 1},
            },
        },
        pricing=Terms(type="paid", per_call_nano=MILLI),
        path="/language",
        weight=25,
    ),
    Listing(
        name="Eliza",
        category="chat",
        description="""The first chat program (Weizenbaum, 1966), behind the interface of today's. It listens, turns
your words around and asks back.

## Good for

- Trying a chat client, streaming included, without a bill
- Tests that need the same answer every time: it is a function of the conversation and a seed

## Limits

It knows nothing, on purpose.
""",
        capabilities=("streaming", "english", "openai-compatible"),
        input=CHAT_IN,
        output=CHAT_OUT,
        pricing=Terms(type="paid", input_nano_per_million=40 * CENT, output_nano_per_million=120 * CENT),
        path="/v1",
        protocol="openai",
        upstream_model="eliza",
        kind=Invocation.Kind.CHAT,
        weight=20,
        tokens=(60, 14),
    ),
    Listing(
        name="Embed",
        category="embeddings",
        description="""Turns texts into vectors of length 1, so that texts which share words, or parts of words, lie
close together.

## Good for

- Search and grouping without a vector model of your own
- Tests: the same text is the same vector, everywhere

## Limits

It hashes words, pairs of words and groups of letters; of meaning it knows nothing.
""",
        capabilities=("multilingual", "openai-compatible"),
        input={
            "type": "object",
            "required": ["input"],
            "properties": {
                "input": {
                    "anyOf": [
                        {"type": "string", "minLength": 1},
                        {"type": "array", "minItems": 1, "maxItems": 256, "items": {"type": "string", "minLength": 1}},
                    ],
                    "description": "A text, or up to 256 of them.",
                    "examples": ["The cat sat on the mat."],
                },
                "dimensions": {"type": "integer", "minimum": 1, "maximum": 2048, "description": "256 unless given."},
                "encoding_format": {"enum": ["float", "base64"]},
            },
        },
        output={
            "type": "object",
            "required": ["data"],
            "properties": {"data": {"type": "array", "minItems": 1}, "usage": {"type": "object"}},
        },
        pricing=Terms(type="paid", input_nano_per_million=2 * CENT),
        path="/v1",
        protocol="openai",
        upstream_model="embed",
        kind=Invocation.Kind.EMBEDDING,
        weight=10,
        tokens=(420, 0),
    ),
)

NOT_CONNECTED = "\n\nThis listing is part of the demonstration: there is no model behind it.\n"
SHOWN = (
    Listing(
        name="Aurora 70B",
        category="chat",
        description="General chat and tool use for long documents. Reads 128,000 tokens, answers in 31 languages.",
        capabilities=("streaming", "tools", "json-output", "long-context"),
        input=CHAT_IN,
        output=CHAT_OUT,
        pricing=Terms(type="paid", input_nano_per_million=60 * CENT, output_nano_per_million=180 * CENT),
        version="3.1.0",
    ),
    Listing(
        name="Codewright 15B",
        category="code",
        description="Completes and explains source code in eighty programming languages, and writes tests for it.",
        capabilities=("streaming", "fill-in-the-middle"),
        input=CHAT_IN,
        output=CHAT_OUT,
        pricing=Terms(type="paid", input_nano_per_million=20 * CENT, output_nano_per_million=60 * CENT),
        version="2.0.3",
    ),
    Listing(
        name="Harbor Translate",
        category="translation",
        description="Translates between 46 languages and keeps markup, placeholders and line breaks where they are.",
        capabilities=("multilingual", "glossaries"),
        input=text_input(
            "What to translate.",
            "Where is the station?",
            target={"type": "string", "maxLength": 8, "description": "ISO 639 code of the language to translate into."},
        ),
        output=TEXT_OUT,
        pricing=Terms(type="paid", input_nano_per_million=1_500 * CENT),
        version="1.4.0",
    ),
    Listing(
        name="Precis",
        category="summarization",
        description="Shortens reports and minutes to a paragraph or to bullet points, with references to the source.",
        capabilities=("long-context", "references"),
        input=text_input("What to shorten.", "The committee met on Tuesday.", style={"enum": ["paragraph", "bullets"]}),
        output=TEXT_OUT,
        pricing=Terms(type="paid", per_call_nano=CENT),
    ),
    Listing(
        name="Lumen Image",
        category="image-generation",
        description="Pictures from words: photographs, drawings and flat graphics of up to a megapixel.",
        capabilities=("images",),
        input=IMAGE_IN,
        output={"type": "object", "required": ["image_url"], "properties": {"image_url": {"type": "string"}}},
        pricing=Terms(type="paid", per_call_nano=3 * CENT),
        version="2.2.0",
    ),
    Listing(
        name="Clarion",
        category="speech-to-text",
        description="Writes down recordings in 58 languages with time stamps, and tells the speakers apart.",
        capabilities=("audio", "multilingual", "speakers"),
        input=AUDIO_IN,
        output=TEXT_OUT,
        pricing=Terms(type="paid", per_call_nano=6 * MILLI),
        version="1.1.0",
    ),
    Listing(
        name="Cantor Voice",
        category="text-to-speech",
        description="Reads text aloud in twelve voices, with pauses and stress where a person would set them.",
        capabilities=("audio",),
        input=text_input(
            "What to read.", "Good evening, and welcome.", voice={"enum": ["alto", "tenor", "bass"], "default": "alto"}
        ),
        output={"type": "object", "required": ["audio_url"], "properties": {"audio_url": {"type": "string"}}},
        pricing=Terms(type="paid", amount_nano=20 * 100 * CENT, period="monthly"),
    ),
    Listing(
        name="Gatekeeper",
        category="moderation",
        description="Marks insults, threats and spam, with a score for each and the passage it rests on.",
        capabilities=("multilingual", "scores"),
        input=text_input("What to look at.", "You are all wonderful."),
        output={"type": "object", "required": ["flagged"], "properties": {"flagged": {"type": "boolean"}}},
        pricing=Terms(type="free"),
    ),
)


# --- Seeding ----------------------------------------------------------------------------------------------------------

ROLES: Mapping[str, dict[str, str]] = {
    "consumer": {"email": "consumer@demo.example", "name": "Carla Consumer"},
    "developer": {"email": "developer@demo.example", "name": "Devin Developer"},
    "staff": {"email": "staff@demo.example", "name": "Sam Staff"},
}


@dataclass(slots=True)
class Seeded:
    """What a run found or made."""

    made_people: int = 0
    made_models: int = 0
    made_calls: int = 0
    users: dict[str, User] = field(default_factory=dict)


def seed(*, var: Var, upstream_url: str, number: int) -> Seeded:
    """Fill the demo and note its people and key in `var/demo.json`. Passwords that stand there are kept.

    upstream_url: the address of the demo's models; empty: no listing can be called. number: of the made-up usage.
    """
    done = Seeded()
    noted = var.load_demo() or {}
    passwords = {
        role: noted.get("users", {}).get(role, {}).get("password") or secrets.token_urlsafe(12) for role in ROLES
    }
    with transaction.atomic():
        for role, person in ROLES.items():
            done.users[role] = _person(
                role, person, passwords[role], is_noted=role in noted.get("users", {}), done=done
            )
        publisher = Organization.objects.get(slug=PUBLISHER)
        for listing in reversed(REAL + SHOWN):  # the newest come first in the catalogue
            _list(listing, publisher, upstream_url, done)
        api_key = _key(done.users["consumer"], noted.get("api_key", ""))
    if not Invocation.objects.filter(is_demo=True).order_by().exists():
        done.made_calls = _make_usage(done.users["consumer"], publisher, number)
    people = {role: {"email": person["email"], "password": passwords[role]} for role, person in ROLES.items()}
    demo = {"url": settings.SITE_URL, "users": people, "api_key": api_key}
    if demo != noted:
        var.path.mkdir(parents=True, exist_ok=True, mode=0o711)
        write_private(var.demo, json.dumps(demo, indent=2) + "\n")
    return done


def _person(role: str, person: Mapping[str, str], password: str, *, is_noted: bool, done: Seeded) -> User:
    user = User.objects.filter(email=person["email"]).first()
    if user is None:
        company: dict[str, str] = {"organization": "Agorai Demo", "slug": PUBLISHER} if role == "developer" else {}
        user = accounts.open_account(password=password, **person, **company)
        rights: dict[str, dict[str, Any]] = {
            "consumer": {},
            "developer": {"platform_role": User.PlatformRole.DEVELOPER},
            "staff": {"is_staff": True, "is_superuser": True},
        }
        User.objects.filter(pk=user.pk).update(**{"platform_role": user.platform_role, **rights[role]})
        user.refresh_from_db()
        done.made_people += 1
    elif not is_noted:  # the note was lost, and nobody knows the password
        user.set_password(password)
        user.save(update_fields=["password"])
    return user


def _list(listing: Listing, publisher: Organization, upstream_url: str, done: Seeded) -> None:
    ai_model = AIModel.objects.owned_by(publisher).filter(name=listing.name, is_demo=True).first()
    if ai_model is None:
        ai_model = marketplace.create_model(
            publisher=publisher,
            name=listing.name,
            description=listing.description + ("" if listing.path else NOT_CONNECTED),
            version=listing.version,
            category=listing.category,
            capabilities=listing.capabilities,
            test_enabled=True,
            api_spec={"input": listing.input, "output": listing.output},
            pricing=listing.pricing,
            is_demo=True,
        )
        marketplace.submit(ai_model=ai_model)
        marketplace.publish(ai_model=ai_model, by_staff=True)
        done.made_models += 1
    if not listing.path or not upstream_url:
        return
    url = upstream_url.rstrip("/") + listing.path
    if not ai_model.is_callable or not Endpoint.objects.of_model(ai_model.pk).filter(url=url).exists():
        gateway.set_endpoint(
            ai_model=ai_model, url=url, protocol=listing.protocol, upstream_model=listing.upstream_model
        )


def _key(user: User, noted: str) -> str:
    """The demo's key: the noted one if it still works, else a new one."""
    if noted:
        try:
            apikeys.verify_key(noted, address="127.0.0.1", at=clock.now())
        except Problem:
            pass
        else:
            return noted
    _, secret = apikeys.issue_key(
        organization=user.personal_organization, user=user, name=KEY_NAME, permissions=KEY_PERMISSIONS
    )
    return secret


# --- A month of usage -------------------------------------------------------------------------------------------------


def _make_usage(consumer: User, publisher: Organization, number: int) -> int:
    """Calls of the last 30 days that nobody made, the same for the same `number` but for the day of today."""
    rng = random.Random(number)
    now = clock.now()
    models = {
        row.name: row
        for row in AIModel.objects.owned_by(publisher).filter(name__in=[one.name for one in REAL]).detailed()
    }
    key = APIKey.objects.filter(user=consumer, name=KEY_NAME).latest("created_at")
    calls = []
    for day in range(USAGE_DAYS, 0, -1):
        start = now - timedelta(days=day)
        busy = CALLS_ON_A_WEEKDAY if start.weekday() < 5 else CALLS_ON_A_WEEKDAY // 3
        for _ in range(round(busy * rng.uniform(0.7, 1.3))):
            hour = min(max(rng.gauss(14, 4), 0), 23.9)
            at = start.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(hours=hour)
            listing = rng.choices(REAL, [one.weight for one in REAL])[0]
            if at < now:
                calls.append(_call(rng, listing, models[listing.name], key, at))
    with as_owner():  # the application itself cannot write calls
        Invocation.objects.bulk_create(calls, batch_size=BATCH)
    return len(calls)


def _call(rng: random.Random, listing: Listing, ai_model: AIModel, key: APIKey, at: datetime) -> Invocation:
    has_failed = rng.randrange(1000) < FAILURES_IN_A_THOUSAND
    input_tokens, output_tokens = (0 if has_failed else round(mean * rng.uniform(0.4, 1.8)) for mean in listing.tokens)
    price, version = ai_model.price, ai_model.current_version
    assert price is not None
    assert version is not None
    cost = 0 if has_failed else cost_of(price, input_tokens=input_tokens, output_tokens=output_tokens)
    latency_ms = round(rng.lognormvariate(3.2, 0.5)) + (20 * output_tokens if listing.kind == "chat" else 0)
    return Invocation(
        id=_uuid7_at(at, rng),
        state=Invocation.State.FINAL,
        organization_id=key.organization_id,
        user_id=key.user_id,
        api_key=key,
        publisher_id=ai_model.publisher_id,
        ai_model=ai_model,
        version=version,
        price=price,
        kind=listing.kind,
        mode=key.mode,
        is_streamed=listing.kind == "chat" and rng.random() < 0.5,
        is_demo=True,
        budget_ids=[],
        hold_nano=cost,
        started_at=at,
        beat_at=at,
        settled_at=at + timedelta(milliseconds=latency_ms),
        rule=Rule.DEMO,
        cost_nano=cost,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        usage_source="" if has_failed or listing.kind == "invoke" else "reported",
        http_status=502 if has_failed else 200,
        error_code="upstream_error" if has_failed else "",
        latency_ms=latency_ms,
    )


def _uuid7_at(at: datetime, rng: random.Random) -> UUID:
    milliseconds = int(at.timestamp() * 1000)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | rng.getrandbits(12) << 64 | 0x2 << 62 | rng.getrandbits(62))


def default_var(environment: Mapping[str, str]) -> Var:
    return Var(Path(environment.get("AGORAI_VAR") or settings.BASE_DIR / "var"))
