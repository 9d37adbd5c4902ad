from django.urls import path

from notifications import api as endpoints
from notifications import views

pages = [
    path("dev/mail", views.dev_mail, name="dev-mail"),
    path("dev/mail/<str:name>", views.dev_mail_message, name="dev-mail-message"),
]
api = [
    path("api/webhooks/secret", endpoints.WebhookSecret.as_view(), name="webhook-secret"),
]
