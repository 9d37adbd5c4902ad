"""Who calls: from the headers of a request to a caller who may."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from uuid import UUID

from accounts.services import find_bearer, resolve_actor
from apikeys.errors import KeyMalformed, KeyUnknown
from common.policy import require_own_organization
from common.problems import NotAuthenticated
from gateway.hotpath.callers import Caller
from gateway.hotpath.orm import run_in_django

if TYPE_CHECKING:
    from gateway.hotpath.call import Gateway

Headers = Mapping[bytes, bytes]


async def admit(gateway: Gateway, headers: Headers, address: str, *, takes_tokens: bool) -> Caller:
    """The caller behind an API key or, where the address `takes_tokens`, behind a person's access token.

    Raises the problem that says why nobody is.
    """
    secret = _credential(headers)
    organization = headers.get(b"agorai-organization")
    if takes_tokens and secret.startswith(b"eyJ"):
        ids = await run_in_django(_actor_ids, _text(secret), _text(organization or b"") or None)
        return await gateway.snapshots.caller_of_person(ids)
    snapshots = gateway.snapshots
    digests = snapshots.digests(secret)
    caller = snapshots.caller_of_key.get(digests) or await snapshots.caller_of_key(digests)
    if caller is None:
        raise KeyUnknown()
    if caller.is_limited:
        caller.require_usable(address)
    if organization:
        require_own_organization(caller.organization_id, _text(organization))
    gateway.note_use(caller, address, _text(headers.get(b"user-agent", b"")))
    return caller


def _credential(headers: Headers) -> bytes:
    authorization = headers.get(b"authorization", b"")
    if authorization[:7].lower() == b"bearer " and (secret := authorization[7:].strip()):
        return secret
    if key := headers.get(b"x-api-key", b"").strip():
        return key
    if authorization:
        raise KeyMalformed()
    raise NotAuthenticated()


def _text(value: bytes) -> str:
    return value.decode("latin-1")


def _actor_ids(token: str, organization: str | None) -> tuple[UUID, UUID]:
    """The organization that the person behind an access token acts for, and the person."""
    user, _token = find_bearer(token)
    return resolve_actor(user, organization)[0].pk, user.pk
