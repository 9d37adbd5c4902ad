"""What can stand against a change of the catalogue."""

from common.problems import Problem


class NotYourModel(Problem):
    code, status, title = "not_your_model", 403, "Another organization's model"
    explanation = "You may see this model, but only the organization that publishes it may change it."
    fix = "Act for the publishing organization: name it in the header `Agorai-Organization`, or use one of its keys."


class WrongStatus(Problem):
    code, status, title = "wrong_status", 409, "Not in this state"
    explanation = "The model is in a state in which this cannot be done."
    fix = "Read the model's `status`; the guide on publishing says which step follows which."


class VersionNotHigher(Problem):
    code, status, title = "version_not_higher", 409, "The version must be higher"
    explanation = "Published versions never change, so a changed `api_spec` needs a higher version number."
    fix = "Send a `version` above the one named in `highest_version`."


class NotReadyToPublish(Problem):
    code, status, title = "not_ready_to_publish", 409, "The listing is not complete"
    explanation = "Something that callers need is missing from the listing."
    fix = "Add what `detail` names, then submit or publish again."


class TooManySaved(Problem):
    code, status, title = "too_many_saved", 409, "You saved too many models"
    explanation = "Your list of saved models is full."
    fix = "Take one off the list first."
