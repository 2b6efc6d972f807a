"""Chaos on real processes: kill -9, pauses, cuts, full disks and an emptied broker, under a steady load; afterwards a
checker reads the services' own ledgers and trusts nothing that the orchestrators say.

    python -m tests.chaos --minutes 15 --seed 7 --report chaos.json

`battlefield` is where broker and store are and how to hurt them, `crew` the processes of choros,
`administrator` who sets the broker up for them, `proxy` what stands between the two, `nemesis` and `faults` what goes
wrong, `load` who starts sagas, `checker` who judges, `report` what comes out. The sagas are in
`voyages`, their services in `services`.
"""
