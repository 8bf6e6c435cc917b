"""What torture.py, stalled.py and kills.py are made of: real processes, faults for them, and their journals.

    journal.py    what a process writes down as it goes, and how it is read again
    writers.py, listeners.py, joiners.py, relay.py     the processes, each started with `python -m trials.…`
    control.py    what every one of them has: its task, and the words that it is told
    processes.py  the broker and the others as they are started, stopped, killed
    places.py     a network namespace with a link that can be cut, a disk that can be full
    cast.py       who takes part
    faults.py     what is done to them
    histories.py  from journals to what tests/simulation/checker.py reads, and checks of its own
    report.py     what a run says in the end

Rules of this package: the processes use the public API only; all they know is written down before anyone is told.
"""
