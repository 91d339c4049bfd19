"""What carries a command out: a table, one function a command.

Each gets the client, its request, and what the client has sent beyond it; each answers the client itself, and
returns why the session ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from forksocks.config.model import CommandName
from forksocks.host.causes import Cause
from forksocks.session.associate import associate
from forksocks.session.bind import bind
from forksocks.session.client import Client
from forksocks.session.connect import connect
from forksocks.session.resolve import resolve_address, resolve_name
from forksocks.session.service import Asked
from forksocks.wire.messages import Command

Carry = Callable[[Client, Asked, bytes], Cause]

# By the command's byte: the word that a listener allows it by, and what carries it out.
CARRIERS: Mapping[int, tuple[CommandName, Carry]] = {
    Command.CONNECT: (CommandName.CONNECT, connect),
    Command.BIND: (CommandName.BIND, bind),
    Command.UDP_ASSOCIATE: (CommandName.UDP, associate),
    Command.RESOLVE: (CommandName.RESOLVE, resolve_name),
    Command.RESOLVE_PTR: (CommandName.RESOLVE, resolve_address),
}
