"""The command `ssps`: train, verify, embed, compare, export, report.

Everything but click is imported inside the functions, so that `ssps --help`
answers at once.
"""
