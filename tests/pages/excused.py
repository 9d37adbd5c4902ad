"""What is let pass, and why. Short and narrow; what does not happen any more has to go, a test sees to it."""

from dataclasses import dataclass

# Pages that load the files of another package: Django's admin and Swagger UI. The budgets are for ours.
PACKAGES = ("admin:*", "api:docs")


@dataclass(frozen=True, slots=True)
class Excuse:
    rule: str
    pages: str  # a URL name with wildcards
    fault: str  # a regular expression that the complaint matches
    example: str  # the name of a page that has it
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
        example="admin:accounts_user_change",
        why="In Django's tables of related rows the column's heading is all the label there is.",
    ),
    Excuse(
        rule="every_control_labelled",
        pages="admin:mfa_authenticator_*",
        fault=r'name="(created_at|last_used_at)_[01]">: no label$',
        example="admin:mfa_authenticator_add",
        why="Django asks for a date and a time in two fields of a group, and labels the group.",
    ),
)


def is_let_pass(name: str, complaint: str) -> bool:
    return False
