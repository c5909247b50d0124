"""IPv4 and UDP around a DHCP payload (RFC 791, 768), on a socket below the kernel's own."""

import struct
from functools import lru_cache
from ipaddress import IPv4Address

ETHERNET = 14
"""The length of an Ethernet header: the IP header starts behind it."""
SOURCE_MAC = slice(6, 12)
"""Where an Ethernet frame says who sent it."""
SOURCE_ADDRESS = slice(ETHERNET + 12, ETHERNET + 16)
"""Where the IPv4 packet in it does."""
BROADCAST_MAC = b"\xff" * 6
SERVER_PORT, CLIENT_PORT = 67, 68
_ETHERTYPE_IPV4 = b"\x08\x00"
_VERSION_AND_LENGTH = 0x45
_TTL = 64
_ADDRESSES = slice(12, 20)
_NO_CHECKSUM = bytes(2)
_UDP = 17
_IP = struct.Struct("!BBHHHBBH8s")
_PSEUDO = struct.Struct("!8s6H")
_PORTS = struct.Struct("!HHHH")


def ethernet(*, to: bytes, source: bytes, packet: bytes) -> bytes:
    """An Ethernet frame with an IPv4 packet in it; ``to`` and ``source`` are MAC addresses."""
    return to + source + _ETHERTYPE_IPV4 + packet


def request_packet(payload: bytes, *, source: IPv4Address, to: IPv4Address) -> bytes:
    """A client's UDP packet to the servers' port, with both checksums."""
    addresses, length = source.packed + to.packed, _PORTS.size + len(payload)
    # A sum of 0 is sent as 0xffff: 0 says that there is none (RFC 768).
    pseudo = _PSEUDO.pack(addresses, _UDP, length, CLIENT_PORT, SERVER_PORT, length, 0)
    check = _checksum(pseudo + payload) or 0xFFFF
    ports = _PORTS.pack(CLIENT_PORT, SERVER_PORT, length, check)
    return _ip_header(addresses, _IP.size + length) + ports + payload


def udp_payload(packet: bytes) -> bytes | None:
    """What a UDP packet carries, without the padding behind it; None where it is cut short.

    Its checksum is not looked at: see ``checksum_holds``.
    """
    if len(packet) < _IP.size:
        return None
    header = (packet[0] & 0x0F) * 4
    total = int.from_bytes(packet[2:4], "big")
    if header < _IP.size or total > len(packet) or total < header + _PORTS.size:
        return None
    length = int.from_bytes(packet[header + 4 : header + 6], "big")
    if length < _PORTS.size or header + length > total:
        return None
    return packet[header + _PORTS.size : header + length]


def checksum_holds(packet: bytes) -> bool:
    """Whether the UDP checksum of a packet that ``udp_payload`` takes is right, or absent."""
    header = (packet[0] & 0x0F) * 4
    length = int.from_bytes(packet[header + 4 : header + 6], "big")
    if packet[header + 6 : header + 8] == _NO_CHECKSUM:
        return True
    pseudo = packet[_ADDRESSES] + _UDP.to_bytes(2, "big") + length.to_bytes(2, "big")
    return _checksum(pseudo + packet[header : header + length]) == 0


def without_checksum(frame: bytes) -> bytes:
    """The Ethernet frame of a UDP packet whose checksum nobody filled in: 0 says that."""
    at = ETHERNET + (frame[ETHERNET] & 0x0F) * 4 + 6
    return frame[:at] + _NO_CHECKSUM + frame[at + 2 :]


@lru_cache(maxsize=256)  # no two packets of one length to one host differ in it
def _ip_header(addresses: bytes, total: int) -> bytes:
    def header(check: int) -> bytes:
        return _IP.pack(_VERSION_AND_LENGTH, 0, total, 0, 0, _TTL, _UDP, check, addresses)

    return header(_checksum(header(0)))


def _checksum(octets: bytes) -> int:
    """The ones' complement of the ones' complement sum of 16-bit words (RFC 1071), not all 0.

    Carries are added back in, so the sum is the remainder by 0xffff: 0x10000 is 1 there.
    """
    padded = octets + b"\0" * (len(octets) % 2)
    return ~(int.from_bytes(padded, "big") % 0xFFFF or 0xFFFF) & 0xFFFF
