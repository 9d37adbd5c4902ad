"""Addresses of accounts. Signing up and in by pages is allauth's, under /accounts/."""

from django.urls import path

from accounts import api as endpoints
from accounts import views

pages = [
    path("settings/profile", views.profile, name="profile"),
]

api = [
    path("api/auth/register", endpoints.Register.as_view(), name="register"),
    path("api/auth/verify-email", endpoints.VerifyEmail.as_view(), name="verify-email"),
    path("api/auth/login", endpoints.Login.as_view(), name="login"),
    path("api/auth/refresh", endpoints.Refresh.as_view(), name="refresh"),
    path("api/auth/logout", endpoints.Logout.as_view(), name="logout"),
    path("api/auth/password/reset", endpoints.PasswordReset.as_view(), name="password-reset"),
    path("api/auth/password/reset/confirm", endpoints.PasswordResetConfirm.as_view(), name="password-reset-confirm"),
    path("api/auth/me", endpoints.Me.as_view(), name="me"),
    path("api/auth/become-developer", endpoints.BecomeDeveloper.as_view(), name="become-developer"),
]
