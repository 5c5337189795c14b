"""What counts as one peer where a limit is for an address."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Network, ip_address

IPV6_PREFIX = 64
"""Bits of an IPv6 address that say whose it is: a link has 64 (RFC 4291 2.5.1), and whoever is on it takes as
many of its addresses as they like (RFC 8981)."""


def origin_of(address: str, prefix: int = IPV6_PREFIX) -> str:
    """An IPv4 address as it is, of an IPv6 one the network of so many bits: ``2001:db8::/64``.

    An IPv4 address in an IPv6 one is what it is; the zone of a link stays. What is no address is given back.
    """
    bare, mark, zone = address.partition("%")
    try:
        found = ip_address(bare)
    except ValueError:
        return address
    if isinstance(found, IPv4Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return f"{IPv6Network((int(found), prefix), strict=False)}{mark}{zone}"
