"""Access tokens, and refresh tokens that rotate."""

import base64
import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import jwt
import pytest
from django.conf import settings
from django.db import connection
from django.db.models import Q

from accounts import services
from accounts.errors import LoginFailed, RefreshTokenInvalid, RefreshTokenReused, TokenExpired, TokenInvalid
from accounts.models import RefreshFamily, RefreshToken, User
from accounts.tests.factories import later, mails_to, make_user
from common.clock import now
from common.ids import encode, uuid7
from common.problems import Problem

ALICE, MALLORY = "a" * 64, "b" * 64


def sign_in(user=None):
    return services.open_family(user=user or make_user(), client=ALICE)


def rotate(refresh, client=ALICE):
    return services.rotate(refresh=refresh, client=client)[1].refresh


def is_dead(refresh):
    try:
        rotate(refresh)
    except (RefreshTokenInvalid, RefreshTokenReused):
        return True
    return False


# --- Access tokens ---

pytestmark = pytest.mark.django_db


def test_an_access_token_names_its_user_for_five_minutes(django_assert_num_queries):
    user = make_user()
    pair = sign_in(user)
    assert pair.expires_in == 300
    with django_assert_num_queries(1):
        assert services.find_bearer(pair.access)[0] == user
    with later("4 minutes 58 seconds"):
        services.find_bearer(pair.access)
    with later("5 minutes 1 second"), pytest.raises(TokenExpired):
        services.find_bearer(pair.access)


def test_what_an_access_token_says():
    user = make_user()
    access = sign_in(user).access
    assert jwt.get_unverified_header(access) == {
        "alg": "HS256",
        "typ": "at+jwt",
        "kid": next(iter(settings.JWT_SIGNING_KEYS)),
    }
    claims = jwt.decode(access, options={"verify_signature": False})
    assert (claims["sub"], claims["sv"], claims["aud"], claims["iss"]) == (
        user.public_id,
        1,
        settings.SITE_URL,
        settings.SITE_URL,
    )
    assert claims["exp"] - claims["iat"] == 300
    assert user.email not in json.dumps(claims)


def test_a_logout_ends_the_access_tokens_of_its_family_alone():
    user = make_user()
    first, second = sign_in(user), sign_in(user)
    services.close_family(refresh=first.refresh)
    with pytest.raises(TokenInvalid):
        services.find_bearer(first.access)
    services.find_bearer(second.access)


def test_a_new_password_and_a_deactivation_end_access_tokens():
    user = make_user()
    access = sign_in(user).access
    services.change_password(user=user, password="a quite new password")
    with pytest.raises(TokenInvalid):
        services.find_bearer(access)
    access = sign_in(user).access
    User.objects.filter(pk=user.pk).update(is_active=False)
    with pytest.raises(TokenInvalid):
        services.find_bearer(access)


def test_a_password_that_changed_meanwhile_opens_nothing():
    user = make_user()
    stale = User.objects.get(pk=user.pk)
    services.change_password(user=user, password="a quite new password")
    with pytest.raises(LoginFailed):
        services.open_family(user=stale, client=ALICE)


def test_a_new_signing_key_logs_nobody_out_until_the_old_one_goes(settings):
    access = sign_in().access
    old = settings.JWT_SIGNING_KEYS
    settings.JWT_SIGNING_KEYS = {"next": b"n" * 32, **old}
    services.find_bearer(access)
    assert jwt.get_unverified_header(sign_in().access)["kid"] == "next"
    settings.JWT_SIGNING_KEYS = {"next": b"n" * 32}
    with pytest.raises(TokenInvalid):
        services.find_bearer(access)


def part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


