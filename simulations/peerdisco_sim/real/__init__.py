"""The same disasters on real daemons: processes, namespaces, file systems of this machine.

The simulator's model of networks and disks is only as good as its author; here the same schedules
hit the real things. A play starts daemons, keeps clients busy, inflicts faults, heals everything
and compares what was acknowledged with what is there. It touches only what it made itself:
addresses in its own network namespaces or on loopback, its own processes, files and mounts; none of
them is left behind. What this machine cannot do is skipped by name.

Start reading in `play.py`; `abilities.py` says what is needed for which fault.
"""
