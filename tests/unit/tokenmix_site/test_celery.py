"""The task queue knows every app's tasks and what beat is to start."""

from tokenmix_site.celery import app


class TestSchedule:
    def test_names_tasks_that_exist(self) -> None:
        app.loader.import_default_modules()
        app.finalize()

        wanted = {entry["task"] for entry in app.conf.beat_schedule.values()}

        assert {"gateway.tasks.ensure_partitions", "billing.poll_top_ups"} <= wanted
        assert wanted <= set(app.tasks)
