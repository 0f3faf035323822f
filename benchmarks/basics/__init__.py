"""What one router and one agent cost without another proxy beside them: starting, files, originals, being idle.

run.py is the command; each other module measures one theme and gives figures by name; telling.py makes the table.
"""
