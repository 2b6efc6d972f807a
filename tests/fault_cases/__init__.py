"""The 40 fault cases of `cases.CASES` on real processes, a real broker and real stores: which test holds each of them,
and those tests that have no better place. What is killed is killed by SIGKILL, at named points (`failpoints`)."""
