"""The composition root as a Django app: it brings commands, and the task queue to every process."""

from django.apps import AppConfig


class SiteConfig(AppConfig):
    name = "tokenmix_site"

    def ready(self) -> None:
        # Without our Celery application a web process would queue its tasks to nowhere.
        from tokenmix_site import celery  # noqa: F401, PLC0415
