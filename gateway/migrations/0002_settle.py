"""The settling statement. Its functions call billing's, so those must be there first."""

from pathlib import Path

from django.db import migrations

SETTLE = (Path(__file__).parent.parent / "sql" / "settle.sql").read_text()
DROP = """
DROP FUNCTION gateway_settle(bigint, uuid, bigint[], integer, json, json);
DROP FUNCTION gateway_pay_in_order(uuid[], bigint);
"""


class Migration(migrations.Migration):
    dependencies = [("gateway", "0001_initial"), ("billing", "0001_initial")]

    operations = [migrations.RunSQL(SETTLE, DROP)]
