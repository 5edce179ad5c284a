"""Which small changes of the code do the tests of its own room not notice? (`make mutants`)

    python -m benchmarks.mutants data --sample 300 --minutes 60
    python -m benchmarks.mutants trainers --sample 200 --minutes 60

Changes are drawn at random: a comparison turned, an operator exchanged, `and` for `or`, a `not`
taken away, a whole number by one, a truth value, a condition that is never true. Each is made in a
copy of the repository, where those tests of the changed file's room run that reach the changed line
(recorded once, by coverage), the quick ones first, until one fails. Results are appended to a file
of JSON lines, so that a run that was stopped goes on; a change is tried again only when the
function or class that it is in has changed, or with `--again`. The table is written from them to
docs/mutants.md, with the reasons that people gave for changes that are not noticed (`why`, edited
by hand in the JSON lines): mostly that they make no difference.

mutmut and cosmic-ray try every change of a file, with one set of tests for all; a sample over many
rooms, each with its own tests, needs a session a room in both.
"""
