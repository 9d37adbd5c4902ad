"""The tokens of API clients: access tokens that live five minutes, and families of refresh tokens that rotate.

An access token names its family and the user's session version; both are compared with the rows on every request, so
that a logout or a new password ends it at once.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

import jwt
import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Q, Subquery
from rest_framework_simplejwt import tokens as simplejwt
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import TokenBackendError, TokenError

from accounts.errors import LoginFailed, RefreshTokenInvalid, RefreshTokenReused, TokenExpired, TokenInvalid
from accounts.models import BrowserSession, RefreshFamily, RefreshToken, User
from accounts.services import mails
from accounts.services.devices import name_device
from accounts.services.digests import all_digests, digest
from accounts.services.events import record_about
from accounts.services.logins import tell_of_new_device
from common.clock import ClockNow, now
from common.ids import decode, encode
from common.sealing import SealError, count_retired, open_sealed, reseal_column, seal
from observability.services import current_client

ACCESS_LIFETIME: timedelta = settings.SIMPLE_JWT["ACCESS_TOKEN_LIFETIME"]
REFRESH_LIFETIME = timedelta(days=30)  # from the last rotation
GRACE = timedelta(seconds=10)
KEEP_REVOKED = timedelta(days=1)
REFRESH_PREFIX = "agr_rt_"
REFRESH_TOKEN_BYTES = 32
TYPE = "at+jwt"  # RFC 9068
ALGORITHM = "HS256"

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What a client is given, once. `expires_in`: of the access token, in seconds."""

    access: str
    refresh: str
    expires_in: int


# --- Access tokens ---


class _KeyedBackend(TokenBackend):
    """Signs under the first of `JWT_SIGNING_KEYS` and says which in `kid`; verifies under any of them."""

    def encode(self, payload: dict[str, Any]) -> str:
        kid, key = next(iter(settings.JWT_SIGNING_KEYS.items()))
        claims = {**payload, "aud": settings.SITE_URL, "iss": settings.SITE_URL}
        return jwt.encode(claims, key, algorithm=ALGORITHM, headers={"kid": kid, "typ": TYPE})

    def decode(self, token: Any, verify: bool = True) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            kid = header.get("kid")
            key = settings.JWT_SIGNING_KEYS.get(kid) if isinstance(kid, str) else None
            if key is None or header.get("typ") != TYPE:
                raise TokenBackendError("Token is invalid")
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=settings.SITE_URL,
                issuer=settings.SITE_URL,
                options={
                    "require": ["exp", "iat", "aud", "iss", "sub", "jti"],
                    "strict_aud": True,
                    "verify_exp": False,  # compared with the database's clock, as every instant is
                    "verify_iat": False,
                },
            )
        except (jwt.PyJWTError, ValueError) as error:
            raise TokenBackendError("Token is invalid") from error
        if type(claims["iat"]) is not int:
            raise TokenBackendError("Token is invalid")
        return claims


class AccessToken(simplejwt.AccessToken):
    """Five minutes of a user: `sub` (usr_…), `sid` (fam_…), `sv` (session version)."""

    backend: ClassVar[TokenBackend] = _KeyedBackend(ALGORITHM)
    factor_at: datetime | None = None  # when its person showed a second factor; `find_bearer` looks it up

    def get_token_backend(self) -> TokenBackend:
        return self.backend

    def check_exp(self, claim: str = "exp", current_time: datetime | None = None) -> None:
        """Left to `find_bearer`, which asks the database's clock."""


def mint_access_token(*, user: User, family_id: UUID, at: datetime) -> str:
    """A signed access token for a user and one of their families, valid from `at`."""
    token = AccessToken()
    token.set_iat(at_time=at)
    token.set_exp(from_time=at, lifetime=ACCESS_LIFETIME)
    token["sub"], token["sid"], token["sv"] = user.public_id, encode("fam", family_id), user.session_version
    return str(token)


def find_bearer(raw: str) -> tuple[User, AccessToken]:
    """The user of an access token, in one query. Raises TokenExpired or TokenInvalid."""
    try:
        token = AccessToken(raw)  # type: ignore[arg-type]  # simplejwt's annotation names the wrong type
        user_id, family_id = decode("usr", token["sub"]), decode("fam", token["sid"])
        expires_at = datetime.fromtimestamp(token["exp"], UTC)
    except (TokenError, ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError):
        raise TokenInvalid() from None
    alive = RefreshFamily.objects.filter(pk=family_id, user=OuterRef("pk"), revoked_at=None)
    found = User.objects.filter(Exists(alive), pk=user_id, is_active=True)
    user = found.annotate(at=ClockNow(), factor_at=Subquery(alive.values("factor_at"))).first()
    if user is None or user.session_version != token.get("sv"):
        raise TokenInvalid()
    if expires_at <= user.at:
        raise TokenExpired()
    token.factor_at = user.factor_at
    return user, token


