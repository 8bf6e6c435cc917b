"""What the gateway has done, as Prometheus reads it.

Tests: tests/web/test_plain.py.
"""

from __future__ import annotations

from zchat.web.gateway import WebGateway

NAMES = {
    "zchat_web_connections": "connections that are open",
    "zchat_web_users": "users who have a session",
    "zchat_web_rooms": "rooms that are heard",
    "zchat_web_broker_connected": "1 while the broker is there",
    "zchat_web_published_total": "messages that were taken",
    "zchat_web_recovered_total": "clients that came back and got what they had missed",
    "zchat_web_cut_total": "clients that were cut off because they did not read",
    "zchat_web_slowed_total": "times that a client was read later, as it sent too fast",
    "zchat_web_refused_total": "requests and events that were refused",
}


class WebCounts:
    """Counted since the start."""

    def __init__(self) -> None:
        self.connections = self.published = self.recovered = self.cut = self.slowed = self.refused = 0

    def text(self, gateway: WebGateway) -> str:
        """All of it."""
        values = (
            self.connections,
            gateway.users,
            gateway.rooms,
            int(gateway.is_connected),
            self.published,
            self.recovered,
            self.cut,
            self.slowed,
            self.refused,
        )
        lines = []
        for (name, what), value in zip(NAMES.items(), values, strict=True):
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP {name} {what}", f"# TYPE {name} {kind}", f"{name} {value}"]
        return "\n".join(lines) + "\n"
