"""The processes: who runs, who watches whom, who ends when."""
