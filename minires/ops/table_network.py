"""The part of the table of operations (table.py) that networks are built of: layers, activations, losses."""

from minires.ops.entry import Entry

NETWORK: tuple[Entry, ...] = ()
