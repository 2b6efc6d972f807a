"""Somebody else's company: carriers behind one HTTP address. They know neither broker nor saga."""
