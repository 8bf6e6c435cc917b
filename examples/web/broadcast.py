"""A server for Socket.IO clients that tells all but the sender, and the sender something else.

cd examples/web; zchat web --app broadcast:handlers
"""

from typing import Any

from zchat.web import EventCaller, Handlers

handlers = Handlers()


@handlers.on("clientmessage")
def clientmessage(caller: EventCaller, data: dict[str, Any]) -> str:
    """What a client said."""
    caller.broadcast("message", {"name": caller.user, "message": data["message"]})
    caller.reply("message", {"name": "me", "message": data["message"]})
    return "taken"
