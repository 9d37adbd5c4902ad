"""The pages that belong to no app: the start page, the choice of theme, the style guide."""

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_safe

from config.context import THEMES

YEAR_SECONDS = 365 * 24 * 3600


@require_safe
def theme(request: HttpRequest, value: str) -> HttpResponse:
    """Keep "light" or "dark" in a cookie ("auto" forgets it) and go back to where the visitor was."""
    if value not in (*THEMES, "auto"):
        raise Http404
    target = request.GET.get("next", "")
    if not url_has_allowed_host_and_scheme(
        target, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    ):
        target = resolve_url("home")
    response = HttpResponseRedirect(target)
    if value == "auto":
        response.delete_cookie("theme", samesite="Lax")
    else:
        # Not HttpOnly: app.js changes it without a new page.
        response.set_cookie("theme", value, max_age=YEAR_SECONDS, samesite="Lax", secure=settings.IS_HTTPS)
    return response
