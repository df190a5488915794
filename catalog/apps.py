"""The catalog application: what is sold, by whom it is served, and for how much."""

from django.apps import AppConfig


class CatalogConfig(AppConfig):
    name = "catalog"
    verbose_name = "Catalog"
