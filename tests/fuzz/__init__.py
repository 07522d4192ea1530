"""Damaged inputs for every reader: `python -m tests.fuzz`, and a few hundred each in the suite.

An input is a function of the reader's name and a number. `seeds` makes small whole files, `mutations` and
`structured` change them, `readers` says who reads them and what is right, `child` is the process that reads,
and `running` feeds it.
"""
