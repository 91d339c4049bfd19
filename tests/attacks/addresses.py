"""Addresses that nobody may reach through a server whose operator has not opened them, and their names."""

from __future__ import annotations


def _words(text: str) -> list[str]:
    return text.split()


REFUSED = _words("""
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 127.0.0.1 127.0.0.53
127.255.255.254 168.63.129.16 169.254.0.1 169.254.169.254 169.254.170.2 172.16.0.1
172.31.255.255 192.0.0.1 192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1
198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255
:: ::1 ::2 ::7f00:1 ::a9fe:a9fe ::ffff:0.0.0.0 ::ffff:127.0.0.1 ::ffff:10.0.0.1
::ffff:169.254.169.254 ::ffff:0:7f00:1 64:ff9b::7f00:1 64:ff9b::a00:1 64:ff9b::a9fe:a9fe
64:ff9b:1::a9fe:a9fe 100::1 100:0:0:1::1 200::1 2001::1 2001:0:a9fe:a9fe::1 2001:2::1
2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1::1 2002:a9fe:a9fe::1 2a00::5efe:7f00:1
2a00::200:5efe:a9fe:a9fe 3ffe::1 3fff::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 fd20:ce::254
fe80::1 fe80::5efe:10.0.0.1 fec0::1 ff02::1 ff05::2 ff0e::1
""")

PUBLIC = _words("""
1.1.1.1 8.8.8.8 100.63.255.255 100.128.0.1 172.15.255.255 172.32.0.1 192.0.1.1 192.167.255.255
198.17.255.255 198.20.0.1 223.255.255.254 2001:200::1 2001:4860:4860::8888 2003::1
2606:4700::1111 64:ff9b::808:808
""")

# Loopback, metadata and this machine in other words: each is refused (02), or no name to look up (04).
SPELLINGS = _words("""
127.1 127.0.1 0x7f.1 0X7F000001 0177.0.0.1 017700000001 2130706433 127.0.0.01 0 00 1
0x0 4294967295 169.254.43518 2852039166 127.0.0.1. 127.1. [::1] ::1%1 ::1%lo
LOCALHOST localhost. a.localhost ip6-localhost _gateway metadata.google.internal island
""")
