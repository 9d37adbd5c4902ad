"""/api/auth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.conf import settings
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import services
from accounts.errors import (
    AlreadyInvited,
    AlreadyMember,
    InvitationInvalid,
    InvitationNotYours,
    LastOwner,
    OrganizationInUse,
    PersonalOrganization,
)
from accounts.models import Invitation, Membership, User
from accounts.serializers import (
    DeveloperIn,
    DeveloperOut,
    InvitationIn,
    InvitationOut,
    InvitationTokenIn,
    LoginCodeConfirmIn,
    LoginCodeIn,
    LoginCodeOut,
    LoginIn,
    MemberOut,
    MemberPatch,
    OrganizationDetailOut,
    OrganizationIn,
    OrganizationPatch,
    PasswordResetConfirmIn,
    PasswordResetIn,
    PasswordResetOut,
    RefreshIn,
    RegisterIn,
    RegisterOut,
    TokenPairOut,
    TransferIn,
    UserOut,
    UserPatch,
    VerifyEmailIn,
)
from common import limiter
from common.address import client_address
from common.pagination import PageQuery, page_response
from common.problems import FieldError, RateLimited, ValidationFailed
from common.rest import APIView, Nothing


class Door(APIView):
    """An endpoint for people who are not known yet: it looks at no credentials, and counts tries."""

    authentication_classes = ()
    max_body_bytes = 16 * 1024

    def limit_account(self, email: str) -> None:
        """Sign-ups and resets for one address, from wherever they come, whether or not there is such an account.

        No header shows this bucket: how full it is would tell whether its owner was here just now.
        """
        account = services.fingerprint(address=email, user_agent="account")
        key = f"account:{type(self).__name__}:{account}"
        decision = limiter.check(key, settings.AUTH_RATE_PER_MINUTE, name="account")
        if not decision.allowed:
            raise RateLimited("Too many tries at this account.", retry_after_seconds=decision.retry_after_seconds)


def client_of(request: Request) -> str:
    """The fingerprint of the client."""
    agent = request.headers.get("User-Agent", "")
    return services.fingerprint(address=client_address(request), user_agent=agent)


def answer_pair(user: User, pair: services.TokenPair) -> Response:
    organization, role = services.resolve_actor(user, None)
    profile = services.profile_of(user=user, organization=organization, role=role)
    return Response(TokenPairOut({"pair": pair, "token_type": "Bearer", "profile": profile}).data)


def answer_login(user: User, client: str) -> Response:
    """Who has a second factor was let in by it."""
    pair = services.open_family(user=user, client=client, has_shown_factor=user.has_second_factor)
    return answer_pair(user, pair)


class Register(Door):
    @extend_schema(operation_id="register", request=RegisterIn, responses={202: RegisterOut}, auth=[])
    def post(self, request: Request) -> Response:
        """Sign up. The answer is the same whether or not the address is taken; a code is in the mail."""
        values = self.read(RegisterIn)
        self.limit_account(values["email"])
        services.register_user(**values)
        return Response({"status": "verification_sent"}, status=202)


class VerifyEmail(Door):
    @extend_schema(operation_id="verify_email", request=VerifyEmailIn, responses=TokenPairOut, auth=[])
    def post(self, request: Request) -> Response:
        """Prove the address by the code in the mail, and be logged in."""
        values = self.read(VerifyEmailIn)
        user = services.verify_email(**values)
        return answer_pair(user, services.open_family(user=user, client=client_of(request)))


class Login(Door):
    @extend_schema(operation_id="login", request=LoginIn, responses=TokenPairOut, auth=[])
    def post(self, request: Request) -> Response:
        """Log in. Where the account has a second factor, `code` is needed: 401 `mfa_required`."""
        values = self.read(LoginIn)
        client = client_of(request)
        user = services.authenticate_user(**values, client=client)
        return answer_login(user, client)


class LoginCode(Door):
    @extend_schema(operation_id="request_login_code", request=LoginCodeIn, responses={202: LoginCodeOut}, auth=[])
    def post(self, request: Request) -> Response:
        """Mail a code that logs in without the password. The answer is the same for every address."""
        values = self.read(LoginCodeIn)
        self.limit_account(values["email"])
        services.request_login_code(email=values["email"])
        return Response({"status": "code_sent"}, status=202)


class LoginCodeConfirm(Door):
    @extend_schema(operation_id="confirm_login_code", request=LoginCodeConfirmIn, responses=TokenPairOut, auth=[])
    def post(self, request: Request) -> Response:
        """Log in by the code in the mail; 401 `mfa_required` where the account has a second factor as well, for which
        the same code is good again."""
        values = self.read(LoginCodeConfirmIn)
        client = client_of(request)
        user = services.authenticate_by_code(**values, client=client)
        return answer_login(user, client)


class Refresh(Door):
    @extend_schema(operation_id="refresh", request=RefreshIn, responses=TokenPairOut, auth=[])
    def post(self, request: Request) -> Response:
        """A new pair for a refresh token, which works once: a second use ends the whole chain."""
        values = self.read(RefreshIn)
        return answer_pair(*services.rotate(refresh=values["refresh"], client=client_of(request)))


class Logout(Door):
    @extend_schema(operation_id="logout", request=RefreshIn, responses={204: None}, auth=[])
    def post(self, request: Request) -> Response:
        """End this sign-in: its refresh and access tokens. Repeating it changes nothing."""
        services.close_family(refresh=self.read(RefreshIn)["refresh"])
        return Response(status=204)


class PasswordReset(Door):
    @extend_schema(
        operation_id="request_password_reset", request=PasswordResetIn, responses={202: PasswordResetOut}, auth=[]
    )
    def post(self, request: Request) -> Response:
        """Mail a link that sets a new password. The answer is the same for every address."""
        values = self.read(PasswordResetIn)
        self.limit_account(values["email"])
        services.request_password_reset(email=values["email"])
        return Response({"status": "reset_sent"}, status=202)


class PasswordResetConfirm(Door):
    @extend_schema(
        operation_id="confirm_password_reset", request=PasswordResetConfirmIn, responses={204: None}, auth=[]
    )
    def post(self, request: Request) -> Response:
        """Set a new password by the token in the link (its last part). All sessions and tokens end."""
        services.reset_password(**self.read(PasswordResetConfirmIn))
        return Response(status=204)


class Me(APIView):
    def answer(self, user: User) -> Response:
        actor = self.actor
        return Response(
            UserOut(services.profile_of(user=user, organization=actor.organization, role=actor.role or "")).data
        )

    @extend_schema(operation_id="get_me", responses=UserOut)
    def get(self, request: Request) -> Response:
        """Who is calling, and for which organization. `api_keys` are the caller's own keys there."""
        return self.answer(self.actor.user)

    @extend_schema(operation_id="change_me", request=UserPatch, responses=UserOut)
    def patch(self, request: Request) -> Response:
        values = self.read(UserPatch)
        user = self.actor.user
        if values:
            services.update_profile(user=user, **values)
        return self.answer(user)


