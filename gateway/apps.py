"""The gateway app: the API, usage records and the money runtime of a process."""

from django.apps import AppConfig


class GatewayConfig(AppConfig):
    name = "gateway"
    verbose_name = "Gateway"
