"""Every named URL, as everybody: the answer that the policy promises, and a page without faults. No browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import partial
from urllib.parse import urlsplit

import pytest
from django.urls import Resolver404, resolve

from tests.pages import rules
from tests.pages.excused import EXCUSED, PACKAGES, Excuse, is_excused
from tests.pages.site import Address, addresses, expected_status
from tests.pages.states import STATES, Sight, sights
from tests.pages.visitor import ROLES, Answer, Visitor, Visitors

ADDRESSES = addresses()
PROBES = ("livez", "readyz")  # answered before anything else is asked


@pytest.mark.parametrize("name", sorted(ADDRESSES))
def test_everybody_gets_what_the_policy_says(visitors: Visitors, name: str):
    address = ADDRESSES[name]
    found: dict[str, list[str]] = {}
    for role in ROLES:
        for fault in faults_of_visit(visitors, address, role):
            found.setdefault(fault, []).append(role)
    assert not found, "\n".join(f"{', '.join(who)}: {fault}" for fault, who in found.items())


def faults_of_visit(visitors: Visitors, address: Address, role: str) -> Iterator[str]:
    visitor, path = visitors.get(role), address.path(visitors, role)
    answer = visitor.get(path)
    status = expected_status(address, role)
    if answer.status != status:
        yield f"{path} answered {answer.status}, not {status}"
    if answer.status == 302 and role == "anonymous" and not address.policy.is_open("GET"):
        location = urlsplit(answer.headers["location"])
        if location.path != "/accounts/login/" or "next=" not in location.query:
            yield f"{path} leads to {answer.headers['location']}, not to the log-in and back"
    if address.kind != "api" and address.name not in PROBES and not answer.is_html:
        yield from (f"strict_csp: {one}" for one in csp_faults(address.name, answer))
    for fault in faults_of_answer(visitors, address.name, answer):
        yield f"{path}: {fault}"
    if address.kind == "page" and answer.status in (200, 302):
        for fault in faults_of_part(visitor, address, answer):
            yield f"{path} for htmx: {fault}"


def faults_of_answer(visitors: Visitors, name: str, answer: Answer) -> Iterator[str]:
    if not answer.is_html:
        return
    yield from (f"strict_csp: {one}" for one in csp_faults(name, answer))
    for rule, complaints in rules.faults(answer.text).items():
        yield from (f"{rule}: {one}" for one in complaints if not is_excused(rule, name, one))
    page = answer.page
    if not any(fnmatchcase(name, package) for package in PACKAGES):
        yield from rules.small_files(page, partial(fetch, visitors))
    for link in page.find("a", "form"):
        target = urlsplit(link.get("href") or link.get("action"))
        if target.netloc or not target.path.startswith("/") or target.path.startswith("/static/"):
            continue
        if not leads_to_a_page(target.path):
            yield f"{link} leads nowhere"


def csp_faults(name: str, answer: Answer) -> list[str]:
    return [one for one in rules.strict_csp(answer.headers) if not is_excused("strict_csp", name, one)]


def leads_to_a_page(path: str) -> bool:
    try:
        return resolve(path).url_name is not None
    except Resolver404:
        return False


def faults_of_part(visitor: Visitor, address: Address, whole: Answer) -> Iterator[str]:
    """The same address, asked by htmx: a part of that page, or the page, or the way to the log-in."""
    answer = visitor.get(whole.path, HX_Request="true")
    if whole.status == 302 and visitor.role == "anonymous" and not address.policy.is_open("GET"):
        if (answer.status, answer.headers.get("hx-redirect")) != (401, "/accounts/login/"):
            yield f"{answer.status} instead of the way to the log-in"
        return
    if answer.status != whole.status and (whole.status, answer.status) != (302, 200):
        yield f"{answer.status}, not {whole.status}"
    if not answer.is_html:
        return
    part = answer.page
    for rule, complaints in rules.faults(answer.text).items():
        yield from (f"{rule}: {one}" for one in complaints if not is_excused(rule, address.name, one))
    if not part.is_whole:
        if "hx-request" not in answer.headers.get("vary", "").lower():
            yield "a cache would give the part for the page: Vary does not name HX-Request"
        if whole.is_html and (lost := part.by_id.keys() - whole.page.by_id.keys()):
            yield f"the page itself has no {sorted(lost)}"


_files: dict[str, str] = {}


def fetch(visitors: Visitors, path: str) -> str:
    if path not in _files:
        answer = Visitor(visitors.stack.url).get(path)
        assert answer.status == 200, (path, answer.status)
        _files[path] = answer.text
    return _files[path]


@pytest.mark.parametrize("sight", STATES, ids=str)
def test_every_state_is_without_fault(visitors: Visitors, sight: Sight):
    visitor, path = sight.prepare(visitors)
    answer = visitor.submit(path, **dict(sight.fields)) if sight.fields else visitor.get(path)
    assert answer.status == sight.status, answer.headers
    assert answer.is_html
    if sight.status in (404, 500):
        assert re.search(r"\breq_[0-9a-z]{26}\b", answer.text), "an error page says its request id"
    if visitor.url == visitors.stack.url:  # the style guide's process serves files under other names
        found = list(faults_of_answer(visitors, sight.name, answer))
    else:
        found = [
            f"{rule}: {one}"
            for rule, complaints in rules.faults(answer.text).items()
            for one in complaints
            if not is_excused(rule, sight.name, one)
        ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "name", [name for name, address in ADDRESSES.items() if re.search("{(key|req)}", address.route or "")]
)
def test_what_belongs_to_others_is_not_there(visitors: Visitors, name: str):
    address = ADDRESSES[name]
    path = address.path(visitors, "consumer")
    answer = visitors.get("developer").get(path)
    assert answer.status == (405 if expected_status(address, "consumer") == 405 else 404)


@pytest.mark.parametrize("excuse", EXCUSED, ids=lambda excuse: f"{excuse.rule} {excuse.pages}")
def test_what_is_excused_still_happens(visitors: Visitors, excuse: Excuse):
    assert re.fullmatch(r"[A-Z].*\.", excuse.why)
    visitor, path = next(sight for sight in sights() if sight.name == excuse.example).prepare(visitors)
    answer = visitor.get(path)
    found = rules.faults(answer.text) | {"strict_csp": list(rules.strict_csp(answer.headers))}
    assert any(re.search(excuse.fault, complaint) for complaint in found.get(excuse.rule, ()))


def test_an_address_without_arguments_is_noticed(visitors: Visitors):
    with pytest.raises(AssertionError, match=r"Say in tests/pages/site\.py"):
        Address("forgotten", None, lambda request: None).path(visitors, "anonymous")
