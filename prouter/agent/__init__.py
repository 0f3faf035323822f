"""The agent: owns the truth of its jobs, keeps a link to each router, and ends every tree that it began.

app.py wires everyone. links.py and endpoint.py bring links, methods.py answers calls over them, jobs/ keeps the jobs,
guard/ holds their process trees, files/ reaches into their sandboxes, service.py serves HTTP through pipes.
"""
