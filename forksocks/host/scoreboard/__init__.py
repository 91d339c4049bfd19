"""What every process of the server is doing, in memory that they share: one writer for each cell, no locks.

A worker's board is a head, a few cells that its main thread writes each tick, and a slot for every session
that it can carry at once, written by that session's thread alone. Counters live in the slots and only ever
grow, so that none is moved, merged or lost: whatever a worker dies of, at whatever instruction, the sums over
its slots are what has happened. Readers take nothing for granted, no index and no length: a worker that was
taken over can write anything into its own board, and into no other.
"""
