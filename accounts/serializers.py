"""Accounts as the API reads and writes them."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.password_validation import validate_password
from rest_framework import serializers

from accounts import services
from accounts.models import Membership
from common.rest import BooleanField, CharField, DateTimeField, IntegerField, Serializer, TypeIDField

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


class DeveloperOut(Serializer):
    status = serializers.ChoiceField(choices=["granted", "requested"])
    role = serializers.ChoiceField(choices=["consumer", "developer", "staff"])
    requested_at = DateTimeField(allow_null=True)
