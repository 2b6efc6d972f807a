"""Charges and refunds, in a double-entry ledger."""
