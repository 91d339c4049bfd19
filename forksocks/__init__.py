"""forksocks: a pre-fork SOCKS server for Unix."""

__version__ = "0.1.0"
