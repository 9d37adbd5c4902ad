"""The pages that belong to no app: the start page and the choice of theme."""

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render, resolve_url
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_safe

from config.context import THEMES
from config.home import start_page
from config.overview import overview
from config.preferences import remember


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """What is here and how to start; for people who are logged in, where they were."""
    if request.user.is_authenticated:
        return overview(request)
    return render(request, "config/home.html", start_page())


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
    remember(response, "theme", "" if value == "auto" else value)
    return response