class BecomeDeveloper(APIView):
    @extend_schema(operation_id="become_developer", request=DeveloperIn, responses=DeveloperOut)
    def post(self, request: Request) -> Response:
        """Ask to publish models. Granted by the staff, or at once where the site says so. Repeating it is harmless."""
        user = self.actor.user
        asked = services.request_developer_role(user=user, **self.read(DeveloperIn))
        status = "requested" if user.role == User.PlatformRole.CONSUMER else "granted"
        facts = {"status": status, "role": user.role, "requested_at": asked.created_at if asked else None}
        return Response(DeveloperOut(facts).data)


# --- Organizations ---


class OfOrganization(APIView):
    """Below `/api/organizations/{id}`: for the people in it. For others it is not there."""

    def find(self, id: UUID) -> Membership:
        """The caller's place in it; what they may do is decided by their role there, not by the active one."""
        return get_object_or_404(Membership.objects.of_user(self.actor.user), organization=id)

    def find_with(self, right: str, id: UUID) -> Membership:
        place = self.find(id)
        services.require_right(place.role, right)
        return place


def organizations_out(places: Sequence[Membership]) -> Any:
    limits = services.spend_limits_of([place.organization_id for place in places])
    return OrganizationDetailOut(places, many=True, context={"spend_limits": limits}).data


