"""The coordinator: versions outer parameters, hands out leases, merges commits, and makes both durable.

Nothing here imports torch, directly or through anything else: that keeps the image small, a restart under a
second, and the fold over the journal reproducible.
"""