# --- Refresh tokens ---


@transaction.atomic
def open_family(*, user: User, client: str, has_shown_factor: bool = False) -> TokenPair:
    """A new sign-in of an API client. client: the fingerprint of who is asking.

    has_shown_factor: a second factor was shown for it just now; how long ago that was counts for what staff do.

    Raises LoginFailed when the password changed since the user was read, so that no old one leaves a token behind.
    """
    at = now()
    same = User.objects.filter(pk=user.pk, session_version=user.session_version, is_active=True)
    if not same.update(last_login=at):
        raise LoginFailed()
    address, user_agent = current_client()
    family = RefreshFamily.objects.create(
        user=user,
        client=client,
        address=address,
        user_agent=user_agent,
        factor_at=at if has_shown_factor else None,
    )
    tell_of_new_device(user)
    refresh = _add_token(family.pk, parent=None, at=at)
    record_about("logged_in", user, by_user=True, after={"by": "api", "sign_in": encode("fam", family.pk)})
    return _pair(mint_access_token(user=user, family_id=family.pk, at=at), refresh)


def rotate(*, refresh: str, client: str) -> tuple[User, TokenPair]:
    """A new pair for a refresh token, which is used up by it. client: the fingerprint of who is asking.

    The same client asking again within ten seconds (a lost answer, two tabs) gets the same successor, as long as that
    is unused. Any other second use means that two hold the token: the family is ended and its owner told.
    Raises RefreshTokenReused, or RefreshTokenInvalid: unknown, expired, ended.
    """
    hashes = all_digests("refresh", refresh)
    with transaction.atomic():
        claimed = _claim(hashes)
        if claimed is not None:
            token_id, family_id = claimed
            at = now()
            address, user_agent = current_client()
            RefreshFamily.objects.filter(pk=family_id).update(
                client=client, address=address, user_agent=user_agent, last_used_at=at
            )
            RefreshToken.objects.filter(family=family_id).exclude(sealed=None).update(sealed=None)
            successor = _add_token(family_id, parent=token_id, at=at)
            user = User.objects.get(refresh_families=family_id)
            return user, _pair(mint_access_token(user=user, family_id=family_id, at=at), successor)
    return _meet_again(hashes, client)


@transaction.atomic
def close_family(*, refresh: str) -> None:
    """Log out: the family's refresh and access tokens end. An unknown token is no error, since then nobody is in."""
    family = (
        RefreshFamily.objects.filter(tokens__digest__in=all_digests("refresh", refresh)).select_related("user").first()
    )
    if family is not None and _revoke(family.pk, "logout"):
        record_about("logged_out", family.user, by_user=True, before={"sign_in": encode("fam", family.pk)})


@transaction.atomic
def end_family(*, family: RefreshFamily, reason: str) -> bool:
    """Log a program out. False when it was already."""
    ended = _revoke(family.pk, reason)
    if ended:
        facts = {"sign_in": encode("fam", family.pk), "device": name_device(family.user_agent)}
        record_about("session_ended", family.user, before=facts)
    return ended


@transaction.atomic
def revoke_all(*, user: User, reason: str, but_session: str = "") -> None:
    """End every session, access token and refresh token of the user. reason: at most 20 characters.

    but_session: under what a session is stored that its view takes over into the new session version.
    """
    User.objects.filter(pk=user.pk).update(session_version=F("session_version") + 1)
    RefreshFamily.objects.filter(user=user, revoked_at=None).update(revoked_at=ClockNow(), reason=reason)
    BrowserSession.objects.filter(user=user).exclude(session_key=but_session).delete()
    user.refresh_from_db(fields=["session_version"])
    record_about("sessions_ended", user, after={"reason": reason})


