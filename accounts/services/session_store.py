"""Sessions of browsers, of which the database alone gives none away: `settings.SESSION_ENGINE`.

The cookie holds the session's key. Its row stands under a hash of the key and its data, where a link for a new password
or an authenticator app's secret may wait, is encrypted under another. The rest is Django's.
"""

from __future__ import annotations

import base64
import hashlib
import os
from typing import Any, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.contrib.sessions.backends import db
from django.contrib.sessions.base_session import AbstractBaseSession
from django.contrib.sessions.models import Session
from django.utils import timezone

NONCE_BYTES = 12
ROW_KEY_LENGTH = 40  # of Django's column


def row_key(session_key: str) -> str:
    """Under what the session is stored. A plain hash will do: a session's key is 165 bits of chance."""
    return _hash("row", session_key).hex()[:ROW_KEY_LENGTH]


class SessionStore(db.SessionStore):
    key_salt = "django.contrib.sessions.SessionStore"  # of the signature inside

    def encode(self, session_dict: dict[str, Any]) -> str:
        nonce = os.urandom(NONCE_BYTES)
        return base64.b64encode(
            nonce + self._cipher().encrypt(nonce, super().encode(session_dict).encode(), None)
        ).decode()

    def decode(self, session_data: bytes | str) -> dict[str, Any]:
        """Empty when it is not what this key encrypted."""
        try:
            data = base64.b64decode(session_data, validate=True)
            signed = self._cipher().decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], None)
        except (ValueError, InvalidTag):
            return {}
        return super().decode(signed.decode())

    def exists(self, session_key: str) -> bool:
        return super().exists(row_key(session_key))

    async def aexists(self, session_key: str) -> bool:
        return await super().aexists(row_key(session_key))

    def create_model_instance(self, data: dict[str, Any]) -> Session:
        return self._stored(super().create_model_instance(data))

    async def acreate_model_instance(self, data: dict[str, Any]) -> Session:
        return self._stored(await super().acreate_model_instance(data))

    def delete(self, session_key: str | None = None) -> None:
        if key := session_key or self.session_key:
            super().delete(row_key(key))

    async def adelete(self, session_key: str | None = None) -> None:
        if key := session_key or self.session_key:
            await super().adelete(row_key(key))

    def _get_session_from_db(self) -> Session | None:
        found = Session.objects.filter(session_key=self._row_key(), expire_date__gt=timezone.now()).first()
        return self._known(found)

    async def _aget_session_from_db(self) -> Session | None:
        found = await Session.objects.filter(session_key=self._row_key(), expire_date__gt=timezone.now()).afirst()
        return self._known(found)

    def _known(self, found: Session | None) -> Session | None:
        if found is None:
            self._session_key = None
        return found

    def _stored(self, session: AbstractBaseSession) -> Session:
        session.session_key = row_key(session.session_key)
        return cast(Session, session)

    def _row_key(self) -> str:
        return row_key(self.session_key or "")

    def _cipher(self) -> AESGCM:
        return AESGCM(_hash("data", self.session_key or ""))


def _hash(what: str, session_key: str) -> bytes:
    return hashlib.sha256(f"agorai.session.{what}:{session_key}".encode("utf-8", "surrogatepass")).digest()
