"""The measured path: a metered call from the socket to the settlement, around Django rather than through it."""
