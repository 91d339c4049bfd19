"""What forksocks asks of the machine: the kernel, its routes, its logs, its clock."""
