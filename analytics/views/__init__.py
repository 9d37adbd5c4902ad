"""The pages: usage, the request log, one request."""

from analytics.views.limits import budget_words
from analytics.views.receipt import request_page
from analytics.views.requests import requests_page
from analytics.views.usage import usage_page

__all__ = ["budget_words", "request_page", "requests_page", "usage_page"]