class Organizations(APIView):
    query = {"GET": PageQuery}

    @extend_schema(operation_id="list_organizations", responses=OrganizationDetailOut(many=True))
    def get(self, request: Request) -> Response:
        """The caller's organizations, the last one joined first. Which one a request acts for says the header
        `Agorai-Organization`."""
        places = Membership.objects.of_user(self.actor.user)
        return page_response(self, places, order=["-id"], serialize=organizations_out)

    @extend_schema(operation_id="create_organization", request=OrganizationIn, responses={201: OrganizationDetailOut})
    def post(self, request: Request) -> Response:
        """Make an organization that several people share. Its first owner is the caller."""
        values = self.read(OrganizationIn)
        user = self.actor.user
        made = services.start_organization(by=user, **values)
        place = services.find_membership(organization=made, user=user)
        return Response(organizations_out([place])[0], status=201)


class Organization(OfOrganization):
    problems = (OrganizationInUse, PersonalOrganization)

    @extend_schema(operation_id="get_organization", responses=OrganizationDetailOut)
    def get(self, request: Request, id: UUID) -> Response:
        return Response(organizations_out([self.find(id)])[0])

    @extend_schema(operation_id="change_organization", request=OrganizationPatch, responses=OrganizationDetailOut)
    def patch(self, request: Request, id: UUID) -> Response:
        """Change the name or the time zone (owner, admin), or the spend limit (also billing); null lifts it."""
        place = self.find_with("limits.change", id)  # whoever may change the rest may this, too
        values = self.read(OrganizationPatch)
        if values.keys() - {"spend_limit"}:
            services.require_right(place.role, "organization.change")
        services.change_organization(organization=place.organization, changes=values)
        return Response(organizations_out([place])[0])

    @extend_schema(operation_id="close_organization", responses={204: None})
    def delete(self, request: Request, id: UUID) -> Response:
        """Close it for good. Keys must be revoked, models archived and calls ended before; 409 says what is left."""
        place = self.find_with("organization.close", id)
        services.close_organization(organization=place.organization, by=self.actor.user)
        return Response(status=204)


class Members(OfOrganization):
    query = {"GET": PageQuery}

    @extend_schema(operation_id="list_members", responses=MemberOut(many=True))
    def get(self, request: Request, id: UUID) -> Response:
        """Who is in the organization, the newest first."""
        found = Membership.objects.of_organization(self.find(id).organization)
        return page_response(self, found, order=["-id"], serialize=MemberOut)


class Member(OfOrganization):
    problems = (LastOwner, PersonalOrganization)

    def find_member(self, id: UUID, member_id: UUID) -> Membership:
        place = self.find(id)
        found = get_object_or_404(Membership.objects.of_organization(place.organization), pk=member_id)
        services.require_right(place.role, "members.change")
        return found

    @extend_schema(operation_id="change_member", request=MemberPatch, responses=MemberOut)
    def patch(self, request: Request, id: UUID, member_id: UUID) -> Response:
        """Give somebody another role. What the keys that they made may do changes with it, within a second."""
        found = self.find_member(id, member_id)
        role = self.read(MemberPatch)["role"]
        return Response(MemberOut(services.change_role(membership=found, role=role, by=self.actor.user)).data)

    @extend_schema(operation_id="remove_member", responses={204: None})
    def delete(self, request: Request, id: UUID, member_id: UUID) -> Response:
        """Take somebody out. The keys that they made in this organization end with it, within a second."""
        services.remove_member(membership=self.find_member(id, member_id), by=self.actor.user)
        return Response(status=204)