KEY_ID, KEY = next(iter(settings.JWT_SIGNING_KEYS.items()))
FORGERIES = {
    "alg none": lambda h, c: f"{part({**h, 'alg': 'none'})}.{part(c)}.",
    "alg None": lambda h, c: f"{part({**h, 'alg': 'None'})}.{part(c)}.AA",
    "another algorithm of the same key": lambda h, c: jwt.encode(c, KEY * 2, "HS512", headers=h),
    "another key": lambda h, c: jwt.encode(c, b"k" * 32, "HS256", headers=h),
    "the empty key": lambda h, c: f"{part(h)}.{part(c)}.",
    "no kid": lambda h, c: jwt.encode(c, KEY, "HS256", headers={"typ": h["typ"]}),
    "unknown kid": lambda h, c: jwt.encode(c, KEY, "HS256", headers={**h, "kid": "other"}),
    "kid of another type": lambda h, c: f"{part({**h, 'kid': [KEY_ID]})}.{part(c)}.AA",
    "a key of its own": lambda h, c: jwt.encode(
        c, b"k" * 32, "HS256", headers={**h, "jwk": {"kty": "oct", "k": "a2s"}}
    ),
    "typ of another token": lambda h, c: jwt.encode(c, KEY, "HS256", headers={**h, "typ": "JWT"}),
    "another audience": lambda h, c: jwt.encode({**c, "aud": "https://evil.example"}, KEY, "HS256", headers=h),
    "two audiences": lambda h, c: jwt.encode({**c, "aud": [c["aud"], "x"]}, KEY, "HS256", headers=h),
    "another issuer": lambda h, c: jwt.encode({**c, "iss": "https://evil.example"}, KEY, "HS256", headers=h),
    "another type": lambda h, c: jwt.encode({**c, "token_type": "refresh"}, KEY, "HS256", headers=h),
    "another session version": lambda h, c: jwt.encode({**c, "sv": c["sv"] + 1}, KEY, "HS256", headers=h),
    "no session version": lambda h, c: jwt.encode({k: v for k, v in c.items() if k != "sv"}, KEY, "HS256", headers=h),
    "no family": lambda h, c: jwt.encode({k: v for k, v in c.items() if k != "sid"}, KEY, "HS256", headers=h),
    "a family that is none": lambda h, c: jwt.encode({**c, "sid": encode("fam", uuid7())}, KEY, "HS256", headers=h),
    "a user that is none": lambda h, c: jwt.encode({**c, "sub": encode("usr", uuid7())}, KEY, "HS256", headers=h),
    "a bare id": lambda h, c: jwt.encode({**c, "sub": "1"}, KEY, "HS256", headers=h),
    "no end": lambda h, c: jwt.encode({k: v for k, v in c.items() if k != "exp"}, KEY, "HS256", headers=h),
    "an endless end": lambda h, c: jwt.encode({**c, "exp": 10**30}, KEY, "HS256", headers=h),
    "an end that is text": lambda h, c: jwt.encode({**c, "exp": "never"}, KEY, "HS256", headers=h),
    "a beginning that is text": lambda h, c: jwt.encode({**c, "iat": "now"}, KEY, "HS256", headers=h),
    "no id": lambda h, c: jwt.encode({k: v for k, v in c.items() if k != "jti"}, KEY, "HS256", headers=h),
    "changed claims": lambda h, c: ".".join([part(h), part({**c, "sv": 1, "x": 1}), "AAAA"]),
    "noise": lambda h, c: "a.b.c",
    "nothing": lambda h, c: "",
    "not ASCII": lambda h, c: "ä.ö.ü",
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forged_access_token_is_refused(forge):
    access = sign_in().access
    header, claims = jwt.get_unverified_header(access), jwt.decode(access, options={"verify_signature": False})
    assert services.find_bearer(jwt.encode(claims, KEY, "HS256", headers=header))
    with pytest.raises(TokenInvalid):
        services.find_bearer(forge(header, claims))


def test_the_access_token_of_one_family_serves_no_other_user():
    mine, theirs = sign_in(), sign_in()
    claims = [jwt.decode(pair.access, options={"verify_signature": False}) for pair in (mine, theirs)]
    header = jwt.get_unverified_header(mine.access)
    with pytest.raises(TokenInvalid):
        services.find_bearer(jwt.encode({**claims[0], "sid": claims[1]["sid"]}, KEY, "HS256", headers=header))


# --- Refresh tokens ---


def test_a_refresh_token_is_used_up_by_its_successor():
    user = make_user()
    first = sign_in(user).refresh
    second = rotate(first)
    third = rotate(second)
    assert len({first, second, third}) == 3
    tokens = RefreshToken.objects.filter(family__user=user)
    assert (tokens.count(), tokens.filter(used_at=None).count()) == (3, 1)
    assert not any(refresh.encode() in bytes(t.digest) for t in tokens for refresh in (first, second, third))


def test_the_same_client_gets_the_same_successor_for_ten_seconds():
    first = sign_in().refresh
    second = rotate(first)
    assert rotate(first) == second
    with later("9 seconds"):
        assert rotate(first) == second
    assert RefreshToken.objects.filter(parent__isnull=False).count() == 1
    rotate(second)


@pytest.mark.parametrize(
    ("client", "interval"), [(MALLORY, ""), (ALICE, "11 seconds")], ids=["another client", "too late"]
)
def test_any_other_second_use_ends_the_family_and_is_told(client, interval):
    user = make_user()
    other = sign_in(user).refresh
    pair = sign_in(user)
    second = services.rotate(refresh=pair.refresh, client=ALICE)[1]
    with later(interval), pytest.raises(RefreshTokenReused):
        rotate(pair.refresh, client)
    assert is_dead(second.refresh)
    with pytest.raises(TokenInvalid):
        services.find_bearer(second.access)
    with later("1 minute"):
        [message] = mails_to(user.email)
    assert "was ended" in message.subject
    assert not is_dead(other)
    with pytest.raises(RefreshTokenInvalid):
        rotate(pair.refresh)
    assert len(mails_to(user.email)) == 1  # told once


def test_a_token_whose_successor_was_used_is_a_replay_at_once():
    first = sign_in().refresh
    second = rotate(first)
    third = rotate(second)
    with pytest.raises(RefreshTokenReused):
        rotate(first)
    assert is_dead(third)


def test_an_expired_token_is_refused_and_a_spent_expired_one_is_a_replay():
    first = sign_in().refresh
    with later("30 days 1 second"), pytest.raises(RefreshTokenInvalid):
        rotate(first)
    with later("29 days"):
        second = rotate(first)
    with later("40 days"):
        with pytest.raises(RefreshTokenReused):
            rotate(first)
        assert is_dead(second)


@pytest.mark.parametrize("refresh", ["", "x", "agr_rt_" + "A" * 43, "\0", "ä"])
def test_an_unknown_refresh_token_is_refused(refresh):
    with pytest.raises(RefreshTokenInvalid):
        rotate(refresh)
    services.close_family(refresh=refresh)


def test_logout_new_password_and_deactivation_end_refresh_tokens():
    user = make_user()
    pair = sign_in(user)
    services.close_family(refresh=pair.refresh)
    services.close_family(refresh=pair.refresh)
    assert is_dead(pair.refresh)
    assert RefreshFamily.objects.get(user=user).reason == "logout"
    pair = sign_in(user)
    services.change_password(user=user, password="a quite new password")
    assert is_dead(pair.refresh)
    pair = sign_in(user)
    successor = rotate(pair.refresh)
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert is_dead(successor)
    assert is_dead(pair.refresh)


def test_a_sealed_successor_is_forgotten_after_its_grace():
    first = sign_in().refresh
    rotate(first)
    with later("11 seconds"):
        services.prune_codes()
    assert not RefreshToken.objects.exclude(sealed=None).exists()


def at_once(count, work):
    """Run `work(i)` in as many threads, started together; their results, problems by the name of their class."""
    barrier = threading.Barrier(count)

    def run(i):
        barrier.wait()
        try:
            return work(i)
        except Problem as problem:
            return type(problem).__name__
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


@pytest.mark.django_db(transaction=True)
def test_twenty_refreshes_at_once_make_one_successor():
    for _ in range(5):
        first = sign_in().refresh
        answers = at_once(20, lambda i, first=first: rotate(first))
        assert len(set(answers)) == 1
    assert RefreshToken.objects.filter(parent=None).count() == RefreshToken.objects.exclude(parent=None).count() == 5
    assert not RefreshFamily.objects.exclude(revoked_at=None).exists()


@pytest.mark.django_db(transaction=True)
def test_twenty_clients_with_one_token_make_one_successor_and_end_the_family():
    first = sign_in().refresh
    answers = Counter(at_once(20, lambda i: rotate(first, f"{i:064}")))
    successors = [answer for answer in answers if answer.startswith("agr_rt_")]
    assert len(successors) == 1
    assert answers[successors[0]] == 1
    assert answers["RefreshTokenReused"] >= 1
    assert is_dead(successors[0])


@pytest.mark.django_db(transaction=True)
def test_a_new_password_leaves_no_token_alive_however_they_meet():
    for _ in range(5):
        user = make_user()
        refresh = sign_in(user).refresh

        def work(i, user=user, refresh=refresh):
            if i == 0:
                services.change_password(user=User.objects.get(pk=user.pk), password="a quite new password")
                return None
            return sign_in(User.objects.get(pk=user.pk)) if i > 4 else services.rotate(refresh=refresh, client=ALICE)[1]

        pairs = [answer for answer in at_once(8, work) if isinstance(answer, services.TokenPair)]
        version = User.objects.get(pk=user.pk).session_version
        for pair in pairs:
            if jwt.decode(pair.access, options={"verify_signature": False})["sv"] < version:
                assert is_dead(pair.refresh)
                with pytest.raises(TokenInvalid):
                    services.find_bearer(pair.access)


@pytest.mark.django_db(transaction=True)
def test_tries_at_a_code_are_counted_however_many_come_at_once():
    user = make_user()
    code = services.issue_code(user=user, purpose="login", email=user.email, at=user.created_at.replace(year=2100))

    def guess(i):
        services.claim_code(user=user, purpose="login", email=user.email, code="AAAAAAAA" if i else code)
        return "in"

    answers = Counter(at_once(12, guess))
    assert user.email_codes.get().attempts <= 5
    assert answers["in"] <= 1


@pytest.mark.django_db(transaction=True)
def test_one_code_lets_one_in():
    user = make_user()
    code = services.issue_code(user=user, purpose="login", email=user.email, at=user.created_at.replace(year=2100))

    def claim(i):
        services.claim_code(user=user, purpose="login", email=user.email, code=code)
        return "in"

    assert Counter(at_once(5, claim)) == {"in": 1, "CodeInvalid": 4}


@pytest.mark.django_db(transaction=True)
def test_signing_up_twice_at_once_makes_one_account():
    def register(i):
        services.register_user(email="twice@example.org", password="correct horse battery", name="Ada")

    assert at_once(8, register) == [None] * 8
    assert User.objects.count() == 1


def test_what_is_asked_at_every_guess_and_refresh_reads_an_index():
    user = make_user()
    pairs = [sign_in(user) for _ in range(3)]
    RefreshFamily.objects.bulk_create(RefreshFamily(user=user, client=f"{n:064}") for n in range(2000))
    family = RefreshFamily.objects.filter(client=ALICE).order_by("id").first()
    at = now()
    RefreshToken.objects.bulk_create(
        RefreshToken(family=family, digest=uuid7().bytes * 2, used_at=at, expires_at=at + timedelta(days=n % 30 + 1))
        for n in range(2000)
    )
    rotate(pairs[0].refresh)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE accounts_refreshfamily; ANALYZE accounts_refreshtoken")
    known = RefreshFamily.objects.filter(Q(revoked_at=None) | Q(reason="logout"), user=user, client=MALLORY)
    assert "refresh_family_of_client" in known.explain()
    assert "refresh_token_sealed" in RefreshToken.objects.filter(family=family).exclude(sealed=None).explain()
    assert "refresh_token_by_end" in RefreshToken.objects.filter(expires_at__lt=at).explain()
