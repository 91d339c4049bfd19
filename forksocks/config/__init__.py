"""What forksocks was told: the values (model), how they are written (values), where they come from (load)."""
