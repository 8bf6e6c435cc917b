"""zchat for programs of asyncio: the names, arguments, errors and messages of `import zchat`, driven by the event loop.

    import zchat.aio

    async with zchat.aio.connect() as client:
        async for message in client.listen("general"):
            client.publish("general", f"hello {message.user}")

Spec: docs/client.md, "asyncio".
"""

from zchat.aio.client import Client, Connecting, connect
from zchat.aio.publication import Publication
from zchat.aio.subscription import Subscription

__all__ = ["Client", "Connecting", "Publication", "Subscription", "connect"]


def __dir__() -> list[str]:
    """What programs may use."""
    return __all__
