"""/api/models/{id}/reviews, and reports to the staff."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from common.pagination import PageQuery, page_response
from common.problems import SecondFactorStale
from common.rest import APIView, Nothing
from marketplace.errors import NotYourModel
from marketplace.models import AIModel
from marketplace.services import SEE_ALL, find_model
from reviews import services
from reviews.errors import (
    AlreadyReported,
    AlreadyReviewed,
    NotAUser,
    NotYourReview,
    OwnModel,
    OwnReview,
    ReviewHidden,
)
from reviews.models import Review
from reviews.serializers import (
    ORDERS,
    EditOut,
    ReplyIn,
    ReportIn,
    ReportOut,
    ReviewIn,
    ReviewOut,
    ReviewsApiQuery,
    summary_out,
)

REF = OpenApiParameter("ref", str, OpenApiParameter.PATH, description="`mdl_…` or `publisher:slug`")


class OfModel(APIView):
    """The base of what is said about one model."""

    def find_model(self, ref: str) -> AIModel:
        return find_model(ref, organization=self.actor.organization, sees_all=self.actor.may(SEE_ALL))

    def find(self, ref: str, id: UUID) -> Review:
        """As far as the caller may see it: hidden ones are there for their author and the staff."""
        rows = Review.objects.visible_to(self.actor.user, sees_all=self.actor.may(services.SEE_HIDDEN))
        return get_object_or_404(rows.of_model(self.find_model(ref)).detailed(), pk=id)


class Reviews(OfModel):
    """What people say who have used the model."""

    query = {"GET": ReviewsApiQuery}
    problems = (NotAUser, OwnModel, AlreadyReviewed)

    @extend_schema(operation_id="list_reviews", parameters=[REF, ReviewsApiQuery], responses=ReviewOut(many=True))
    def get(self, request: Request, ref: str) -> Response:
        """The reviews of a model. Hidden ones are nobody's here."""
        ai_model = self.find_model(ref)
        rows = Review.objects.of_model(ai_model).visible().detailed()
        if self.params["rating"] is not None:
            rows = rows.filter(rating=self.params["rating"])
        response = page_response(self, rows, order=ORDERS[self.params["sort"]], serialize=ReviewOut)
        if self.params["summary"]:
            response.data["summary"] = summary_out(services.summary_of(ai_model))
        return response

    @extend_schema(operation_id="create_review", parameters=[REF], request=ReviewIn, responses={201: ReviewOut})
    def post(self, request: Request, ref: str) -> Response:
        """Your one review of the model. It needs settled calls by the organization that you act for."""
        actor, values = self.actor, self.read(ReviewIn)
        review = services.post_review(
            ai_model=self.find_model(ref), author=actor.user, organization=actor.organization, **values
        )
        return Response(ReviewOut(review).data, status=201)


class OneReview(OfModel):
    problems = (NotYourReview, ReviewHidden, OwnModel, SecondFactorStale)

    @extend_schema(operation_id="get_review", parameters=[REF], responses=ReviewOut)
    def get(self, request: Request, ref: str, id: UUID) -> Response:
        return Response(ReviewOut(self.find(ref, id)).data)

    @extend_schema(operation_id="replace_review", parameters=[REF], request=ReviewIn, responses=ReviewOut)
    def put(self, request: Request, ref: str, id: UUID) -> Response:
        """What you say now. What was said before stands in the history."""
        review, values = self.find(ref, id), self.read(ReviewIn)
        return Response(ReviewOut(services.edit_review(review=review, by=self.actor.user, **values)).data)

    @extend_schema(operation_id="delete_review", parameters=[REF], responses={204: None})
    def delete(self, request: Request, ref: str, id: UUID) -> Response:
        """Delete your review. By staff: hide somebody's, who is told by mail."""
        review = self.find(ref, id)
        if review.author_id != self.actor.user.pk and self.actor.may_act(services.MODERATE):
            services.hide_review(review=review)
        else:
            services.delete_review(review=review, by=self.actor.user)
        return Response(status=204)


class History(OfModel):
    query = {"GET": PageQuery}

    @extend_schema(operation_id="list_review_history", parameters=[REF], responses=EditOut(many=True))
    def get(self, request: Request, ref: str, id: UUID) -> Response:
        """What the review said before, the latest first."""
        return page_response(self, self.find(ref, id).edits.all(), order=["-id"], serialize=EditOut)


class Replies(OfModel):
    """The publisher's reply to a review."""

    problems = (NotYourModel, ReviewHidden)

    @extend_schema(operation_id="reply_to_review", parameters=[REF], request=ReplyIn, responses=ReviewOut)
    def post(self, request: Request, ref: str, id: UUID) -> Response:
        """Reply as the publisher, or replace the reply. Its author gets a mail of the first."""
        actor, values = self.actor, self.read(ReplyIn)
        review = services.reply(review=self.find(ref, id), organization=actor.organization, by=actor.user, **values)
        return Response(ReviewOut(review).data)

    @extend_schema(operation_id="delete_reply", parameters=[REF], responses={204: None})
    def delete(self, request: Request, ref: str, id: UUID) -> Response:
        services.delete_reply(review=self.find(ref, id), organization=self.actor.organization)
        return Response(status=204)


class Helpful(OfModel):
    """Whether a review helped you."""

    problems = (OwnReview, OwnModel, ReviewHidden)

    @extend_schema(operation_id="mark_helpful", parameters=[REF], request=None, responses=ReviewOut)
    def post(self, request: Request, ref: str, id: UUID) -> Response:
        self.read(Nothing)
        return Response(ReviewOut(self._set(ref, id, True)).data)

    @extend_schema(operation_id="unmark_helpful", parameters=[REF], responses={204: None})
    def delete(self, request: Request, ref: str, id: UUID) -> Response:
        self._set(ref, id, False)
        return Response(status=204)

    def _set(self, ref: str, id: UUID, is_helpful: bool) -> Review:
        return services.set_helpful(review=self.find(ref, id), by=self.actor.user, is_helpful=is_helpful)


class ReviewReport(OfModel):
    problems = (OwnReview, AlreadyReported)

    @extend_schema(operation_id="report_review", parameters=[REF], request=ReportIn, responses={201: ReportOut})
    def post(self, request: Request, ref: str, id: UUID) -> Response:
        """Tell the staff that a review breaks the rules. Reasons: spam, abuse, off_topic, conflict, personal_data,
        other."""
        review, values = self.find(ref, id), self.read(ReportIn)
        return _reported(services.report_review(review=review, by=self.actor.user, **values))


class ModelReport(OfModel):
    problems = (AlreadyReported,)

    @extend_schema(operation_id="report_model", parameters=[REF], request=ReportIn, responses={201: ReportOut})
    def post(self, request: Request, ref: str) -> Response:
        """Tell the staff that a listing breaks the rules. Reasons: misleading, harmful, rights, personal_data, spam,
        other."""
        ai_model, values = self.find_model(ref), self.read(ReportIn)
        return _reported(services.report_model(ai_model=ai_model, by=self.actor.user, **values))


def _reported(report: Any) -> Response:
    return Response(ReportOut(report).data, status=201)
