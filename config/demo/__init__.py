"""What the demonstration holds: three people, a dozen listings, a key and a month of made-up usage.

The first four listings have real models behind them (`examples/model_server`); the others are there to be looked at.
Everything made here is marked `is_demo`, and seeding twice changes nothing.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts import services as accounts
from accounts.models import Organization, User
from analytics import services as analytics
from apikeys import services as apikeys
from common import clock
from common.problems import Problem
from config.demo.listings import NOT_CONNECTED, REAL, SHOWN, Listing
from config.demo.usage import make_usage
from config.var import Var, write_private
from gateway import services as gateway
from gateway.models import Endpoint, Invocation
from marketplace import services as marketplace
from marketplace.models import AIModel

PUBLISHER = "demo"
KEY_NAME = "Demo key"
KEY_PERMISSIONS = ("models:read", "models:invoke", "analytics:read", "keys:read")

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
        done.made_calls = make_usage(done.users["consumer"], KEY_NAME, publisher, number)
        gateway.measure_models(all_days=True)
        analytics.roll_up(all_hours=True)
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
            license=listing.license,
            context_tokens=listing.context_tokens,
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


def default_var(environment: Mapping[str, str]) -> Var:
    return Var(Path(environment.get("AGORAI_VAR") or settings.BASE_DIR / "var"))
