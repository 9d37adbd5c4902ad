"""Staff see endpoints and calls; both are read-only here."""

from __future__ import annotations

from django.contrib import admin

from common.readonly import ReadOnlyAdmin
from gateway.models import Endpoint, Invocation, SweepMark


@admin.register(Endpoint)
class EndpointAdmin(ReadOnlyAdmin):
    list_display = ["version", "listing", "protocol", "url", "timeout_seconds", "updated_at"]
    list_filter = ["protocol"]
    list_select_related = ["version__ai_model__publisher"]
    search_fields = ["url", "version__ai_model__name"]
    exclude = ["sealed_secret", "sealed_signing_key"]

    @admin.display(description="model")
    def listing(self, endpoint: Endpoint) -> str:
        ai_model = endpoint.version.ai_model
        return f"{ai_model.publisher.slug}/{ai_model.slug}"


@admin.register(Invocation)
class InvocationAdmin(ReadOnlyAdmin):
    list_display = ["public_id", "started_at", "organization", "ai_model", "kind", "state", "http_status", "rule"]
    list_filter = ["state", "kind", "mode", "rule", "is_streamed", "is_demo"]
    list_select_related = ["organization", "ai_model"]
    ordering = ["-id"]


@admin.register(SweepMark)
class SweepMarkAdmin(ReadOnlyAdmin):
    list_display = ["name", "swept_at", "low_water"]
