"""Who may do what is what `config/access.py` and the table of roles say: on every address, by every method, for every
kind of caller, with an organization's own things, somebody else's, ones that do not exist, and drafts.

The matrix is made from the addresses of the site. A trial is one request; what it wrote is undone. An address without a
policy, or one of which `trust/bodies.py` does not say what is sent to it, is a violation, and so is every 5xx.
"""

from __future__ import annotations

from trust.harness import Context, Result
from trust.registry import Sabotage

SABOTAGES = (
    Sabotage(
        "a key of anybody's",
        "apikeys/api.py",
        "return get_object_or_404(APIKey.objects.of_organization(self.actor.organization), pk=id)",
        "return get_object_or_404(APIKey.objects.all(), pk=id)",
    ),
    Sabotage(
        "a page of anybody's key",
        "apikeys/views.py",
        'APIKey.objects.of_organization(actor.organization).select_related("user", "organization").filter(pk=id)',
        'APIKey.objects.select_related("user", "organization").filter(pk=id)',
    ),
    Sabotage(
        "an organization of anybody's",
        "accounts/api.py",
        "return get_object_or_404(Membership.objects.of_user(self.actor.user), organization=id)",
        "return get_object_or_404(Membership, pk__in=Membership.objects.filter(organization=id)"
        '.order_by("id").values("pk")[:1])',
    ),
    Sabotage(
        "a member of another organization, through one's own",
        "accounts/api.py",
        "found = get_object_or_404(Membership.objects.of_organization(place.organization), pk=member_id)",
        "found = get_object_or_404(Membership.objects.all(), pk=member_id)",
    ),
    Sabotage(
        "a page of a member of any organization",
        "accounts/views/members.py",
        "members = Membership.objects.of_organization(actor.organization).with_keys(clock.now())",
        'members = Membership.objects.select_related("user").with_keys(clock.now())',
    ),
    Sabotage(
        "drafts are shown to everybody",
        "marketplace/querysets.py",
        "        return self.filter(Q(status__in=PUBLIC_STATUSES) | Q(publisher=organization))\n",
        "        return self.all()\n",
    ),
    Sabotage(
        "somebody else's calls",
        "gateway/api.py",
        "    calls = Invocation.objects.of_organization(actor.organization)\n",
        "    calls = Invocation.objects.all()\n",
    ),
    Sabotage(
        "somebody else's receipt",
        "analytics/views/receipt.py",
        "calls = Invocation.objects.of_organization(organization).filter(pk=id)",
        "calls = Invocation.objects.filter(pk=id)",
    ),
    Sabotage(
        "the gateway calls everybody's drafts",
        "gateway/hotpath/snapshot.py",
        "        return self.is_public or self.publisher_id == organization_id\n",
        "        return True\n",
    ),
    Sabotage(
        "the name of a hidden model, to whoever filters by it",
        "analytics/views/requests.py",
        "AIModel.objects.visible_to(organization).filter(pk=selection.model).exists()",
        "AIModel.objects.filter(pk=selection.model).exists()",
    ),
    Sabotage(
        "permissions of keys are not looked at",
        "common/policy.py",
        "        _enforce_scopes(policy.scopes(method), actor.scopes)\n",
        "        pass\n",
    ),
    Sabotage(
        "roles are not looked at",
        "common/policy.py",
        "    if needed is not None and actor.role not in needed:\n",
        "    if False:\n",
    ),
    Sabotage(
        "rights in an organization are not looked at",
        "accounts/services/rights.py",
        "    if not role_may(role, right):\n",
        "    if False:\n",
    ),
    Sabotage(
        "who made a key is not looked at",
        "apikeys/services/keys.py",
        '    if key.user_id != user.pk and not role_may(role, "keys.manage"):\n',
        "    if False:\n",
    ),
    Sabotage(
        "a deployment of anybody's",
        "gateway/querysets.py",
        "        return self.live().filter(organization=actor.organization)\n",
        "        return self.live()\n",
    ),
    Sabotage(
        "what is hidden answers otherwise than what is missing",
        "marketplace/services/listings.py",
        "    if found is None:\n        raise NotFound()\n    return found\n\n\ndef find_publisher",
        "    if found is None:\n"
        '        raise NotFound("Not yours." if AIModel.objects.referred_to(ref).exists() else "")\n'
        "    return found\n\n\ndef find_publisher",
    ),
    Sabotage(
        "support sees the endpoints of models in the administration",
        "gateway/admin.py",
        "class EndpointAdmin(ReadOnlyAdmin):\n",
        "class EndpointAdmin(ReadOnlyAdmin):\n    def has_view_permission(self, request, obj=None):\n"
        "        return True\n\n",
    ),
    Sabotage(
        "an address without a policy",
        "config/access.py",
        '    "api:usage": signed_in("analytics:read"),\n',
        "",
    ),
)


def run(context: Context) -> Result:
    from trust.matrix import Matrix
    from trust.people import Town

    with context.ground.another_database():  # what others made would be suggested on the pages
        Matrix(context, Town(context.ground)).run()
    return context.result()
