"""Addresses of reviews and reports."""

from django.urls import path

from reviews import api as endpoints
from reviews import views

MODEL = "models/<slug:publisher>/<str:slug>"

pages = [
    path(f"{MODEL}/reviews", views.reviews, name="reviews"),
    path(f"{MODEL}/reviews/<rev:id>", views.review, name="review"),
    path(f"{MODEL}/reviews/<rev:id>/delete", views.delete, name="review-delete"),
    path(f"{MODEL}/reviews/<rev:id>/helpful", views.helpful, name="review-helpful"),
    path(f"{MODEL}/reviews/<rev:id>/reply", views.reply, name="review-reply"),
    path(f"{MODEL}/reviews/<rev:id>/report", views.report, name="review-report"),
    path(f"{MODEL}/report", views.report_model, name="model-report"),
]

api = [
    path("api/models/<str:ref>/reviews", endpoints.Reviews.as_view(), name="reviews"),
    path("api/models/<str:ref>/reviews/<rev:id>", endpoints.OneReview.as_view(), name="review"),
    path("api/models/<str:ref>/reviews/<rev:id>/history", endpoints.History.as_view(), name="review-history"),
    path("api/models/<str:ref>/reviews/<rev:id>/reply", endpoints.Replies.as_view(), name="review-reply"),
    path("api/models/<str:ref>/reviews/<rev:id>/helpful", endpoints.Helpful.as_view(), name="review-helpful"),
    path("api/models/<str:ref>/reviews/<rev:id>/report", endpoints.ReviewReport.as_view(), name="review-report"),
    path("api/models/<str:ref>/report", endpoints.ModelReport.as_view(), name="model-report"),
]
