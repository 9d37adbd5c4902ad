"""Addresses of accounts. Signing up and in by pages is allauth's, under /accounts/."""

from django.urls import path

from accounts import api as endpoints
from accounts import views
from accounts.views import farewell, identity, security

pages = [
    path("settings/profile", views.profile, name="profile"),
    path("settings/developer", views.developer, name="developer"),
    path("settings/sessions", security.sessions, name="sessions"),
    path("settings/security-log", security.security_log, name="security-log"),
    path("settings/export", farewell.export, name="account-export"),
    path("settings/delete", farewell.delete, name="account-delete"),
    path("accounts/reopen/<str:token>", farewell.reopen, name="reopen"),
    path("accounts/not-me/<str:token>", security.not_me, name="not-me"),
    path("settings/organization", views.organization, name="organization"),
    path("settings/organization/close", views.close, name="organization-close"),
    path("settings/members", views.members, name="members"),
    path("settings/members/leave", views.leave, name="members-leave"),
    path("settings/members/transfer", views.transfer, name="members-transfer"),
    path("settings/members/<mbr:id>", views.member, name="member"),
    path("settings/members/<mbr:id>/remove", views.remove, name="member-remove"),
    path("settings/invitations/<ivt:id>", views.change_invitation, name="invitation-change"),
    path("organizations/new", views.new_organization, name="organization-new"),
    path("organizations/switch", views.switch, name="organization-switch"),
    path("invitations/<str:token>", views.answer_invitation, name="invitation"),
    # In place of allauth's own.
    path("accounts/oidc/<str:provider_id>/login/", identity.leave_for_provider, name="openid_connect_login"),
    path("accounts/oidc/<str:provider_id>/login/callback/", identity.come_back, name="openid_connect_callback"),
]

api = [
    path("api/auth/register", endpoints.Register.as_view(), name="register"),
    path("api/auth/verify-email", endpoints.VerifyEmail.as_view(), name="verify-email"),
    path("api/auth/login", endpoints.Login.as_view(), name="login"),
    path("api/auth/login/code", endpoints.LoginCode.as_view(), name="login-code"),
    path("api/auth/login/code/confirm", endpoints.LoginCodeConfirm.as_view(), name="login-code-confirm"),
    path("api/auth/refresh", endpoints.Refresh.as_view(), name="refresh"),
    path("api/auth/logout", endpoints.Logout.as_view(), name="logout"),
    path("api/auth/password/reset", endpoints.PasswordReset.as_view(), name="password-reset"),
    path("api/auth/password/reset/confirm", endpoints.PasswordResetConfirm.as_view(), name="password-reset-confirm"),
    path("api/auth/me", endpoints.Me.as_view(), name="me"),
    path("api/auth/become-developer", endpoints.BecomeDeveloper.as_view(), name="become-developer"),
    path("api/organizations", endpoints.Organizations.as_view(), name="organizations"),
    path("api/organizations/<org:id>", endpoints.Organization.as_view(), name="organization"),
    path("api/organizations/<org:id>/members", endpoints.Members.as_view(), name="members"),
    path("api/organizations/<org:id>/members/<mbr:member_id>", endpoints.Member.as_view(), name="member"),
    path("api/organizations/<org:id>/invitations", endpoints.Invitations.as_view(), name="invitations"),
    path(
        "api/organizations/<org:id>/invitations/<ivt:invitation_id>",
        endpoints.OneInvitation.as_view(),
        name="invitation",
    ),
    path(
        "api/organizations/<org:id>/invitations/<ivt:invitation_id>/resend",
        endpoints.InvitationMail.as_view(),
        name="invitation-resend",
    ),
    path("api/organizations/<org:id>/leave", endpoints.Leave.as_view(), name="organization-leave"),
    path("api/organizations/<org:id>/transfer", endpoints.Transfer.as_view(), name="organization-transfer"),
    path("api/invitations/accept", endpoints.InvitationAnswer.as_view(), name="invitation-accept"),
]
