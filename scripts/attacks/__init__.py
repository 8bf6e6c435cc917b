"""What storm.py and floods.py are made of: strangers with plain TCP sockets, and an honest client that is measured.

    zmtp.py       the bytes of ZMTP 1.0, 2.0, 3.0 and 3.1, as they should be and as they should not
    peers.py      a connection without libzmq: its handshake, its pace, its ways to end
    letters.py    zchat's messages, right ones and changed ones
    deeds.py      what a peer of the storm does in one state of its connection
    attacker.py   `python -m attacks.attacker`: one process that does such things until told to end
    pouring.py    many connections that send what they have at a rate, come back, and count
    kinds.py      the kinds of floods: what is sent, by how many
    limits.py     more of them, each of which runs into one limit
    flooder.py    `python -m attacks.flooder`: one process that floods
    gauge.py      `python -m attacks.gauge`: an honest client that writes down how long each answer took
    meters.py     the broker's memory, processor time, descriptors and disk from outside

Rules of this package
1. Attackers know the protocols and nothing of the broker: no libzmq, no zchat client.
2. Everything is for a broker of one's own on loopback: `peers.py` dials nothing else.
3. What is drawn comes from the seed, so that a run can be had again as far as the clock allows.
"""
