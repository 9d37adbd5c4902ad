"""The pages about oneself and one's organizations. Signing up and in is allauth's."""

from accounts.views.developer import developer
from accounts.views.invitations import answer_invitation, change_invitation
from accounts.views.members import leave, member, members, remove, transfer
from accounts.views.organizations import close, new_organization, organization, switch
from accounts.views.profile import profile

__all__ = [
    "answer_invitation",
    "change_invitation",
    "close",
    "developer",
    "leave",
    "member",
    "members",
    "new_organization",
    "organization",
    "profile",
    "remove",
    "switch",
    "transfer",
]
