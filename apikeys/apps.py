from django.apps import AppConfig


class APIKeysConfig(AppConfig):
    name = "apikeys"
