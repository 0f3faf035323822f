"""What an original router sees of this agent over its link: an original agent.

Belongs here: the original's unary methods, how streams and errors of methods are spoken to an original. Does not: what
a method with streams does, which is beside its feature in a plugin (hook `prouter_rpc_methods`).
"""