class Invitations(OfOrganization):
    query = {"GET": PageQuery}
    problems = (AlreadyInvited, AlreadyMember)

    @extend_schema(operation_id="list_invitations", responses=InvitationOut(many=True))
    def get(self, request: Request, id: UUID) -> Response:
        """Invitations that nobody has answered or taken back, the newest first, expired ones too."""
        place = self.find_with("members.invite", id)
        found = Invitation.objects.of_organization(place.organization).unanswered()
        return page_response(self, found, order=["-id"], serialize=InvitationOut)

    @extend_schema(operation_id="invite_member", request=InvitationIn, responses={201: InvitationOut})
    def post(self, request: Request, id: UUID) -> Response:
        """Mail a link that works for 7 days. The answer is the same whether or not the address has an account."""
        place = self.find_with("members.invite", id)
        values = self.read(InvitationIn)
        made = services.invite_member(organization=place.organization, by=self.actor.user, **values)
        return Response(InvitationOut(made).data, status=201)


class OneInvitation(OfOrganization):
    def find_invitation(self, id: UUID, invitation_id: UUID) -> Invitation:
        place = self.find_with("members.invite", id)
        found = Invitation.objects.of_organization(place.organization).unanswered()
        return get_object_or_404(found.select_related("organization"), pk=invitation_id)

    @extend_schema(operation_id="revoke_invitation", responses={204: None})
    def delete(self, request: Request, id: UUID, invitation_id: UUID) -> Response:
        """Take the invitation back; its link no longer works."""
        services.revoke_invitation(invitation=self.find_invitation(id, invitation_id), by=self.actor.user)
        return Response(status=204)


class InvitationMail(OneInvitation):
    http_method_names = ["post"]

    @extend_schema(operation_id="resend_invitation", request=None, responses=InvitationOut)
    def post(self, request: Request, id: UUID, invitation_id: UUID) -> Response:
        """Mail a fresh link, good for another 7 days. The former one no longer works."""
        invitation = self.find_invitation(id, invitation_id)
        self.read(Nothing)
        found = services.resend_invitation(invitation=invitation, by=self.actor.user)
        return Response(InvitationOut(found).data)


class InvitationAnswer(APIView):
    problems = (InvitationInvalid, InvitationNotYours)

    @extend_schema(operation_id="accept_invitation", request=InvitationTokenIn, responses=OrganizationDetailOut)
    def post(self, request: Request) -> Response:
        """Take the place that was offered. The account must have verified the address that the mail went to."""
        place = services.accept_invitation(user=self.actor.user, **self.read(InvitationTokenIn))
        return Response(organizations_out([place])[0])


class Leave(OfOrganization):
    problems = (LastOwner, PersonalOrganization)

    @extend_schema(operation_id="leave_organization", request=None, responses={204: None})
    def post(self, request: Request, id: UUID) -> Response:
        """Leave the organization. The keys that one made there end with it; its last owner cannot leave."""
        organization = self.find(id).organization
        self.read(Nothing)
        services.leave_organization(organization=organization, user=self.actor.user)
        return Response(status=204)


class Transfer(OfOrganization):
    problems = (PersonalOrganization,)

    @extend_schema(operation_id="transfer_ownership", request=TransferIn, responses=OrganizationDetailOut)
    def post(self, request: Request, id: UUID) -> Response:
        """Make another member the owner in one's own place; one stays as admin."""
        place = self.find_with("owners.change", id)
        values = self.read(TransferIn)
        target = Membership.objects.of_organization(place.organization).filter(pk=values["member_id"]).first()
        if target is None:
            detail = "Nobody with this id is in the organization."
            raise ValidationFailed(errors=[FieldError(pointer="/member_id", code="unknown_member", detail=detail)])
        services.transfer_ownership(organization=place.organization, by=self.actor.user, to=target)
        return Response(organizations_out([self.find(id)])[0])
