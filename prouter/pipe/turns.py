"""How a bulk transfer leaves small requests their turn.

uvloop reads from a connection again and again, up to 8 MiB, as long as each read fills its buffer; meanwhile nobody
else is served. So who got a large piece reads no more until the next turn of the loop.
"""

LARGE_BYTES = 128 * 1024
"""A piece of at least so many bytes ends the turn. Smaller ones did not fill the buffer, and end it by themselves."""
