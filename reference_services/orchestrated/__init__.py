"""The same order with everything commanded: also what the hybrid lets subscribers do."""
