"""What fuzz.py is made of: inputs that are drawn and changed, and what they are given to.

    messages.py   every message of the protocol, plausible ones, and ones in which something was changed
    codecs.py     in process: all that makes sense of bytes and text
    cores.py      in process: the broker's loop on a log in memory, under what clients say and what happens
    guided.py     `python -m fuzzing.guided`: one of these two, under atheris, which looks for new ways through the code
    courses.py    what one connection sends from its first byte to its last: TCP, ZMTP, frames and records
    doors.py      the same for `zchat tcp` and `zchat web`: lines, telnet, HTTP, WebSocket, Socket.IO
    fuzzer.py     `python -m fuzzing.fuzzer`: one process that sends such courses until told to end
    holders.py    users of a broker with keys: honest ones who have joined, and a key for those who are not
    guests.py     honest users of the doors

The bytes of ZMTP, the connections and what a peer may do wrong are those of `attacks`. What differs: `storm.py` is load
beside attackers, some things very often; this is breadth, everything once more and a little different.

Rule of this package: a course, and an input in process, is made of a seed and a number alone, so it can be had again.
"""
