"""Confining a process: what it gives up before it meets the first byte from the network, and for good.

`Sandbox` (confinement) is what the supervisor makes once; each child goes through it in one fixed order, of
which every step needs the ones before it. One module a mechanism, each usable alone:

    descriptors   those that children share above RLIMIT_NOFILE, everything unknown closed
    limits        setrlimit(2)
    root          an empty root directory
    privileges    user, groups, capabilities; not dumpable; no new privileges; no writable code
    landlock      files, TCP ports, signals, abstract sockets
    seccomp       the system calls of the table in `calls`
"""
