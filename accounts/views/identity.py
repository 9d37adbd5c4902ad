"""To the provider through which people log in, and back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from urllib.parse import urlsplit

from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.helpers import render_authentication_error
from allauth.socialaccount.providers.openid_connect import views as allauth
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseRedirectBase
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from requests import RequestException

logger = logging.getLogger(__name__)


@never_cache
def leave_for_provider(request: HttpRequest, provider_id: str) -> HttpResponse:
    """What allauth would redirect to, as a page that leads on by itself.

    Chromium asks `form-action` about every redirect that follows a form: to the provider's own address, which need not
    be on the host of its issuer, and from there to wherever the provider sends people. A page ends that chain, so the
    policy of this site names nobody else.
    """
    answer = _answer(allauth.login, request, provider_id)
    if not isinstance(answer, HttpResponseRedirectBase) or not urlsplit(answer.url).netloc:
        return answer
    provider = get_adapter().get_provider(request, provider_id)
    shown = render(request, "socialaccount/leaving.html", {"address": answer.url, "name": provider.name})
    shown.headers["Refresh"] = f"0; url={answer.url}"
    return shown


@never_cache
def come_back(request: HttpRequest, provider_id: str) -> HttpResponse:
    return _answer(allauth.callback, request, provider_id)


def _answer(view: Callable[..., HttpResponse], request: HttpRequest, provider_id: str) -> HttpResponse:
    """allauth's answer. Where the provider does not say who it is, one that says so, and no fault of ours."""
    try:
        return view(request, provider_id)
    except (RequestException, LookupError) as error:
        logger.warning("The OpenID Connect provider does not say where its log-in is: %s", type(error).__name__)
        provider = get_adapter().get_provider(request, provider_id)
        return render_authentication_error(request, provider, exception=error)
