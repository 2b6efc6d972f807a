"""The savepoints of one job. SQLite learns of one when something is said behind it: behind most, nothing is."""

from collections.abc import Sequence


class Savepoints:
    """Those that are open, the outermost around the whole job. What begins at the same point is one to SQLite."""

    def __init__(self) -> None:
        self._names = [""]
        """What SQLite calls each; empty where it does not know of it yet."""

    def begin(self) -> None:
        """Open one within those that are open."""
        self._names.append("")

    def learnt(self) -> Sequence[str]:
        """What is to be said before anything that may write."""
        if self._names[-1]:
            return ()
        first = self._names.index("")
        name = f"choros_{first}"
        self._names[first:] = [name] * (len(self._names) - first)
        return (f"SAVEPOINT {name}",)

    def end(self, *, kept: bool) -> Sequence[str]:
        """What is to be said when the innermost ends: whether it keeps what was written since."""
        name = self._names.pop()
        if not name:
            return ()
        back = () if kept else (f"ROLLBACK TO {name}",)
        return back if name in self._names else (*back, f"RELEASE {name}")

    def taken_back(self) -> Sequence[str]:
        """What takes back all of the job, so that it can be said anew."""
        name = self._names[0]
        return (f"ROLLBACK TO {name}", f"RELEASE {name}") if name else ()

    def end_all(self, *, kept: bool) -> Sequence[str]:
        """The same of the whole job."""
        del self._names[1:]
        return self.end(kept=kept)
