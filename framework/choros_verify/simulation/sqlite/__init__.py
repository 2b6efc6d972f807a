"""SQLite files of a simulated world: real ones, with locks, a full disk, and processes that die in the middle."""
