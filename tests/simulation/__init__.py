"""The cores under everything that can go wrong, from one seed.

    pair.py        two cores back to back, for protocol tests of five lines
    network.py     clock, chance, connections, sockets; the record of faults
    process.py, clients.py    the client's shipped engine and outbox on them
    broker_port.py, brokers.py, logs.py    the broker's shipped loop on them, and a log whose commits take time
    programs.py    what users of the client do, and what they saw
    simulation.py  steps, the random phase, the calm after it
    history.py, checker.py    what happened, and whether every promise was kept: for real processes too
    duties.py, tasked.py, tasks.py    groups, requests, and what is sent later: who does what, and whether it was done
    ruled.py       rules that change
    seeds.py, run.py    many runs, for tests and by hand
    sabotage.py    mechanisms switched off, which the checker must report

The races that these can make happen, and what makes them:

    a frame of a former connection is read after the hello on the next one    connection_reset, turn_late
    a hello arrives after the hello of a younger connection                   connection_frozen, client_away
    a WELCOME is read after its connection has ended                          turn_held, turn_late
    a hello is said twice, or is not answered                                 hello_doubled, reply_loss
    frames go out on a connection that the core does not know of yet          turn_held
    a publish is repeated while its first is under way to the log             commit_stall, connection_reset
    … after the broker forgot its outcome                                     broker_kill, broker_stop
    an ACK, a refusal, DONE or GOODBYE is lost                                reply_loss, connection_reset
    PART and JOIN, or two positions of a cursor, overtake each other          reply_loss
    a join, a leave or a session's row is refused by the log                  commit_failure
    … and the broker dies before it is written again                          commit_failure, broker_kill
    the commit under way is kept, and nobody was told                         broker_kill
    a batch is dropped: in the middle, at the end, with its watermark       pub_loss, listener_stall
    a SYNC is dropped, or comes unasked, or before the monitor's word         pub_loss, connection_reset, turn_held
    history is sought long after the listener is live                         read_failure, turn_late
    what is to be fetched is trimmed or damaged meanwhile                     trim, damage
    batches of another log come before the WELCOME that tells of it           other_log, client_away
    the log changes before a listener has begun, or twice in between          other_log, broker_kill
    the log goes back, and is longer again before a listener has come back    older_copy, client_away
    … between the offset of a cursor and the listener that is to go on there  older_copy, reply_loss
    … in the midst of a history                                               older_copy, read_failure
    a leave is due while its client comes back                                client_away, broker_stall
    what was asked is answered with a lie, and asked again                    lie_kind, lie_page, lie_damage
    a session is asked for HELLO again and again                              lie_hello_again
    the wall clock goes back                                                  clock_jump
    a job is handed out, and its broker dies before it has written that down  broker_kill
    a member comes back after others have what it has                         client_away, broker_stall
    what said that it takes part, or serves, is repeated after its end        reply_loss, connection_reset
    SCHEDULE is refused, or said again, while it is being sent                commit_failure, connection_frozen
"""
