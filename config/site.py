"""Django's admin with a site of ours in the place of its own."""

from django.contrib.admin.apps import AdminConfig

#: Apps of packages whose tables are no business of staff's hands: mirrors of Stripe's objects, addresses and second
#: factors (on the page of their person), sessions.
LEFT_OUT = {"djstripe", "account", "mfa", "socialaccount"}


class StaffConfig(AdminConfig):
    default_site = "config.desk.StaffSite"

    def ready(self) -> None:
        super().ready()  # finds every app's admin.py
        from django.contrib.admin import site

        site.unregister([model for model in site._registry if model._meta.app_label in LEFT_OUT])
