"""The pages: usage, the request log, one request; the Stats of a model."""

from analytics.views.limits import budget_words
from analytics.views.receipt import request_page
from analytics.views.requests import requests_page
from analytics.views.stats import model_stats, model_stats_markdown
from analytics.views.usage import usage_page

__all__ = ["budget_words", "model_stats", "model_stats_markdown", "request_page", "requests_page", "usage_page"]
