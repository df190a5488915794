"""Background work of the gateway, all of it re-creatable: nothing is lost when a task is."""

import logging
from datetime import timedelta
from typing import Any

from celery import shared_task

from gateway import partitions

logger = logging.getLogger(__name__)

BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "gateway-ensure-partitions": {
        "task": "gateway.tasks.ensure_partitions",
        "schedule": timedelta(days=1),
    },
}


@shared_task
def ensure_partitions() -> None:
    """Make partitions ahead of need, and raise an alarm when rows found none."""
    partitions.ensure_partitions()
    for table, rows in partitions.rows_in_default().items():
        if rows:
            logger.error("usage.partition.missing table=%s rows=%s: move them.", table, rows)
