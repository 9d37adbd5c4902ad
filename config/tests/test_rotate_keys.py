"""`manage.py rotate_keys`: what is stored comes under the new keys, stays what it was, and opens in its place alone."""

import io

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value, yield_hotp_counters_from_time
from django.core.management import CommandError, call_command

from accounts import services as accounts
from accounts.models import RefreshToken
from accounts.tests.factories import make_user
from apikeys.models import APIKey
from apikeys.tests.factories import make_key
from common.sealing import SealError, kek_id
from config.management.commands.rotate_keys import STEPS
from gateway.models import Endpoint
from gateway.services import set_endpoint, signing_key_of
from marketplace.tests.factories import make_model
from notifications.models import Message
from notifications.services import notify

pytestmark = pytest.mark.django_db

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


def rotate() -> str:
    said = io.StringIO()
    call_command("rotate_keys", stdout=said)
    return said.getvalue()


def code_of(secret: str) -> str:
    return format_hotp_value(hotp_value(secret, next(iter(yield_hotp_counters_from_time()))))


def sealed_values() -> list[bytes]:
    endpoint, message = Endpoint.objects.get(), Message.objects.get()
    factors = [value for factor in Authenticator.objects.all() for value in factor.data.values()]
    return [
        bytes(endpoint.sealed_secret),
        bytes(endpoint.sealed_signing_key),
        bytes(message.payload),
        bytes(RefreshToken.objects.exclude(sealed=None).get().sealed),
        *(bytes.fromhex(value) for value in factors if isinstance(value, str)),
    ]


def test_everything_comes_under_the_new_keys_and_stays_what_it_was(settings):
    settings.OUTBOUND_ALLOWED_NETWORKS = ["127.0.0.1/32"]
    settings.OUTBOUND_ALLOW_HTTP = True
    settings.KEY_ENCRYPTION_KEYS = {"k1": b"1" * 32}
    settings.KEY_PEPPERS = {"p1": b"1" * 32}
    user = make_user()
    make_key(user=user)
    endpoint = set_endpoint(ai_model=make_model(), url="http://127.0.0.1/x", protocol="json", secret="s3cret")
    signing_key = signing_key_of(endpoint)
    notify(to="ada@example.org", kind="accounts.verify_email", payload={"code": "ABC234"})
    pair = accounts.open_family(user=user, client="c")
    successor = accounts.rotate(refresh=pair.refresh, client="c")[1].refresh
    TOTP.activate(user, SECRET)
    codes = RecoveryCodes.activate(user).generate_codes()

    settings.KEY_ENCRYPTION_KEYS = {"k2": b"2" * 32, "k1": b"1" * 32}
    settings.KEY_PEPPERS = {"p2": b"2" * 32, "p1": b"1" * 32}
    rotate()
    settings.KEY_ENCRYPTION_KEYS = {"k2": b"2" * 32}

    values = sealed_values()
    assert len(values) == 6
    assert {kek_id(value) for value in values} == {"k2"}
    assert set(APIKey.objects.values_list("pepper_id", flat=True)) == {"p2"}
    endpoint.refresh_from_db()
    assert signing_key_of(endpoint) == signing_key
    assert accounts.rotate(refresh=pair.refresh, client="c")[1].refresh == successor
    app, recovery = Authenticator.objects.order_by("-type")
    assert app.wrap().validate_code(code_of(SECRET))
    assert recovery.wrap().validate_code(codes[0])
    assert rotate().count(": 0 ") == len(STEPS), "the second time there is nothing to do"


def test_a_value_under_a_key_that_is_gone_is_told(settings):
    settings.KEY_ENCRYPTION_KEYS = {"k1": b"1" * 32}
    TOTP.activate(make_user(), SECRET)
    settings.KEY_ENCRYPTION_KEYS = {"k2": b"2" * 32}
    with pytest.raises(CommandError, match="second factors"):
        rotate()


def test_an_authenticator_app_in_somebody_elses_row_opens_nothing():
    thief, victim = make_user(), make_user()
    TOTP.activate(thief, SECRET)
    TOTP.activate(victim, "MFRGGZDFMZTWQ2LKMFRGGZDFMZTWQ2LK")
    stolen = Authenticator.objects.get(user=thief).data
    Authenticator.objects.filter(user=victim).update(data=stolen)

    with pytest.raises(SealError):
        Authenticator.objects.get(user=victim).wrap().validate_code(code_of(SECRET))
    assert Authenticator.objects.get(user=thief).wrap().validate_code(code_of(SECRET))


def test_a_second_factor_is_never_stored_open():
    user = make_user()
    TOTP.activate(user, SECRET)
    factor = Authenticator.objects.get(user=user)
    factor.data["secret"] = accounts.hold_secret(SECRET)
    factor.save()
    assert Authenticator.objects.values_list("data", flat=True).get() == {"secret": ""}


def test_what_is_left_on_older_keys_is_said_and_fails_the_check(settings):
    def check() -> str:
        said = io.StringIO()
        call_command("rotate_keys", "--check", stdout=said)
        return said.getvalue()

    settings.KEY_ENCRYPTION_KEYS, settings.KEY_PEPPERS = {"k1": b"1" * 32}, {"p1": b"1" * 32}
    make_key(user=make_user())
    notify(to="ada@example.org", kind="accounts.verify_email", payload={"code": "ABC234"})
    assert "API keys: 0 not under" in check()
    settings.KEY_PEPPERS = {"p2": b"2" * 32, "p1": b"1" * 32}
    settings.KEY_ENCRYPTION_KEYS = {"k2": b"2" * 32, "k1": b"1" * 32}
    with pytest.raises(CommandError, match="2 are left"):
        check()
    assert "JWT_SIGNING_KEYS" in rotate()
    check()
