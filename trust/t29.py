"""A session is its owner's alone: nobody chooses its key, sends its forms from elsewhere, reads its cookie, leads it
or a mail to another host, or keeps it after a new password; and what is sensitive asks once more who is there.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from tests.pages.visitor import Visitor
from trust.foreign import EVIL, SITE, at_once, case, person_at, post, try_hosts, try_redirects
from trust.ground import Web
from trust.harness import Context, Result
from trust.http import Client
from trust.registry import Sabotage

PROCESSES = 2
DEAD_SECONDS = 1.0
SENSITIVE = (
    "/accounts/2fa/totp/activate/",
    "/accounts/2fa/webauthn/add/",
    "/accounts/2fa/recovery-codes/generate/",
    "/settings/export",
    "/settings/delete",
)

SABOTAGES = (
    Sabotage(
        "ALLOWED_HOSTS=['*']",
        "config/settings.py",
        "ALLOWED_HOSTS = values.ALLOWED_HOSTS or ",
        'ALLOWED_HOSTS = ["*"] or ',
    ),
    Sabotage("no CSRF check", "config/settings.py", '    "django.middleware.csrf.CsrfViewMiddleware",\n', ""),
    Sabotage(
        "the API believes the cookie without a token",
        "accounts/authentication.py",
        '        if scheme.lower() != "bearer" or token.startswith(API_KEY_BEGINS_WITH):\n            return None\n',
        '        if scheme.lower() != "bearer" and request._request.user.is_authenticated:\n'
        "            return request._request.user, None  # type: ignore[return-value]\n"
        '        if scheme.lower() != "bearer" or token.startswith(API_KEY_BEGINS_WITH):\n            return None\n',
    ),
    Sabotage(
        "a page without a form's token",
        "accounts/views/security.py",
        '@never_cache\n@require_http_methods(["GET", "HEAD", "POST"])\ndef sessions(',
        "@__import__('django.views.decorators.csrf', fromlist=['csrf_exempt']).csrf_exempt\n"
        '@never_cache\n@require_http_methods(["GET", "HEAD", "POST"])\ndef sessions(',
    ),
    Sabotage(
        "scripts read the session",
        "config/settings.py",
        "SESSION_COOKIE_HTTPONLY = True",
        "SESSION_COOKIE_HTTPONLY = False",
    ),
    Sabotage(
        "cookies over plain HTTP",
        "config/settings.py",
        "SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = IS_HTTPS",
        "SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = False",
    ),
    Sabotage(
        "a new password ends no session",
        "accounts/models.py",
        '        value = f"{self.session_version}:{self.password}"\n',
        '        value = "constant"\n',
    ),
    Sabotage(
        "a new password ends no tokens",
        "accounts/services/passwords.py",
        '    revoke_all(user=user, reason="password_changed")\n',
        "",
    ),
    Sabotage(
        "reset links outlive a new password",
        "accounts/services/passwords.py",
        "    codes.cancel_codes(user=user, purpose=EmailCode.Purpose.RESET_PASSWORD, at=now())\n",
        "",
    ),
    Sabotage(
        "logging out everywhere leaves programs alone",
        "accounts/services/tokens.py",
        "    RefreshFamily.objects.filter(user=user, revoked_at=None).update(revoked_at=ClockNow(), reason=reason)\n"
        "    BrowserSession",
        "    BrowserSession",
    ),
    Sabotage(
        "sensitive acts ask nobody",
        "config/settings.py",
        "\nACCOUNT_REAUTHENTICATION_REQUIRED = True",
        "\nACCOUNT_REAUTHENTICATION_REQUIRED = False",
    ),
    Sabotage(
        "after the choice of a theme one is led anywhere",
        "config/views.py",
        "    if not url_has_allowed_host_and_scheme(\n",
        "    if not target or False and url_has_allowed_host_and_scheme(\n",
    ),
    Sabotage(
        "after another organization was chosen, one is led anywhere",
        "accounts/views/organizations.py",
        '    return address if is_ours and address.startswith("/") else ""\n',
        '    return address if is_ours or address else ""\n',
    ),
)


def run(context: Context) -> Result:
    webs = context.ground.webs(PROCESSES)
    parts = (_fixation, _csrf, _flags, _log_out_everywhere, _new_password, try_hosts, try_redirects, _ask_again)
    for part in parts:
        part(context, webs)
    return context.result()


def _is_in(visitor: Visitor, web: Web | None = None) -> bool:
    copy = Visitor(web.url if web is not None else visitor.url, cookies=dict(visitor.cookies))
    return copy.get("/settings/profile").status == 200


# --- Fixation ---


def _fixation(context: Context, webs: list[Web]) -> None:
    planted = "".join(context.random.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=32))
    victim = person_at(webs[0])
    victim.cookies["session"] = planted
    victim.log_in()
    thief = Visitor(webs[0].url, cookies={"session": planted})
    case(context, not _is_in(thief), "a planted session key became a session")
    case(context, victim.cookies["session"] != planted, "a planted session key was kept")

    stranger = Visitor(webs[0].url)  # has a session of the site's own making, and gives it to the victim
    stranger.get("/accounts/2fa/webauthn/login/", X_Requested_With="XMLHttpRequest")
    given = stranger.cookies.get("session", "")
    case(context, bool(given), "a stranger got no session, so that this proves nothing")
    victim = person_at(webs[0])
    victim.cookies["session"] = given
    victim.log_in()
    case(context, victim.cookies["session"] != given, "the session key stays the same over a log-in")
    case(context, not _is_in(stranger), "a session that was given away is logged in with its victim")
    before = victim.cookies["session"]
    post(victim, "/accounts/logout/")
    case(context, not _is_in(Visitor(webs[0].url, cookies={"session": before})), "a session outlives its log-out")


# --- Forms from elsewhere ---


def _csrf(context: Context, webs: list[Web]) -> None:
    """Every address that looks at the cookie, each with no token, a token of somebody else's, and another origin."""
    visitor, other = person_at(webs[0]), person_at(webs[1])
    visitor.log_in()
    other.log_in()
    other.get("/settings/profile")
    stolen = other.cookies.get("csrf", "x" * 32)
    elsewhere = {"Origin": f"https://{EVIL}", "Referer": f"https://{EVIL}/"}
    forgeries: tuple[tuple[dict[str, str], dict[str, str]], ...] = (
        ({}, elsewhere),
        ({"csrfmiddlewaretoken": stolen}, {}),
        ({"csrfmiddlewaretoken": visitor.cookies.get("csrf", "x" * 32)}, elsewhere),
    )

    def forge(given: tuple[str, str, str, int]) -> tuple[str, bool]:
        name, path, method, number = given
        fields, headers = forgeries[number]
        url = webs[number % len(webs)].url
        if name.startswith("api:"):
            headers = headers | {"X_CSRFToken": fields.get("csrfmiddlewaretoken", "")}
            cookie = "; ".join(f"{key}={value}" for key, value in visitor.cookies.items())
            status = Client(url, **headers)(method, path, {"name": "forged"}, Cookie=cookie).status
            is_refused = status in (401, 403)  # 401 where no cookie is looked at
        else:
            status = Visitor(url, cookies=dict(visitor.cookies)).send(method, path, dict(fields), **headers).status
            is_refused = status in (403, 405)  # 405: probes are answered before all else, and change nothing
        return f"{method} {path} ({name}) from elsewhere is answered with {status}", is_refused

    cases = [(*found, number) for found in _addresses() for number in range(len(forgeries))]
    for what, is_refused in at_once(forge, cases):
        case(context, is_refused, what)
    case(context, _is_in(visitor), "a form from elsewhere ended the session")
    context.worst("forged_forms", len(cases))