@transaction.atomic
def prune_families() -> int:
    """Delete ended families, spent and expired tokens, and sealed successors past their grace. Returns rows changed."""
    at = now()
    unsealed = RefreshToken.objects.filter(expires_at__lt=at + REFRESH_LIFETIME - GRACE).exclude(sealed=None)
    changed = unsealed.update(sealed=None)
    changed += RefreshToken.objects.filter(expires_at__lt=at).delete()[0]
    live = RefreshToken.objects.filter(family=OuterRef("pk"))
    changed += RefreshFamily.objects.filter(Q(revoked_at__lt=at - KEEP_REVOKED) | ~Exists(live)).delete()[0]
    return changed


def reseal_tokens() -> int:
    """Bring the sealed successors under the current key-encryption key. Returns how many changed. Raises SealError."""
    return reseal_column(RefreshToken.objects.all(), "sealed", lambda token: _seal_context(token.pk))


def count_retired_tokens() -> int:
    """How many sealed successors are not under the current key-encryption key."""
    return count_retired(RefreshToken.objects.all(), "sealed")


def _claim(hashes: list[bytes]) -> tuple[UUID, UUID] | None:
    """Mark the token used if it may be; its id and its family's. One statement, whose conditions on the token are
    tested again on the row as it is once a competing claim has committed; through the ORM they would stand in a
    subquery, which is not. The family is locked too, so that a claim and a logout do not pass each other."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE accounts_refreshtoken t SET used_at = clock_now()"
            "  FROM (SELECT f.id FROM accounts_refreshfamily f JOIN accounts_user u ON u.id = f.user_id"
            "         WHERE f.id = (SELECT family_id FROM accounts_refreshtoken WHERE digest = ANY (%(hashes)s))"
            "           AND f.revoked_at IS NULL AND u.is_active FOR NO KEY UPDATE OF f) family"
            " WHERE t.family_id = family.id AND t.digest = ANY (%(hashes)s)"
            "   AND t.used_at IS NULL AND t.expires_at > clock_now()"
            " RETURNING t.id, t.family_id",
            {"hashes": hashes},
        )
        claimed: tuple[UUID, UUID] | None = cursor.fetchone()
    return claimed


def _meet_again(hashes: list[bytes], client: str) -> tuple[User, TokenPair]:
    """A token that could not be claimed: the same client's second try, or a reason to refuse."""
    token = (
        RefreshToken.objects.filter(digest__in=hashes)
        .select_related("family__user", "successor")
        .annotate(at=ClockNow())
        .first()
    )
    if token is None or token.family.revoked_at is not None or token.used_at is None:
        raise RefreshTokenInvalid()
    family, user, successor = token.family, token.family.user, getattr(token, "successor", None)
    if not user.is_active:
        raise RefreshTokenInvalid()
    if successor is not None and successor.sealed and family.client == client and token.at < token.used_at + GRACE:
        try:
            refresh = open_sealed(successor.sealed, _seal_context(successor.pk)).decode()
        except SealError:  # its key-encryption key was taken away within these ten seconds
            raise RefreshTokenInvalid() from None
        return user, _pair(mint_access_token(user=user, family_id=family.pk, at=token.at), refresh)
    with transaction.atomic():
        if _revoke(family.pk, "reuse"):
            logger.warning("refresh_token_reused", user_id=user.public_id, family_id=str(family))
            record_about("sessions_ended", user, after={"reason": "reuse", "sign_in": encode("fam", family.pk)})
            mails.mail_notice(user=user, kind="session_ended")
    raise RefreshTokenReused()


def _add_token(family_id: UUID, *, parent: UUID | None, at: datetime) -> str:
    refresh = REFRESH_PREFIX + secrets.token_urlsafe(REFRESH_TOKEN_BYTES)
    row = RefreshToken(
        family_id=family_id, parent_id=parent, digest=digest("refresh", refresh), expires_at=at + REFRESH_LIFETIME
    )
    if parent is not None:
        row.sealed = seal(refresh.encode(), _seal_context(row.pk))
    row.save(force_insert=True)
    return refresh


def _revoke(family_id: UUID, reason: str) -> bool:
    """False when it had ended before."""
    living = RefreshFamily.objects.filter(pk=family_id, revoked_at=None)
    return bool(living.update(revoked_at=ClockNow(), reason=reason))


def _pair(access: str, refresh: str) -> TokenPair:
    return TokenPair(access=access, refresh=refresh, expires_in=int(ACCESS_LIFETIME.total_seconds()))


def _seal_context(token_id: UUID) -> str:
    return f"accounts.refreshtoken:{token_id}"
