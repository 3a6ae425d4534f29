# SPDX-License-Identifier: Apache-2.0
"""What the zoo's networks are worth: trained, measured and written down by one command.

    nox -s experiments                     all of it, about three hours on two cores; goes on where it was stopped
    python -m experiments --help           its parts

`jobs` says what is trained, `train` trains, `measure` quantises, generates, builds and runs, `tables` writes
docs/results.md and experiments/results.json from it.
"""
