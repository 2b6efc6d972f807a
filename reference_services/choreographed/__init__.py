"""The same order, by events alone: nobody commands anybody, and nobody tracks it."""
