"""The gateway's addresses. Those of `gateway.hotpath.app` stand here too, for the access policy and the reference."""

from django.urls import path

from gateway import api as views
from gateway.views import deployment, deployments, playground, publish_endpoint, publish_test

pages = [
    path("models/<slug:publisher>/<str:slug>/playground", playground, name="playground"),
    path("publish/<mdl:id>/endpoint", publish_endpoint, name="publish-endpoint"),
    path("publish/<mdl:id>/test", publish_test, name="publish-test"),
    path("deployments", deployments, name="deployments"),
    path("deployments/<dep:id>", deployment, name="deployment"),
]

api = [
    path("api/models/<str:ref>/endpoint", views.ModelEndpoint.as_view(), name="model-endpoint"),
    path("api/models/<str:ref>/check", views.ModelCheck.as_view(), name="model-check"),
    path("api/models/<str:ref>/invoke", views.Invoke.as_view(), name="model-invoke"),
    path("api/deployments", views.Deployments.as_view(), name="deployments"),
    path("api/deployments/<dep:id>", views.OneDeployment.as_view(), name="deployment"),
    path("api/usage-confirmations", views.UsageConfirmations.as_view(), name="usage-confirmations"),
    path("api/limits", views.Limits.as_view(), name="limits"),
    path("api/requests", views.Requests.as_view(), name="requests"),
    path("api/requests/<req:id>", views.Receipt.as_view(), name="request"),
    path("v1/requests/<req:id>", views.Receipt.as_view(), name="v1-request"),
    path("v1/models", views.OpenAIModels.as_view(), name="v1-models"),
    path("v1/models/<path:slug>", views.OpenAIModel.as_view(), name="v1-model"),
    path("v1/chat/completions", views.ChatCompletions.as_view(), name="v1-chat-completions"),
    path("v1/completions", views.Completions.as_view(), name="v1-completions"),
    path("v1/embeddings", views.Embeddings.as_view(), name="v1-embeddings"),
    path("v1/predictions", views.Predictions.as_view(), name="v1-predictions"),
    path("v1/predictions/<pred:id>", views.OnePrediction.as_view(), name="v1-prediction"),
    path("v1/predictions/<pred:id>/cancel", views.PredictionCancel.as_view(), name="v1-prediction-cancel"),
    path("v1/messages", views.Messages.as_view(), name="v1-messages"),
]
