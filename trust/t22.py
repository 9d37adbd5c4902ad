"""A request changes the fields it may and no other, and an answer holds the fields it may and no other.

Written: to every address that takes something, every field of every model, all at once, one by one where the address
writes that model, nested and by relation, beside a body that is right. What the rows are afterwards is compared with
what the same request makes of them without. Read: every answer of the API against its committed description, and for
what is sealed or hashed. A trial is one request; what it wrote is undone.
"""

from __future__ import annotations

from trust.harness import Context, Result
from trust.registry import Sabotage

SABOTAGES = (
    Sabotage(
        "all fields of a person are taken (fields = '__all__')",
        "accounts/serializers.py",
        "class UserPatch(Serializer):\n    name = CharField(max_length=120, required=False)\n",
        "class UserPatch(serializers.ModelSerializer):\n    class Meta:\n"
        "        model = Budget._meta.apps.get_model('accounts', 'User')\n        fields = '__all__'\n",
    ),
    Sabotage(
        "what is unknown is left out in silence",
        "common/rest.py",
        "            if name not in known:\n",
        "            if False:\n",
    ),
    Sabotage(
        "what is unknown inside an amount is left out in silence",
        "common/rest.py",
        '            if name not in ("amount", "currency"):\n',
        "            if False:\n",
    ),
    Sabotage(
        "a page saves whatever a form names",
        "accounts/views/profile.py",
        'services.update_profile(user=actor.user, name=form.cleaned_data["name"])',
        "actor.user.__class__.objects.filter(pk=actor.user.pk).update("
        '**{name: request.POST[name] for name in ("name", "platform_role") if name in request.POST})',
    ),
    Sabotage(
        "a page lets every member set the time zone",
        "config/preferences.py",
        '        may_set_zone=role_may(actor.role, "organization.change"),\n',
        "        may_set_zone=True,\n",
    ),
    Sabotage(
        "staff who may close accounts make themselves superusers",
        "accounts/admin.py",
        '            fields = (*fields, "is_staff", "is_superuser", "groups", "user_permissions")\n',
        "            pass\n",
    ),
    Sabotage(
        "a member's password hash is shown",
        "accounts/serializers.py",
        'class MemberOut(Serializer):\n    id = TypeIDField("mbr")\n',
        'class MemberOut(Serializer):\n    id = TypeIDField("mbr")\n    hash = CharField(source="user.password")\n',
    ),
    Sabotage(
        "one column of a model more than is described",
        "marketplace/serializers/answers.py",
        '        "callable": ai_model.is_callable,\n',
        '        "callable": ai_model.is_callable,\n        "is_demo": ai_model.is_demo,\n',
    ),
)


def run(context: Context) -> Result:
    from trust.people import Town
    from trust.writes import Fields

    with context.ground.another_database():
        Fields(context, Town(context.ground)).run()
    return context.result()
