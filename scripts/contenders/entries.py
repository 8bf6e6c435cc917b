"""Who takes part, with which settings and how many messages."""

from __future__ import annotations

from importlib.util import find_spec

from contenders.floor import AioFloor, Floor
from contenders.nats_py import NatsCore, NatsJetStream
from contenders.redis_py import RedisPubSub, RedisStreams
from contenders.sharing import NatsQueue, NatsRequest, RedisGroup, ZchatGroup, ZchatRequest
from contenders.zchat_aio import ZchatAio
from contenders.zchat_py import KeyedZchat, RuledZchat, Zchat

PIPELINE = 1000 if find_spec("hiredis") else 100  # commands; the best of 100, 1000 and 5000 with either parser

zchat_volatile = Zchat("zchat volatile", 1_000_000, modules=("zchat",))
zchat_durable = Zchat("zchat durable", 1_000_000, stored=True, note="--sync full", modules=("zchat",))
zchat_keyed_volatile = KeyedZchat("zchat volatile, keys", 1_000_000, note="CURVE", modules=("zchat",))
zchat_keyed_durable = KeyedZchat("zchat durable, keys", 1_000_000, True, "CURVE, --sync full", modules=("zchat",))
zchat_ruled_volatile = RuledZchat("zchat volatile, rules", 1_000_000, note="1,000 rules", modules=("zchat",))
zchat_ruled_durable = RuledZchat(
    "zchat durable, rules", 1_000_000, True, "1,000 rules, --sync full", modules=("zchat",)
)
zchat_aio_volatile = ZchatAio("zchat aio volatile", 1_000_000, note="asyncio", modules=("zchat",))
zchat_aio_durable = ZchatAio("zchat aio durable", 1_000_000, True, "asyncio, --sync full", modules=("zchat",))
zchat_uvloop_volatile = ZchatAio(
    "zchat aio volatile, uvloop", 1_000_000, note="uvloop", uvloop=True, modules=("zchat", "uvloop")
)
floor = Floor("floor", 0, note="pyzmq, the same four sockets", modules=("zmq",))
aio_floor = AioFloor("floor, asyncio", 0, note="the same in Python's event loop", modules=("zmq",))
synced_floor = Floor("floor, synced", 0, True, "write and fdatasync before each broadcast", modules=("zmq",))
nats_core = NatsCore("nats-py core", 200_000, modules=("nats",), program="nats-server")
jetstream = NatsJetStream("nats-py JetStream", 40_000, True, "file", modules=("nats",), program="nats-server")
jetstream_synced = NatsJetStream(
    "nats-py JetStream, synced", 10_000, True, "sync_interval: always", True, modules=("nats",), program="nats-server"
)
redis_pubsub = RedisPubSub("redis-py pub/sub", 30_000, modules=("redis",), program="redis-server")
redis_pubsub_piped = RedisPubSub(
    "redis-py pub/sub, pipelined",
    150_000,
    note=f"{PIPELINE} a pipeline",
    depth=PIPELINE,
    modules=("redis",),
    program="redis-server",
)
redis_streams = RedisStreams(
    "redis-py streams", 5_000, True, "appendfsync always", modules=("redis",), program="redis-server"
)
redis_streams_piped = RedisStreams(
    "redis-py streams, pipelined",
    100_000,
    True,
    f"appendfsync always, {PIPELINE} a pipeline",
    PIPELINE,
    modules=("redis",),
    program="redis-server",
)

zchat_group = ZchatGroup("zchat group", 500_000, True, "--sync full, acked by itself", modules=("zchat",))
jetstream_queue = NatsQueue(
    "nats-py JetStream queue", 20_000, True, "file, acks", modules=("nats",), program="nats-server"
)
redis_group = RedisGroup(
    "redis-py group, pipelined",
    100_000,
    True,
    "appendfsync always, XACK of 1000",
    PIPELINE,
    modules=("redis",),
    program="redis-server",
)
zchat_request = ZchatRequest("zchat request", 0, modules=("zchat",))
nats_request = NatsRequest("nats-py request", 0, modules=("nats",), program="nats-server")
