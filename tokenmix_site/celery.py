"""The task queue: the application that worker and beat run. Each app's tasks.py joins by itself.

A task is re-creatable from rows: losing the broker's data loses no work, only time.
"""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tokenmix_site.settings.production")

app = Celery("tokenmix")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
