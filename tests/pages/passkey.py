"""A passkey without a browser: what a device answers when it is asked to make one."""

from __future__ import annotations

import hashlib
import json
import secrets
from base64 import urlsafe_b64encode
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from fido2 import cbor
from fido2.cose import ES256

PRESENT_VERIFIED_ATTESTED = 0x45
NO_MODEL = bytes(16)


def make_passkey(options: dict[str, Any], origin: str) -> str:
    """The answer to these options of a page of `origin`, as a form sends it. The key is thrown away."""
    asked = options["publicKey"]
    number = secrets.token_bytes(32)
    told = {"type": "webauthn.create", "challenge": asked["challenge"], "origin": origin, "crossOrigin": False}
    data = hashlib.sha256(asked["rp"].get("id", urlsplit(origin).hostname).encode()).digest()
    data += bytes([PRESENT_VERIFIED_ATTESTED]) + bytes(4) + NO_MODEL + len(number).to_bytes(2, "big") + number
    data += cbor.encode(ES256.from_cryptography_key(ec.generate_private_key(ec.SECP256R1()).public_key()))
    response = {
        "clientDataJSON": _text(json.dumps(told).encode()),
        "attestationObject": _text(cbor.encode({"fmt": "none", "attStmt": {}, "authData": data})),
    }
    results = {"credProps": {"rk": True}}
    made = {"id": _text(number), "rawId": _text(number), "type": "public-key", "response": response}
    return json.dumps(made | {"clientExtensionResults": results, "authenticatorAttachment": "platform"})


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
