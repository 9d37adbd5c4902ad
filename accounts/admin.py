"""People, organizations and what they may spend, for staff. Codes and tokens are never shown."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from accounts import services
from accounts.models import Budget, EmailCode, Membership, Organization, RefreshFamily, RefreshToken, User
from common.money import display, to_decimal, to_nano
from common.readonly import ReadOnlyAdmin


class MembershipInline(admin.TabularInline):
    model = Membership
    extra = 0
    autocomplete_fields = ("organization", "user")


class NewUserForm(forms.ModelForm):
    """Staff makes an account without a password; the person chooses one by the link that "forgot password" mails."""

    class Meta:
        model = User
        fields = ("email", "name", "is_staff")

    def clean_email(self) -> str:
        return services.clean_email(self.cleaned_data["email"])

    def save(self, commit: bool = True) -> User:
        self.instance.set_unusable_password()
        user: User = super().save(commit)
        return user


@admin.register(User)
class UserAdmin(admin.ModelAdmin):
    list_display = ("email", "name", "platform_role", "developer_requested_at", "is_staff", "is_active", "created_at")
    list_filter = ("platform_role", ("developer_requested_at", admin.EmptyFieldListFilter), "is_staff", "is_active")
    search_fields = ("email", "name")
    ordering = ("-id",)
    show_full_result_count = False
    inlines = (MembershipInline,)
    fieldsets = (
        (None, {"fields": ("public_id", "email", "name")}),
        (_("May"), {"fields": ("platform_role", "developer_requested_at", "is_active")}),
        (_("Staff"), {"fields": ("is_staff", "is_superuser", "groups", "user_permissions")}),
        (_("When"), {"fields": ("last_login", "created_at", "updated_at")}),
    )
    readonly_fields = ("public_id", "platform_role", "developer_requested_at", "last_login", "created_at", "updated_at")
    filter_horizontal = ("groups", "user_permissions")
    actions = ("grant_developer_role", "withdraw_developer_role", "end_sessions")

    def get_form(self, request: HttpRequest, obj: User | None = None, change: bool = False, **kwargs: Any) -> Any:
        return super().get_form(request, obj, change, **(kwargs if change else {**kwargs, "form": NewUserForm}))

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        return super().get_fieldsets(request, obj) if obj else ((None, {"fields": ("email", "name", "is_staff")}),)

    def get_inlines(self, request: HttpRequest, obj: User | None) -> Any:
        return self.inlines if obj else ()

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Only a superuser makes others staff; an address changes by its owner proving the new one."""
        fields = super().get_readonly_fields(request, obj)
        if obj is not None:
            fields = (*fields, "email")
        if not request.user.is_superuser:
            fields = (*fields, "is_staff", "is_superuser", "groups", "user_permissions")
        return fields

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False  # keys, calls and money name the person; deactivate instead

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if not change:
            services.ensure_personal_organization(user=obj)
        elif "is_active" in form.changed_data and not obj.is_active:
            services.revoke_all(user=obj, reason="deactivated")

    @admin.action(description=_("Make platform developers"), permissions=["change"])
    def grant_developer_role(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        done = sum(services.grant_developer_role(user=user) for user in queryset)
        text = ngettext("%(count)d person may publish now.", "%(count)d people may publish now.", done)
        self.message_user(request, text % {"count": done}, messages.SUCCESS)

    @admin.action(description=_("Withdraw the developer role"), permissions=["change"])
    def withdraw_developer_role(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        done = sum(services.withdraw_developer_role(user=user) for user in queryset)
        text = ngettext("%(count)d person may publish no more.", "%(count)d people may publish no more.", done)
        self.message_user(request, text % {"count": done}, messages.SUCCESS)

    @admin.action(description=_("End all sessions and tokens"), permissions=["change"])
    def end_sessions(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in queryset:
            services.revoke_all(user=user, reason="staff")
        self.message_user(request, _("All their sessions and tokens have ended."), messages.SUCCESS)


@admin.register(Organization)
class OrganizationAdmin(admin.ModelAdmin):
    list_display = ("slug", "name", "personal_owner", "time_zone", "created_at", "closed_at")
    list_filter = (("closed_at", admin.EmptyFieldListFilter), ("personal_owner", admin.EmptyFieldListFilter))
    list_select_related = ("personal_owner",)
    search_fields = ("slug", "name", "personal_owner__email")
    ordering = ("-id",)
    show_full_result_count = False
    fields = ("public_id", "slug", "name", "personal_owner", "time_zone", "created_at", "updated_at", "closed_at")
    readonly_fields = ("public_id", "personal_owner", "time_zone", "created_at", "updated_at", "closed_at")
    inlines = (MembershipInline,)

    def has_delete_permission(self, request: HttpRequest, obj: Organization | None = None) -> bool:
        return False  # keys, calls and money name it


class BudgetForm(forms.ModelForm):
    """The limit in units of the currency."""

    amount = forms.DecimalField(label=_("Limit"), min_value=0, max_digits=18, decimal_places=9)

    class Meta:
        model = Budget
        fields: tuple[str, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["amount"].initial = to_decimal(self.instance.limit)

    def clean_amount(self) -> Any:
        amount = self.cleaned_data["amount"]
        try:
            self.instance.limit = to_nano(amount)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None
        return amount


@admin.register(Budget)
class BudgetAdmin(admin.ModelAdmin):
    """`spent` and `held` are moved by the gateway alone; staff may change a limit."""

    form = BudgetForm
    list_display = (
        "subject_kind",
        "subject_id",
        "purpose",
        "window",
        "shown_limit",
        "shown_spent",
        "ends_at",
        "closed_at",
    )
    list_filter = ("purpose", "subject_kind", "window", ("closed_at", admin.EmptyFieldListFilter))
    search_fields = ("=subject_id", "=id")
    ordering = ("-id",)
    show_full_result_count = False
    readonly_fields = (
        "id",
        "subject_kind",
        "subject_id",
        "purpose",
        "window",
        "time_zone",
        "starts_at",
        "ends_at",
        "shown_limit",
        "shown_spent",
        "shown_held",
        "closed_at",
        "created_at",
    )
    fields = ("amount", *readonly_fields)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Budget | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Budget, form: Any, change: bool) -> None:
        services.change_limit(budget=obj, limit_nano=obj.limit)

    @admin.display(description=_("limit"), ordering="limit")
    def shown_limit(self, budget: Budget) -> str:
        return display(budget.limit, settings.CURRENCY)

    @admin.display(description=_("spent"), ordering="spent")
    def shown_spent(self, budget: Budget) -> str:
        return display(budget.spent, settings.CURRENCY)

    @admin.display(description=_("held"), ordering="held")
    def shown_held(self, budget: Budget) -> str:
        return display(budget.held, settings.CURRENCY)


@admin.register(EmailCode)
class EmailCodeAdmin(ReadOnlyAdmin):
    list_display = ("user", "email", "purpose", "attempts", "expires_at", "used_at", "created_at")
    list_filter = ("purpose",)
    list_select_related = ("user",)
    search_fields = ("email",)
    ordering = ("-id",)
    fields = ("user", "email", "purpose", "attempts", "expires_at", "used_at", "created_at")


class RefreshTokenInline(admin.TabularInline):
    model = RefreshToken
    fields = readonly_fields = ("created_at", "used_at", "expires_at")
    extra = max_num = 0
    can_delete = False


@admin.register(RefreshFamily)
class RefreshFamilyAdmin(ReadOnlyAdmin):
    inlines = (RefreshTokenInline,)
    list_display = ("__str__", "user", "created_at", "revoked_at", "reason")
    list_filter = ("reason",)
    list_select_related = ("user",)
    search_fields = ("user__email",)
    ordering = ("-id",)
    fields = ("user", "created_at", "revoked_at", "reason")
