"""What the apps' admin pages share: they are quick on tables of any size, show typed ids and money, and find both."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils import formats, timezone
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from common.ids import decode, encode, first_uuid
from common.money import display

#: A list says "1,000 or more" beyond this, and ends there: counting every call ever made would take minutes.
CEILING = 1_000


class BoundedPaginator(Paginator):  # type: ignore[type-arg]  # not generic at run time
    """Looks at the first `CEILING` rows and no further."""

    ceiling = CEILING

    @cached_property
    def count(self) -> int:
        rows = cast("QuerySet[Model]", self.object_list)
        return rows.order_by()[:CEILING].count()


class StaffAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """`typed_ids`: prefix of a typed id -> the column that a search for it looks into."""

    typed_ids: dict[str, str] = {}
    paginator = BoundedPaginator
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # they would count each choice of each filter

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """A typed id finds its rows, and the row of its own whatever the filters say; other words are searched for."""
        for prefix, column in self.typed_ids.items():
            try:
                id = decode(prefix, search_term.strip())
            except ValueError:
                continue
            if column == "pk":
                queryset = self.get_queryset(request)
            return queryset.filter(**{column: id}), False
        found: tuple[QuerySet[Any], bool] = super().get_search_results(request, queryset, search_term)
        return found


class ReadOnlyAdmin(StaffAdmin):
    """To look at, not to touch: rows that only services and SQL functions write."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyInline(admin.TabularInline):  # type: ignore[type-arg]
    """Rows that belong to another, to look at."""

    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class DayFilter(admin.SimpleListFilter):
    """When rows were made, by their time-ordered ids: in place of `date_hierarchy`, which reads the whole table.

    A list of calls begins with the past day, so that no other filter has to look through all of them.
    """

    title = _("time")
    parameter_name = "made"
    DAY, WEEK, MONTH, ANY = "24h", "7d", "30d", "any"
    SPANS = {DAY: timedelta(days=1), WEEK: timedelta(days=7), MONTH: timedelta(days=30)}

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        today = timezone.localdate()
        days = [today - timedelta(days=ago) for ago in range(7)]
        return [
            (self.DAY, _("Past 24 hours")),
            *((f"{day:%Y-%m-%d}", formats.date_format(day, "D j M")) for day in days),
            (self.WEEK, _("Past 7 days")),
            (self.MONTH, _("Past 30 days")),
            (self.ANY, _("Any time")),
        ]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        chosen = self.value() or self.DAY
        for value, title in self.lookup_choices:
            query = changelist.get_query_string({self.parameter_name: value})
            yield {"selected": value == chosen, "query_string": query, "display": title}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value() or self.DAY
        if chosen in self.SPANS:
            return queryset.filter(pk__gte=first_uuid(timezone.now() - self.SPANS[chosen]))
        try:
            day = date.fromisoformat(chosen)
        except ValueError:
            return queryset
        start = timezone.make_aware(datetime.combine(day, time.min))
        end = timezone.make_aware(datetime.combine(day + timedelta(days=1), time.min))
        return queryset.filter(pk__gte=first_uuid(start), pk__lt=first_uuid(end))


class ChoiceFilter(admin.SimpleListFilter):
    """The values of a column without choices of its own, without asking the table which there are."""

    values: tuple[tuple[str, Any], ...] = ()

    def lookups(self, request: HttpRequest, model_admin: Any) -> tuple[tuple[str, Any], ...]:
        return self.values

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{str(self.parameter_name): self.value()}) if self.value() else queryset


class ModeFilter(ChoiceFilter):
    """Calls by live and by test keys."""

    title = _("mode")
    parameter_name = "mode"
    values = (("live", _("Live")), ("test", _("Test")))


ID = _("id")


def id_column(prefix: str, column: str = "pk", description: Any = ID) -> Any:
    """A column that shows a UUID as people and programs know it: `usr_01j…`."""

    @admin.display(description=description, ordering=column)
    def shown(row: Any) -> str:
        id: UUID | None = getattr(row, column)
        return "–" if id is None else format_html("<code>{}</code>", encode(prefix, id))

    return shown


def money_column(column: str, description: Any) -> Any:
    """A column that shows nano-units as an amount, in the row's own currency where it has one."""

    @admin.display(description=description, ordering=column)
    def shown(row: Any) -> str:
        nano: int | None = getattr(row, column)
        return "–" if nano is None else display(nano, getattr(row, "currency", settings.CURRENCY))

    return shown
