"""What can stand against a review, a vote, a reply or a report."""

from common.problems import Problem


class NotAUser(Problem):
    code, status, title = "not_a_user_of_this_model", 403, "Only users of this model may review it"
    explanation = "A review rests on calls: your organization has too few settled ones of this model."
    fix = "Call the model with a live key or in the playground for the organization you act for, then try again."


class OwnModel(Problem):
    code, status, title = "own_model", 403, "Your own organization's model"
    explanation = "Nobody reviews, or votes on reviews of, a model that an organization of theirs publishes."
    fix = "Answer reviews of your models with a reply; report those that break the rules."


class OwnReview(Problem):
    code, status, title = "own_review", 403, "Your own review"
    explanation = "Nobody finds their own review helpful, or reports it."
    fix = "Edit or delete it instead."


class NotYourReview(Problem):
    code, status, title = "not_your_review", 403, "Somebody else's review"
    explanation = "Only the person who wrote a review may change or delete it."
    fix = "Report it if it breaks the rules; the publisher may reply to it."


class AlreadyReviewed(Problem):
    code, status, title = "already_reviewed", 409, "You reviewed this model already"
    explanation = "Everybody has one review of a model."
    fix = "Change the one that `review_id` names with `PUT`."


class AlreadyReported(Problem):
    code, status, title = "already_reported", 409, "You reported this already"
    explanation = "Your report waits for the staff of this site, or was decided already."
    fix = "There is nothing more to do."


class ReviewHidden(Problem):
    code, status, title = "review_hidden", 409, "This review is hidden"
    explanation = "The staff of this site hid the review: nobody sees it, it counts nowhere, and it cannot be changed."
    fix = "Write to the staff if you think that this is a mistake."
