"""For pages of apps above: a call as the API shows it."""

import json

from django import template

from gateway.models import Invocation
from gateway.serializers import ReceiptOut

register = template.Library()


@register.simple_tag
def receipt_tabs(call: Invocation) -> list[dict[str, str]]:
    """What `GET /v1/requests/{id}` answers, for `components/code.html`. The call comes with what it belongs to."""
    source = json.dumps(ReceiptOut(call).data, indent=2, ensure_ascii=False)
    return [{"label": "JSON", "language": "json", "source": source}]
