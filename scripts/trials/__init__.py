"""What torture.py, stalled.py and kills.py are made of: real processes, faults for them, and their journals.

    journal.py    what a process writes down as it goes, and how it is read again
    control.py    what every process has: its task, and the words that it is told
    writers.py, listeners.py, joiners.py, relay.py, publisher.py, counter.py     started with `python -m trials.…`
    members.py, servers.py, askers.py, planners.py, purgers.py     so too
    commands.py   `zchat listen --resume` as one of the listeners
    processes.py  the broker and the others as they are started, stopped, killed
    places.py     a network namespace with a link that can be cut, a disk that can be full
    cast.py       who takes part
    faults.py     what is done to them
    calm.py       the end: everyone catches up, the log is read
    histories.py  from journals to what tests/simulation/checker.py reads, and checks of its own
    tasks.py      whether every job was done, every request answered, all sent that was scheduled
    presence.py   whether those who were lost had a reason
    report.py     what a run says in the end

Rules of this package: the processes use the public API only; all they know is written down before anyone is told.
"""
