"""`zchat tcp`: a door for netcat, telnet, Node's `net` and whatever else has a TCP connection and no more.

    connection ──bytes──► typed.py, telnet.py ──lines──► visitor.py ──publish──► the broker
               ◄─────────────── shown.py ◄── audience.py ◄── a room, once for all ◄──

Rules of this package
1. It is an ordinary client of a broker: one connection, a session for each visitor (zchat/aio).
2. What bytes mean is decided by pure code: typed.py, telnet.py, spoken.py, shown.py. The rest is asyncio.
3. Who reads slowly, types without end or leaves in the middle costs nobody else anything: all is bounded.

Docs: docs/doors.md. Tests: tests/tcp.
"""
