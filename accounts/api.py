"""/api/auth."""

from __future__ import annotations

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import services
from accounts.models import User
from accounts.serializers import (
    DeveloperOut,
    LoginIn,
    PasswordResetConfirmIn,
    PasswordResetIn,
    PasswordResetOut,
    RefreshIn,
    RegisterIn,
    RegisterOut,
    TokenPairOut,
    UserOut,
    UserPatch,
    VerifyEmailIn,
)
from common import limiter
from common.address import client_address
from common.problems import RateLimited
from common.rest import APIView


class Door(APIView):
    """An endpoint for people who are not known yet: it looks at no credentials, and counts tries."""

    authentication_classes = ()
    max_body_bytes = 16 * 1024

    def limit_account(self, email: str) -> None:
        """Tries at one account, from wherever they come, whether or not there is such an account.

        No header shows this bucket: how full it is would tell whether its owner was here just now.
        """
        account = services.fingerprint(address=email, user_agent="account")
        key = f"account:{type(self).__name__}:{account}"
        decision = limiter.check(key, settings.AUTH_RATE_PER_MINUTE, name="account")
        if not decision.allowed:
            raise RateLimited("Too many tries at this account.", retry_after_seconds=decision.retry_after_seconds)

    def limit_address(self) -> None:
        """Tries from one address at this endpoint alone; sign-up and login share one bucket (`auth_rate`)."""
        name = type(self).__name__
        self.limit_rate("auth", f"{name}:{client_address(self.request)}", settings.AUTH_RATE_PER_MINUTE)


def client_of(request: Request) -> str:
    """The fingerprint of the client."""
    agent = request.headers.get("User-Agent", "")
    return services.fingerprint(address=client_address(request), user_agent=agent)


def answer_pair(user: User, pair: services.TokenPair) -> Response:
    organization, role = services.resolve_actor(user, None)
    profile = services.profile_of(user=user, organization=organization, role=role)
    return Response(TokenPairOut({"pair": pair, "token_type": "Bearer", "profile": profile}).data)


class Register(Door):
    auth_rate = True

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
        self.limit_address()
        values = self.read(VerifyEmailIn)
        self.limit_account(values["email"])
        user = services.verify_email(**values)
        return answer_pair(user, services.open_family(user=user, client=client_of(request)))


class Login(Door):
    auth_rate = True

    @extend_schema(operation_id="login", request=LoginIn, responses=TokenPairOut, auth=[])
    def post(self, request: Request) -> Response:
        """Log in. Where the account has a second factor, `code` is needed: 401 `mfa_required`."""
        values = self.read(LoginIn)
        self.limit_account(values["email"])
        client = client_of(request)
        user = services.authenticate_user(**values, client=client)
        return answer_pair(user, services.open_family(user=user, client=client))


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
        self.limit_address()
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
        self.limit_address()
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
    @extend_schema(operation_id="become_developer", request=None, responses=DeveloperOut)
    def post(self, request: Request) -> Response:
        """Ask to publish models. Granted by the staff, or at once where the site says so. Repeating it is harmless."""
        user = services.request_developer_role(user=self.actor.user)
        status = "requested" if user.role == User.PlatformRole.CONSUMER else "granted"
        return Response(
            DeveloperOut({"status": status, "role": user.role, "requested_at": user.developer_requested_at}).data
        )
