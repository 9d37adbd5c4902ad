"""What can stand against an upload."""

from common.problems import Problem


class QuotaExceeded(Problem):
    code, status, title = "media_quota_exceeded", 409, "No room for this file"
    explanation = "The files of an organization may take so many bytes together, those that are being checked included."
    fix = "Remove files that you no longer show, or send a smaller one; `left_bytes` says what there is."


class TooManyFiles(Problem):
    code, status, title = "too_many_files", 409, "The model has as many files of this kind as it may"
    explanation = "A model has one logo, and so many screenshots and example files."
    fix = "Remove one of them first."


class NothingArrived(Problem):
    code, status, title = "nothing_arrived", 409, "The file has not arrived"
    explanation = "Nothing was sent to the upload's address, it was something else, or the address has expired."
    fix = "Send the file as `upload` says, or ask for a new upload."


class UploadEnded(Problem):
    code, status, title = "upload_ended", 410, "This address takes nothing any more"
    explanation = "An upload's address serves once, and for ten minutes."
    fix = "Ask for a new upload."
