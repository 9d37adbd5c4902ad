"""What calls are, remembered: calls by the same caller of the same model share one object of it."""

from __future__ import annotations

from gateway.hotpath.callers import Caller
from gateway.hotpath.deployments import Deployed
from gateway.hotpath.rules import Call
from gateway.hotpath.snapshot import Listing
from gateway.services.calls import What

MOST = 4096  # remembered


class Whats:
    """`whats(call)`: what it is, for its reserve."""

    def __init__(self) -> None:
        # By the objects themselves, which are made anew every second; they are kept so that no other one is taken for
        # one of them.
        self._known: dict[tuple[int, int, int, str, bool], tuple[What, Caller, Listing, Deployed | None]] = {}

    def __call__(self, call: Call) -> What:
        caller, listing, deployment = call.caller, call.listing, call.deployment
        key = (id(caller), id(listing), id(deployment), call.kind, call.is_streamed)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MOST:
                self._known.clear()
            known = self._known[key] = (_what(call), caller, listing, deployment)
        return known[0]


def _what(call: Call) -> What:
    caller, listing, deployment = call.caller, call.listing, call.deployment
    return What(
        organization_id=caller.organization_id,
        user_id=caller.user_id,
        api_key_id=caller.api_key_id,
        publisher_id=listing.publisher_id,
        ai_model_id=listing.id,
        version_id=listing.version_id,
        price_id=listing.price.id,
        kind=call.kind,
        mode=caller.mode,
        is_streamed=call.is_streamed,
        budget_ids=caller.budget_ids if deployment is None else (*caller.budget_ids, *deployment.budget_ids),
        deployment_id=None if deployment is None else deployment.id,
    )
