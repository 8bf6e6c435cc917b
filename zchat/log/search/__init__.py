"""The index of words beside a log: a file of its own, filled behind the log by a process of its own, for searches."""