#: What is sent there is signed, and nothing else is looked at.
SIGNED = ("api:upload",)


def _addresses() -> Iterator[tuple[str, str, str]]:
    """Name, a path, and a method by which something may be changed there. Doors that look at no cookie are left out."""
    from trust.audited import addresses, methods_of

    for name, pattern, view in addresses():
        of_rest = getattr(view, "cls", None)
        if (of_rest is not None and not of_rest.authentication_classes) or name in SIGNED:
            continue
        path = re.sub(r"\(\?P<\w+>[^)]*\)|[\^$]", lambda found: "x" if found[0].startswith("(") else "", pattern)
        path = re.sub(r"<(?:(\w+):)?\w+>", lambda found: _argument(found[1] or "str"), path)
        for method in sorted(methods_of(view)) if of_rest is not None else ["POST"]:
            yield name, path.replace("\\Z", ""), method


def _argument(kind: str) -> str:
    if kind in ("str", "slug", "path"):
        return "x"
    return "1" if kind == "int" else f"{kind}_{'0' * 26}"


# --- Cookies ---


def _flags(context: Context, webs: list[Web]) -> None:
    web = context.ground.start_web(SITE_URL=f"https://{SITE}", ALLOWED_HOSTS=SITE, TRUSTED_PROXIES="1")
    visitor = person_at(web)
    headers = {"Host": SITE, "X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}
    shown = visitor.get("/accounts/login/", **headers)
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', shown.text)
    fields = {"login": visitor.email, "password": visitor.password, "csrfmiddlewaretoken": token[1] if token else ""}
    from_here = {"Origin": f"https://{SITE}", "Referer": f"https://{SITE}/"}
    entered = _set_cookies(web, "/accounts/login/", visitor, fields, headers | from_here)
    wanted = {"__Host-session", "__Host-csrf"}
    case(context, wanted <= entered.keys(), f"the log-in sets the cookies {sorted(entered)}")
    for name, text in entered.items():
        flags = {part.strip().partition("=")[0].lower(): part.strip() for part in text.split(";")[1:]}
        for flag in ("secure", "httponly", "samesite", "path"):
            case(context, flag in flags, f"the cookie {name} has no {flag}")
        case(context, flags.get("path") == "Path=/", f"the cookie {name} is for {flags.get('path')}")
        case(context, "domain" not in flags, f"the cookie {name} goes to other hosts")
        case(context, flags.get("samesite") in ("SameSite=Lax", "SameSite=Strict"), f"{name}: {flags.get('samesite')}")


def _set_cookies(
    web: Web, path: str, visitor: Visitor, fields: dict[str, str], headers: dict[str, str]
) -> dict[str, str]:
    from http.client import HTTPConnection
    from urllib.parse import urlencode

    address = urlsplit(web.url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=60)
    cookies = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    headers = {**headers, "Cookie": cookies, "Content-Type": "application/x-www-form-urlencoded"}
    try:
        connection.request("POST", path, urlencode(fields), headers)
        response = connection.getresponse()
        response.read()
        return {text.partition("=")[0]: text for text in response.headers.get_all("Set-Cookie") or ()}
    finally:
        connection.close()


# --- The end of sessions ---


def _everywhere(webs: list[Web]) -> tuple[Visitor, list[Callable[[], bool]], dict[str, str]]:
    """Somebody at one browser; whether each of their other log-ins still works; and the tokens."""
    here = person_at(webs[0])
    here.log_in()
    here.confirm()
    elsewhere = Visitor(webs[1].url, email=here.email, password=here.password)
    elsewhere.log_in()
    pair = Client(webs[1].url).post("/api/auth/login", {"email": here.email, "password": here.password}).json

    def alive(web: Web) -> Callable[[], bool]:
        return lambda: Client(web.url, pair["access"]).get("/api/auth/me").status == 200

    checks = [*(alive(web) for web in webs), *(lambda web=web: _is_in(elsewhere, web) for web in webs)]
    return here, checks, pair


def _die(context: Context, checks: list[Callable[[], bool]], after: str) -> None:
    """Whatever is asked later than DEAD_SECONDS after it must find nobody, however long an answer takes."""
    began = time.monotonic()
    living = list(checks)
    while living:
        asked = time.monotonic() - began
        living = [check for check in living if check()]
        if living:
            context.worst("last_use_after_seconds", asked)
        if asked > DEAD_SECONDS:
            break
    case(context, not living, f"{len(living)} of {len(checks)} log-ins live on {DEAD_SECONDS:g} s after {after}")


def _log_out_everywhere(context: Context, webs: list[Web]) -> None:
    here, checks, pair = _everywhere(webs)
    case(context, all(check() for check in checks), "not all log-ins worked to begin with")
    answer = post(here, "/settings/sessions")
    case(context, answer.status == 302, f"logging out everywhere else is answered with {answer.status}")
    _die(context, checks, "logging out everywhere else")
    case(context, _is_in(here), "logging out everywhere else ended this session too")
    again = Client(webs[0].url).post("/api/auth/refresh", {"refresh": pair["refresh"]})
    case(context, again.status == 401, f"a refresh token lives on: {again.status}")


def _new_password(context: Context, webs: list[Web]) -> None:
    from accounts import services as accounts
    from accounts.models import User
    from accounts.services import codes
    from common.clock import now

    here, checks, pair = _everywhere(webs)
    user = User.objects.get(email=here.email)
    reset = codes.issue_reset_token(user=user, email=user.email, at=now())
    new = "an altogether new password 7"
    shown = here.get("/accounts/password/change/")
    answer = here.fill(shown, oldpassword=here.password, password1=new, password2=new)
    case(context, answer.status == 302, f"a new password is answered with {answer.status}")
    _die(context, [*checks, lambda: _is_in(here)], "a new password")
    api = Client(webs[1].url)
    again = api.post("/api/auth/refresh", {"refresh": pair["refresh"]})
    case(context, again.status == 401, f"a refresh token outlives a new password: {again.status}")
    used = api.post("/api/auth/password/reset/confirm", {"token": reset, "password": "yet another password 8"})
    case(context, used.status == 422, f"a reset link outlives a new password: {used.status}")
    old = api.post("/api/auth/login", {"email": here.email, "password": here.password})
    case(context, old.status == 401, f"the old password still opens the account: {old.status}")
    case(context, not accounts.is_reset_token_of(user=user, token=reset), "the reset token is still good")


# --- Once more, who is there ---


def _ask_again(context: Context, webs: list[Web]) -> None:
    from notifications.models import Message
    from trust import world

    visitor = person_at(webs[0])
    visitor.log_in()
    for path in SENSITIVE:
        answer = visitor.get(path)
        place = answer.headers.get("location", "")
        asked = answer.status == 302 and "/reauthenticate/" in place
        case(context, asked, f"{path} asks nobody who is there: {answer.status} {place}")
    email = world.new_address()
    place = post(visitor, "/accounts/email/", email=email, action_add="").headers.get("location", "")
    is_told = Message.objects.filter(to_address=email).exists()
    case(context, "/reauthenticate/" in place and not is_told, f"an address is added without asking: {place}")
    shown = visitor.get("/accounts/password/change/")
    if shown.status == 200:
        answer = visitor.fill(
            shown, oldpassword="not my password", password1="new password 123", password2="new password 123"
        )
        case(context, answer.status in (200, 422), f"a password is changed without the old one: {answer.status}")
