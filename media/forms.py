"""What is sent by a form of a page."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _

from common.problems import Problem
from media.services import ENDINGS, MOST_BYTES, TAKEN

MIB = 1024 * 1024


class UploadForm(forms.Form):
    """One file. The names of its fields begin with the kind."""

    file = forms.FileField(label=_("File"), allow_empty_file=True, max_length=200)

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        kind = str(self.prefix)
        endings = sorted({ENDINGS[media_type] for media_type in TAKEN[kind]})
        field = self.fields["file"]
        field.widget.attrs["accept"] = ",".join([*endings, *TAKEN[kind]])
        field.help_text = _("%(endings)s, at most %(size)s MiB.") % {
            "endings": ", ".join(ending.removeprefix(".").upper() for ending in endings),
            "size": MOST_BYTES[kind] // MIB,
        }

    def add_problem(self, problem: Problem) -> None:
        """Set what a service refused beside the field it is about."""
        for fault in problem.errors or [{"pointer": "/file", "code": problem.code, "detail": problem.detail}]:
            is_alt = fault["pointer"] == "/alt" and "alt" in self.fields
            self.add_error("alt" if is_alt else "file", str(fault["detail"]) or str(problem.title))


class LogoForm(UploadForm):
    pass


class ScreenshotForm(UploadForm):
    alt = forms.CharField(
        label=_("What is to be seen"),
        max_length=200,
        help_text=_("In a few words, for those who cannot see it."),
    )


class ExampleForm(UploadForm):
    alt = forms.CharField(label=_("What it is for"), max_length=200, required=False)
