"""What `forksocksctl` can do: a module a verb, each with `register`."""
