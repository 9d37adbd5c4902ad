"""Accounts as the API reads and writes them."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts import services
from accounts.models import Budget, DeveloperRequest, Membership
from common.money import amount
from common.rest import BooleanField, CharField, DateTimeField, IntegerField, MoneyField, Serializer, TypeIDField

MAX_PASSWORD = 1024
MAX_TOKEN = 512
MAX_CODE = 32


class EmailField(CharField):
    """An address in its one spelling."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=254, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        return services.clean_email(super().to_internal_value(data))


class PasswordField(CharField):
    """A password as it was typed, blanks included."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=MAX_PASSWORD, trim_whitespace=False, **kwargs)


class RegisterIn(Serializer):
    email = EmailField()
    password = PasswordField()
    name = CharField(max_length=120)
    organization = CharField(max_length=120, required=False, help_text="What your organization is called.")

    def validate_password(self, value: str) -> str:
        validate_password(value)  # the service asks again, with the person's name and address
        return value


class RegisterOut(Serializer):
    status = serializers.ChoiceField(choices=["verification_sent"])


class VerifyEmailIn(Serializer):
    email = EmailField()
    code = CharField(max_length=MAX_CODE)


class LoginIn(Serializer):
    email = EmailField()
    password = PasswordField()
    code = CharField(max_length=MAX_CODE, required=False, help_text="Of the second factor, where there is one.")


class LoginCodeIn(Serializer):
    email = EmailField()


class LoginCodeOut(Serializer):
    status = serializers.ChoiceField(choices=["code_sent"])


class LoginCodeConfirmIn(Serializer):
    email = EmailField()
    code = CharField(max_length=MAX_CODE, help_text="The one in the mail.")
    second_factor = CharField(max_length=MAX_CODE, required=False, help_text="Where there is one.")


class RefreshIn(Serializer):
    refresh = CharField(max_length=MAX_TOKEN)


class PasswordResetIn(Serializer):
    email = EmailField()


class PasswordResetOut(Serializer):
    status = serializers.ChoiceField(choices=["reset_sent"])


class PasswordResetConfirmIn(Serializer):
    token = CharField(max_length=MAX_TOKEN)
    password = PasswordField()


class UserPatch(Serializer):
    name = CharField(max_length=120, required=False)


class OrganizationOut(Serializer):
    id = TypeIDField("org", source="organization.id")
    slug = CharField(source="organization.slug")
    name = CharField(source="organization.name")
    role = serializers.ChoiceField(choices=Membership.Role.values, source="organization_role")


class UserOut(Serializer):
    """A person, in the organization they act for. Made from `services.Profile`."""

    id = TypeIDField("usr", source="user.id")
    email = CharField(source="user.email")
    name = CharField(source="user.name")
    organization = OrganizationOut(source="*")
    role = serializers.ChoiceField(choices=["consumer", "developer", "staff"], source="user.role")
    email_verified = BooleanField(source="is_email_verified")
    api_keys = serializers.ListField(child=TypeIDField("key"), source="api_key_ids")
    created_at = DateTimeField(source="user.created_at")
    updated_at = DateTimeField(source="user.updated_at")


class TokenPairOut(Serializer):
    access = CharField(source="pair.access", help_text="A JSON Web Token for `Authorization: Bearer`.")
    refresh = CharField(source="pair.refresh", help_text="Works once; the answer holds the next one.")
    token_type = serializers.ChoiceField(choices=["Bearer"])
    expires_in = IntegerField(source="pair.expires_in", help_text="Seconds that the access token lives.")
    user = UserOut(source="profile")


class DeveloperIn(Serializer):
    reason = CharField(
        max_length=DeveloperRequest.MAX_REASON, required=False, help_text="What you want to publish, for the staff."
    )


class DeveloperOut(Serializer):
    status = serializers.ChoiceField(choices=["granted", "requested"])
    role = serializers.ChoiceField(choices=["consumer", "developer", "staff"])
    requested_at = DateTimeField(allow_null=True)


# --- Organizations ---


class SpendLimitIn(Serializer):
    """`{"amount": "5.00", "currency": "USD", "window": "month"}`."""

    amount = CharField(max_length=40)
    currency = CharField(max_length=3, required=False)
    window = serializers.ChoiceField(choices=Budget.Window.choices, default=Budget.Window.MONTH)

    def validate(self, attrs: dict[str, str]) -> dict[str, Any]:
        money = {name: attrs[name] for name in ("amount", "currency") if name in attrs}
        return {"limit_nano": MoneyField().to_internal_value(money), "window": attrs["window"]}


class SpendLimitOut(Serializer):
    """Made from a `Budget`."""

    amount = serializers.SerializerMethodField()
    currency = serializers.SerializerMethodField()
    window = serializers.ChoiceField(choices=Budget.Window.choices)

    def get_amount(self, budget: Budget) -> str:
        return amount(budget.limit)

    def get_currency(self, budget: Budget) -> str:
        return settings.CURRENCY


class OrganizationIn(Serializer):
    name = CharField(max_length=120)
    slug = CharField(
        max_length=services.MAX_SLUG, required=False, help_text="Its name in addresses; made from the name if left out."
    )
    time_zone = CharField(max_length=64, required=False)


class OrganizationPatch(Serializer):
    name = CharField(max_length=120, required=False)
    time_zone = CharField(max_length=64, required=False)
    spend_limit = SpendLimitIn(required=False, allow_null=True)


class OrganizationDetailOut(Serializer):
    """An organization as one of its people sees it. Made from their `Membership`; needs `spend_limits` in the context:
    organization id -> the budget that limits it."""

    id = TypeIDField("org", source="organization.id")
    slug = CharField(source="organization.slug")
    name = CharField(source="organization.name")
    personal = serializers.SerializerMethodField(help_text="Belongs to one account, and ends with it.")
    role = serializers.ChoiceField(choices=Membership.Role.values)
    time_zone = CharField(source="organization.time_zone")
    currency = serializers.SerializerMethodField()
    spend_limit = serializers.SerializerMethodField()
    created_at = DateTimeField(source="organization.created_at")
    updated_at = DateTimeField(source="organization.updated_at")

    def get_personal(self, place: Membership) -> bool:
        return place.organization.personal_owner_id is not None

    def get_currency(self, place: Membership) -> str:
        return settings.CURRENCY

    @extend_schema_field(SpendLimitOut(allow_null=True))
    def get_spend_limit(self, place: Membership) -> Any:
        budget = self.context["spend_limits"].get(place.organization_id)
        return None if budget is None else SpendLimitOut(budget).data


class MemberOut(Serializer):
    id = TypeIDField("mbr")
    user_id = TypeIDField("usr")
    name = CharField(source="user.name")
    email = CharField(source="user.email")
    role = serializers.ChoiceField(choices=Membership.Role.values)
    created_at = DateTimeField()


class MemberPatch(Serializer):
    role = serializers.ChoiceField(choices=Membership.Role.values)


class InvitationIn(Serializer):
    email = EmailField()
    role = serializers.ChoiceField(
        choices=[role for role in Membership.Role.values if role != Membership.Role.OWNER],
        default=Membership.Role.MEMBER,
    )


class InvitationOut(Serializer):
    id = TypeIDField("ivt")
    email = CharField()
    role = serializers.ChoiceField(choices=Membership.Role.values)
    invited_by = TypeIDField("usr", source="invited_by_id", allow_null=True)
    expires_at = DateTimeField()
    created_at = DateTimeField()


class InvitationTokenIn(Serializer):
    token = CharField(max_length=MAX_TOKEN, help_text="The last part of the link in the mail.")


class TransferIn(Serializer):
    member_id = TypeIDField("mbr", help_text="Who shall own it.")
