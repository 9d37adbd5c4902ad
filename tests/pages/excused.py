"""What is let pass, and why. Short and narrow; what does not happen any more has to go, a test sees to it."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

# Pages that load the files of another package: Django's admin and Swagger UI. The budgets are for ours.
PACKAGES = ("admin:*", "api:docs")


@dataclass(frozen=True, slots=True)
class Excuse:
    rule: str
    pages: str  # the name of a URL or of a state, with wildcards
    fault: str  # a regular expression that the complaint matches
    example: str  # one of them, where it always happens
    why: str


EXCUSED = (
    Excuse(
        rule="every_image_described_and_sized",
        pages="admin:*",
        fault=r'<img src="/static/admin/img/[\w.-]+\.svg">: no size$',
        example="admin:accounts_user_changelist",
        why="Django gives its icons their size in its style sheet.",
    ),
    Excuse(
        rule="every_control_labelled",
        pages="admin:*_change",
        fault=r'name="\w+-(\d+|__prefix__)-\w+">: no label$',
        example="admin:accounts_organization_change",
        why="In Django's tables of related rows the column's heading is all the label there is.",
    ),
    Excuse(
        rule="strict_csp",
        pages="dev-mail-message",
        fault="; frame-src 'self'\"$",
        example="dev-mail-message",
        why="It shows the mail in a frame of its own; and it is there in the embedded run alone.",
    ),
    Excuse(
        rule="references_lead_somewhere",
        pages="style guide",
        fault='<a href="#',
        example="style guide",
        why="Its links are there to be looked at.",
    ),
    Excuse(
        rule="small_html",
        pages="style guide",
        fault="bytes of HTML",
        example="style guide",
        why="It holds every component twice, and is there in DEBUG alone.",
    ),
)

# The same for what Chromium finds: the rule is the beginning of the complaint.
LET_PASS = (
    Excuse(
        rule="axe label-title-only",
        pages="admin:*_changelist",
        fault='<input type="text" size="40" name="q" [^>]*id="searchbar"',
        example="admin:accounts_user_changelist",
        why="Django labels its search with a picture, whose words axe counts as a title.",
    ),
    Excuse(
        rule="axe empty-table-header",
        pages="admin:*_change",
        fault=r'<th( class="original")?></th>',
        example="admin:accounts_user_change",
        why="Django's tables of related rows have columns for its marks, without a heading.",
    ),
    Excuse(
        rule="axe (label|select-name)",
        pages="admin:*_change",
        fault=r'name="\w+-\d+-\w+"',
        example="admin:accounts_organization_change",
        why="In Django's tables of related rows the column's heading is all the label there is.",
    ),
    Excuse(
        rule="axe aria-prohibited-attr",
        pages="admin:*",
        fault="help-tooltip",
        example="admin:auth_group_add",
        why="Django's script for choosing several puts the label on an element that has no role.",
    ),
    Excuse(
        rule="axe aria-input-field-name",
        pages="admin:*",
        fault="select2-",
        example="admin:accounts_organization_add",
        why="Select2, which Django brings, shows a field that its label does not reach.",
    ),
    Excuse(
        rule="axe landmark-unique",
        pages="style guide",
        fault='data-theme="(light|dark)"',
        example="style guide",
        why="It shows everything twice, once in each theme.",
    ),
    Excuse(
        rule="console: warning",
        pages="style guide",
        fault='The specified value "x" cannot be parsed',
        example="style guide",
        why="A field there has to be wrong, to show what that looks like.",
    ),
    Excuse(
        rule="jumps",
        pages="admin:*",
        fault="",
        example="",
        why="Django's scripts open the side bar and draw its fields, at times when the page was painted already.",
    ),
    Excuse(
        rule="(axe|jumps|scrolls)",
        pages="api:docs",
        fault="",
        example="api:docs",
        why="What Swagger UI draws is another package's; that it asks nobody and breaks no policy is ours.",
    ),
    Excuse(
        rule="console",
        pages="dev-mail-message",
        fault=r"Blocked script execution in '[^']*\?part=html' because the document's frame is sandboxed",
        example="dev-mail-message",
        why="The script that watches the page is not let into the frame that shows the mail, as no script is.",
    ),
)


def is_excused(rule: str, name: str, complaint: str) -> bool:
    return any(
        rule == excuse.rule and fnmatchcase(name, excuse.pages) and re.search(excuse.fault, complaint)
        for excuse in EXCUSED
    )


def is_let_pass(name: str, complaint: str) -> bool:
    return any(
        re.match(excuse.rule, complaint) and fnmatchcase(name, excuse.pages) and re.search(excuse.fault, complaint)
        for excuse in LET_PASS
    )
