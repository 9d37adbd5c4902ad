"""People, organizations and what they may spend, for staff. Codes and tokens are never shown."""

from __future__ import annotations

from typing import Any, cast

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AutocompleteSelect
from django.contrib.auth.models import Permission
from django.db.models import Exists, OuterRef, QuerySet, Subquery
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from accounts import services
from accounts.models import (
    BrowserSession,
    Budget,
    DeveloperRequest,
    EmailCode,
    Invitation,
    Membership,
    Organization,
    RefreshFamily,
    RefreshToken,
    User,
)
from common import clock
from common.ids import encode
from common.money import to_decimal, to_nano
from common.staff import ChoiceFilter, ReadOnlyAdmin, ReadOnlyInline, StaffAdmin, id_column, money_column

USER_ID, ORGANIZATION_ID = id_column("usr"), id_column("org")


class MembershipsInline(ReadOnlyInline):
    """Where a person is, and as what; changed on the page of the organization."""

    model = Membership
    fields = readonly_fields = ("organization", "role", "created_at")


class MembersFormSet(BaseInlineFormSet):
    """Says first what the services would refuse: an organization without an owner, or with one too many."""

    def clean(self) -> None:
        super().clean()
        person = self.instance.personal_owner
        owners = [
            form.cleaned_data["user"]
            for form in self.forms
            if form.cleaned_data.get("role") == Membership.Role.OWNER and not form.cleaned_data.get("DELETE")
        ]
        if person is not None and owners != [person]:
            raise forms.ValidationError(_("A personal organization is owned by its person alone."))
        if not owners and self.instance.closed_at is None:
            raise forms.ValidationError(_("An organization needs an owner."))


class MembershipInline(admin.TabularInline):
    """Who is in an organization. Staff may change it where nobody inside can; every change is a service's."""

    model = Membership
    formset = MembersFormSet
    extra = 0
    autocomplete_fields = ("user",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("created_at",)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or obj.closed_at is None)


class InvitationInline(ReadOnlyInline):
    model = Invitation
    fields = readonly_fields = (
        *("email", "role", "invited_by", "created_at"),
        *("expires_at", "accepted_at", "declined_at", "revoked_at"),
    )
    ordering = ("-id",)


class EmailAddressInline(ReadOnlyInline):
    """Every address that leads to the person; they prove and change them themselves."""

    model = EmailAddress
    fields = readonly_fields = ("email", "verified", "primary")
    verbose_name_plural = _("e-mail addresses")


class BrowserSessionInline(ReadOnlyInline):
    """Where a person is logged in; the key of the session is not shown."""

    model = BrowserSession
    fields = readonly_fields = ("address", "user_agent", "last_seen_at", "created_at")


