"""The pages' live line: tells an open page that something of its workspace has changed.

A message is a hint in JSON ({"changed": "wallet"}); the page then reads what is new by HTTP.
"""

from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from accounts.workspaces import workspace_of


class LiveConsumer(AsyncJsonWebsocketConsumer):  # type: ignore[misc]  # channels ships no types
    """Joins the group of the user's workspace; whoever is not logged in is refused (403).

    Senders use `group_send("workspace-<id>", {"type": "live.ping", "payload": {...}})`.
    """

    group = ""

    async def connect(self) -> None:
        user = self.scope["user"]
        if not user.is_authenticated:
            await self.close()
            return
        workspace = await database_sync_to_async(workspace_of)(user_id=user.pk)
        self.group = f"workspace-{workspace.id}"
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        if self.group:
            await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive(self, **message: Any) -> None:
        """Pages only listen; what they send is dropped unread."""

    async def live_ping(self, event: dict[str, Any]) -> None:
        await self.send_json(event["payload"])
