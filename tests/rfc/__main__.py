"""Prints the table of clauses."""

from __future__ import annotations

from tests.rfc.clauses import table

print(table())
