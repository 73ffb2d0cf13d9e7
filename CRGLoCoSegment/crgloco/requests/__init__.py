"""What the worker can be asked for: plain fields in, plain values out; see ``crgloco.worker``."""