class AuthenticatorInline(ReadOnlyInline):
    """That there is a second factor, never what it is."""

    model = Authenticator
    fields = readonly_fields = ("type", "created_at", "last_used_at")
    verbose_name_plural = _("second factors")


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
class UserAdmin(StaffAdmin):
    typed_ids = {"usr": "pk", "org": "memberships__organization"}
    list_display = (
        "email",
        "name",
        "platform_role",
        "has_second_factor",
        "is_staff",
        "is_active",
        "created_at",
    )
    list_filter = (
        "platform_role",
        "is_staff",
        "is_active",
    )
    search_fields = ("email", "name", "emailaddress__email")
    search_help_text = _("An id such as usr_… or org_…, a name, or any of a person's addresses.")
    ordering = ("-id",)
    inlines = (MembershipsInline, EmailAddressInline, AuthenticatorInline, BrowserSessionInline)
    fieldsets = (
        (None, {"fields": (USER_ID, "email", "name")}),
        (_("May"), {"fields": ("platform_role", "is_active")}),
        (_("Staff"), {"fields": ("is_staff", "is_superuser", "groups", "user_permissions")}),
        (_("When"), {"fields": ("last_login", "created_at", "updated_at")}),
    )
    readonly_fields = (
        USER_ID,
        "platform_role",
        "last_login",
        "created_at",
        "updated_at",
    )
    filter_horizontal = ("groups", "user_permissions")
    actions = ("grant_developer_role", "withdraw_developer_role", "end_sessions", "remove_second_factor")

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        found: QuerySet[User] = super().get_queryset(request)
        return found.annotate(second_factor=Exists(Authenticator.objects.filter(user=OuterRef("pk"))))

    @admin.display(description=_("second factor"), boolean=True)
    def has_second_factor(self, user: User) -> bool:
        return bool(getattr(user, "second_factor", False))

    def get_form(self, request: HttpRequest, obj: User | None = None, change: bool = False, **kwargs: Any) -> Any:
        return super().get_form(request, obj, change, **(kwargs if change else {**kwargs, "form": NewUserForm}))

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "user_permissions":  # each names its content type
            kwargs.setdefault("queryset", Permission.objects.select_related("content_type"))
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        return super().get_fieldsets(request, obj) if obj else ((None, {"fields": ("email", "name", "is_staff")}),)

    def get_inlines(self, request: HttpRequest, obj: User | None) -> Any:
        return self.inlines if obj else ()

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Only a superuser makes others staff; an address changes by its owner proving the new one."""
        fields = super().get_readonly_fields(request, obj)
        if obj is not None:
            fields = (*fields, "email")
            if obj.closed_at is not None:  # its person alone opens it again
                fields = (*fields, "is_active")
        if not request.user.is_superuser:
            fields = (*fields, "is_staff", "is_superuser", "groups", "user_permissions")
        return fields

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Staff are changed by superusers alone, or whoever may change people could weaken those above them."""
        is_above = obj is not None and (obj.is_staff or obj.is_superuser) and not request.user.is_superuser
        return super().has_change_permission(request, obj) and not is_above

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False  # keys, calls and money name the person; deactivate instead

    def has_help_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("accounts.help_user"))

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("accounts.change_developerrequest"))

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if not change:
            services.ensure_personal_organization(user=obj)
        elif "is_active" in form.changed_data and not obj.is_active:
            services.revoke_all(user=obj, reason="deactivated")

    @admin.action(description=_("Make platform developers"), permissions=["decide"])
    def grant_developer_role(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        by = cast(User, request.user)
        done = sum(services.grant_developer_role(user=user, by=by) for user in queryset)
        text = ngettext("%(count)d person may publish now.", "%(count)d people may publish now.", done)
        self.message_user(request, text % {"count": done}, messages.SUCCESS)

    @admin.action(description=_("Withdraw the developer role"), permissions=["decide"])
    def withdraw_developer_role(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        done = sum(services.withdraw_developer_role(user=user) for user in queryset)
        text = ngettext("%(count)d person may publish no more.", "%(count)d people may publish no more.", done)
        self.message_user(request, text % {"count": done}, messages.SUCCESS)

    @admin.action(description=_("End all sessions and tokens"), permissions=["help"])
    def end_sessions(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        people = self._within_reach(request, queryset)
        for user in people:
            services.revoke_all(user=user, reason="staff")
        text = ngettext(
            "All sessions and tokens of %(count)d person have ended.",
            "All sessions and tokens of %(count)d people have ended.",
            len(people),
        )
        self.message_user(request, text % {"count": len(people)}, messages.SUCCESS if people else messages.WARNING)

    @admin.action(description=_("Remove the second factor: they lost it"), permissions=["help"])
    def remove_second_factor(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        people = self._within_reach(request, queryset)
        done = sum(services.remove_second_factor(user=user) for user in people)
        text = ngettext(
            "%(count)d person logs in by password alone now.", "%(count)d people log in by password alone now.", done
        )
        self.message_user(request, text % {"count": done}, messages.SUCCESS if done else messages.WARNING)

    @staticmethod
    def _within_reach(request: HttpRequest, queryset: QuerySet[User]) -> list[User]:
        """Without other staff, unless a superuser acts."""
        return list(queryset if request.user.is_superuser else queryset.filter(is_staff=False, is_superuser=False))


class DecisionFilter(ChoiceFilter):
    title = _("decision")
    parameter_name = "decision"
    UNDECIDED = "undecided"
    values = ((UNDECIDED, _("Undecided")), *((one.value, one.label) for one in DeveloperRequest.Decision))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == self.UNDECIDED:
            return queryset.filter(decision="", user__is_active=True)
        return super().queryset(request, queryset)


class DecisionForm(forms.ModelForm):
    class Meta:
        model = DeveloperRequest
        fields = ("decision", "decision_reason")
        labels = {"decision": _("Decision"), "decision_reason": _("Why, in words that the person reads in a mail")}
        widgets = {"decision_reason": forms.Textarea(attrs={"rows": 3})}

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        if not values.get("decision"):
            self.add_error("decision", _("Grant or refuse it."))
        elif values["decision"] == DeveloperRequest.Decision.REFUSED and not values.get("decision_reason", "").strip():
            self.add_error("decision_reason", _("Say why it is refused."))
        return values


@admin.register(DeveloperRequest)
class DeveloperRequestAdmin(StaffAdmin):
    """The queue of people who ask to publish. What is decided stays as it is; the role is withdrawn at the person."""

    form = DecisionForm
    typed_ids = {"usr": "user"}
    list_display = ("user", "reason", "created_at", "decision", "decided_at", "decided_by")
    list_filter = (DecisionFilter,)
    list_select_related = ("user", "decided_by")
    search_fields = ("user__email", "user__name")
    search_help_text = _("An id such as usr_…, a name or an address.")
    ordering = ("-id",)
    fields = ("user", "reason", "created_at", "decision", "decision_reason", "decided_by", "decided_at")
    readonly_fields = ("user", "reason", "created_at", "decided_by", "decided_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: DeveloperRequest | None = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or obj.decided_at is None)

    def has_delete_permission(self, request: HttpRequest, obj: DeveloperRequest | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: DeveloperRequest, form: Any, change: bool) -> None:
        reason, by = form.cleaned_data["decision_reason"], cast(User, request.user)
        if form.cleaned_data["decision"] == DeveloperRequest.Decision.GRANTED:
            services.grant_developer_role(user=obj.user, by=by, reason=reason)
        else:
            services.refuse_developer_role(user=obj.user, by=by, reason=reason)


class NewOrganizationForm(forms.ModelForm):
    """Staff makes a shared organization for its first owner."""

    owner = forms.ModelChoiceField(
        label=_("Owner"),
        queryset=User.objects.filter(is_active=True),
        widget=AutocompleteSelect(Membership._meta.get_field("user"), admin.site),
    )

    class Meta:
        model = Organization
        fields = ("name", "slug")


@admin.register(Organization)
class OrganizationAdmin(StaffAdmin):
    typed_ids = {"org": "pk", "usr": "memberships__user"}
    list_display = ("slug", "name", "personal_owner", "time_zone", "created_at", "closed_at")
    list_filter = (("closed_at", admin.EmptyFieldListFilter), ("personal_owner", admin.EmptyFieldListFilter))
    list_select_related = ("personal_owner",)
    search_fields = ("slug", "name", "personal_owner__email")
    search_help_text = _("An id such as org_… or usr_…, a slug, a name, or the address of its owner.")
    ordering = ("-id",)
    fields = (
        *(ORGANIZATION_ID, "slug", "name", "rate_limit", "personal_owner", "time_zone"),
        *("created_at", "updated_at", "closed_at"),
    )
    readonly_fields = (ORGANIZATION_ID, "personal_owner", "time_zone", "created_at", "updated_at", "closed_at")
    inlines = (MembershipInline, InvitationInline)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Owners are made before others are unmade, so that there is always one."""
        if formset.model is not Membership:
            super().save_formset(request, form, formset, change)
            return
        formset.save(commit=False)  # only sorts them
        for place in formset.new_objects:
            services.add_member(organization=form.instance, user=place.user, role=place.role)
        changed = [place for place, _names in formset.changed_objects]
        for place in sorted(changed, key=lambda one: one.role != Membership.Role.OWNER):
            services.change_role(membership=Membership.objects.get(pk=place.pk), role=place.role, by=None)
        for place in formset.deleted_objects:
            services.remove_member(membership=place, by=None)

    def get_form(
        self, request: HttpRequest, obj: Organization | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = kwargs if change else {**kwargs, "form": NewOrganizationForm}
        return super().get_form(request, obj, change, **form)

    def get_readonly_fields(self, request: HttpRequest, obj: Organization | None = None) -> Any:
        """Its names are its own people's, and a superuser's; the rate limit is what staff are asked to raise."""
        fields = super().get_readonly_fields(request, obj)
        return fields if request.user.is_superuser else (*fields, "slug", "name")

    def get_fields(self, request: HttpRequest, obj: Organization | None = None) -> Any:
        return self.fields if obj else ("name", "slug", "owner")

    def get_inlines(self, request: HttpRequest, obj: Organization | None) -> Any:
        return self.inlines if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Organization | None = None) -> bool:
        return False  # keys, calls and money name it

    def save_model(self, request: HttpRequest, obj: Organization, form: Any, change: bool) -> None:
        if change:
            if "rate_limit" in form.changed_data:
                services.set_rate_limit(organization=obj, rate_limit=obj.rate_limit)
            super().save_model(request, obj, form, change)
            return
        facts = form.cleaned_data
        made = services.create_organization(owner=facts["owner"], name=facts["name"], slug=facts["slug"])
        vars(obj).update(vars(made))


class UsedUpFilter(admin.SimpleListFilter):
    title = _("what is left")
    parameter_name = "left"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("none", _("Nothing: in force and used up")), ("some", _("Something: in force"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Budget]) -> QuerySet[Budget]:
        if self.value() is None:
            return queryset
        at = clock.now()
        used_up = Budget.objects.used_up(at)
        if self.value() == "none":
            return queryset.filter(pk__in=used_up)
        return queryset.filter(pk__in=Budget.objects.in_force(at)).exclude(pk__in=used_up)


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
class BudgetAdmin(StaffAdmin):
    """`spent` and `held` are moved by the gateway alone; staff may change a spend limit. Credit is given by billing."""

    form = BudgetForm
    typed_ids = {"bud": "pk", "org": "subject_id", "key": "subject_id", "dep": "subject_id"}
    prefixes = {"organization": "org", "deployment": "dep", "key": "key"}
    list_display = (
        "subject",
        "purpose",
        "window",
        money_column("limit", _("limit")),
        money_column("spent", _("spent")),
        money_column("held", _("held")),
        "ends_at",
        "closed_at",
    )
    list_display_links = ("purpose",)
    list_filter = (
        UsedUpFilter,
        "purpose",
        "subject_kind",
        "window",
        ("closed_at", admin.EmptyFieldListFilter),
    )
    search_fields = ("=subject_id", "=id")
    search_help_text = _("An id such as org_…, key_… or bud_….")
    ordering = ("-id",)
    fields = (
        "amount",
        id_column("bud"),
        "subject",
        "purpose",
        "window",
        "time_zone",
        "starts_at",
        "ends_at",
        money_column("limit", _("limit in force")),
        money_column("spent", _("spent")),
        money_column("held", _("held")),
        "closed_at",
        "created_at",
    )
    readonly_fields = fields[1:]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Budget | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Budget | None = None) -> bool:
        is_credit = obj is not None and obj.purpose == Budget.Purpose.CREDIT
        return not is_credit and bool(super().has_change_permission(request, obj))

    def save_model(self, request: HttpRequest, obj: Budget, form: Any, change: bool) -> None:
        services.change_limit(budget=obj, limit_nano=obj.limit)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Budget]:
        found: QuerySet[Budget] = super().get_queryset(request)
        slug = Organization.objects.filter(pk=OuterRef("subject_id")).values("slug")[:1]
        return found.annotate(subject_slug=Subquery(slug))

    @admin.display(description=_("of"), ordering="subject_id")
    def subject(self, budget: Budget) -> str:
        """An organization by its slug, others by their id; with the way there."""
        words = getattr(budget, "subject_slug", None) or encode(self.prefixes[budget.subject_kind], budget.subject_id)
        page = {"organization": "accounts_organization", "key": "apikeys_apikey"}.get(budget.subject_kind)
        if page is None:
            return words
        return format_html('<a href="{}">{}</a>', reverse(f"admin:{page}_change", args=[budget.subject_id]), words)


@admin.register(EmailCode)
class EmailCodeAdmin(ReadOnlyAdmin):
    typed_ids = {"usr": "user"}
    list_display = ("user", "email", "purpose", "attempts", "expires_at", "used_at", "created_at")
    list_filter = ("purpose",)
    list_select_related = ("user",)
    search_fields = ("email",)
    ordering = ("-id",)
    fields = ("user", "email", "purpose", "attempts", "expires_at", "used_at", "created_at")


class RefreshTokenInline(ReadOnlyInline):
    model = RefreshToken
    fields = readonly_fields = ("created_at", "used_at", "expires_at")
    ordering = ("-id",)


@admin.register(RefreshFamily)
class RefreshFamilyAdmin(ReadOnlyAdmin):
    typed_ids = {"fam": "pk", "usr": "user"}
    inlines = (RefreshTokenInline,)
    list_display = (id_column("fam"), "user", "created_at", "revoked_at", "reason")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter),)
    list_select_related = ("user",)
    search_fields = ("user__email",)
    ordering = ("-id",)
    fields = ("user", "created_at", "revoked_at", "reason")
