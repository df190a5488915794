"""The task queue: the application that worker and beat run. Each app's tasks.py joins by itself.

A task is re-creatable from rows: losing the broker's data loses no work, only time.
"""

import os
from typing import Any

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tokenmix_site.settings.production")

app = Celery("tokenmix")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@app.on_after_finalize.connect
def join_schedules(sender: Celery, **kwargs: Any) -> None:
    """Give beat what each app wants done regularly; tasks import models, so not before now."""
    from billing import tasks as billing_tasks  # noqa: PLC0415
    from gateway import tasks as gateway_tasks  # noqa: PLC0415

    sender.conf.beat_schedule = billing_tasks.BEAT_SCHEDULE | gateway_tasks.BEAT_SCHEDULE
