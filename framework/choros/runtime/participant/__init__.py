"""Participants: the commands of one service, each carried out at most once, and answered."""
