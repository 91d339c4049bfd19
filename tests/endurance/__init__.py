"""The soak: a real server under mixed load while faults are injected at random, every byte checked.

`loads` make sessions in processes of their own and judge each; `faults` are a table of what is done to the
server and what that excuses; `sampler` looks at the server once a second; `verdict` says what was wrong, and
`timeline` draws it all. The seed that is printed makes the same faults come at the same times.
"""
