"""The replay tables of docs/benchmarks.md: `make bench-report`, or `python -m bench.report --help`.

Tables are values (`tables`), each of which knows the commands whose numbers it shows; runs are played by the functions
that the command line uses (`cells`), and kept, so that an interrupted report goes on where it was. All but `cells` and
`__main__` is pure.
"""
