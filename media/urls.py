"""Addresses of uploaded files."""

from django.urls import path

from media import api as endpoints
from media import views

pages = [
    path("media/<fil:id>/<str:part>", views.media, name="media"),
    path("publish/logo", views.publish_logo, name="publish-logo"),
    path("publish/<mdl:id>/media", views.publish_media, name="publish-media"),
]

api = [
    path("api/files", endpoints.Files.as_view(), name="files"),
    path("api/files/<fil:id>", endpoints.OneFile.as_view(), name="file"),
    path("api/files/<fil:id>/complete", endpoints.FileCompletion.as_view(), name="file-complete"),
    path("api/models/<str:ref>/files", endpoints.ModelFiles.as_view(), name="model-files"),
    path("api/uploads/<fil:id>", endpoints.upload, name="upload"),
]
