"""What several walks through the account pages do, in a browser."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from tests import client
from tests.pages.visitor import PASSWORD

FINGER = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@dataclass
class Walker:
    """Somebody with an account, at a page of theirs."""

    stack: Any
    page: Any
    email: str
    url: str = field(init=False)

    def __post_init__(self) -> None:
        self.url = self.stack.url

    @property
    def main(self) -> Any:
        return self.page.locator("main")

    @property
    def text(self) -> str:
        return str(self.main.inner_text())

    def goto(self, path: str) -> None:
        self.page.goto(self.url + path)

    def arrives(self, path: str) -> None:
        """Waits until the address begins like that."""
        self.page.wait_for_url(re.compile(re.escape(self.url + path)))

    def is_told(self, words: str | re.Pattern[str]) -> None:
        """Waits until these words are seen, in a toast, a notice or the page."""
        self.page.get_by_text(words).locator("visible=true").first.wait_for()

    def press(self, name: str | re.Pattern[str]) -> None:
        self.main.get_by_role("button", name=name).click()

    def follow(self, name: str | re.Pattern[str]) -> None:
        self.main.get_by_role("link", name=name).click()

    def row(self, words: str) -> Any:
        return self.main.get_by_role("row").filter(has_text=words)

    # --- In and out ---

    def type_password(self, path: str = "/", password: str = PASSWORD) -> None:
        self.goto(f"/accounts/login/?next={path}")
        self.page.get_by_label("E-mail address").fill(self.email)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Log in", exact=True).click()

    def log_in(self, path: str = "/", password: str = PASSWORD) -> None:
        self.type_password(path, password)
        self.arrives(path)

    def log_out(self) -> None:
        """By the menu at the top, as people do."""
        self.page.get_by_role("button", name="Account").click()
        self.page.get_by_role("button", name="Log out", exact=True).click()
        self.page.wait_for_url(f"{self.url}/")
        self.page.locator("header").get_by_role("link", name="Log in").first.wait_for()

    def goto_guarded(self, path: str) -> None:
        """A page about the account's safety asks for the password once more."""
        self.goto(path)
        if "/reauthenticate/" in self.page.url:
            self.confirm()
        self.arrives(path)

    def confirm(self) -> None:
        self.arrives("/accounts/reauthenticate/")
        self.page.get_by_label("Password").fill(PASSWORD)
        self.press("Confirm")


class Device:
    """The authenticator built into a browser: a finger on it is always right, and always there."""

    def __init__(self, page: Any) -> None:
        self.session = page.context.new_cdp_session(page)
        self.session.send("WebAuthn.enable", {"enableUI": False})
        self.id = self.session.send("WebAuthn.addVirtualAuthenticator", {"options": FINGER})["authenticatorId"]

    def touch(self, is_touched: bool) -> None:
        """Whether the finger lies on it. If so, Chromium's offer in the field of the log-in is taken at once."""
        self._set("setAutomaticPresenceSimulation", enabled=is_touched)

    def recognise(self, is_right: bool) -> None:
        self._set("setUserVerified", isUserVerified=is_right)

    def _set(self, what: str, **values: bool) -> None:
        self.session.send(f"WebAuthn.{what}", {"authenticatorId": self.id, **values})


def sign_up_by_api(stack: Any, email: str, name: str = "Nora Newcomer") -> None:
    client.sign_up(stack, email, password=PASSWORD, name=name)
