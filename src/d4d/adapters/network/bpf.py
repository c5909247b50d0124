"""Classic BPF programs that let DHCP or ARP through, assembled by hand: scapy's needs libpcap."""

import ctypes
import socket
import struct
from ipaddress import IPv4Address

SO_ATTACH_FILTER = 26  # not in Python's socket module
_LDH_ABS, _LDB_ABS, _LD_ABS, _LDH_IND, _LDX_MSH = 0x28, 0x30, 0x20, 0x48, 0xB1
_JEQ, _JSET, _RET = 0x15, 0x45, 0x06
_ANCILLARY = 0xFFFFF000  # SKF_AD_OFF: what the kernel knows of a packet beside its bytes
_PROTOCOL, _KIND, _VLAN_TAG = _ANCILLARY + 0, _ANCILLARY + 4, _ANCILLARY + 44
_OUTGOING = 4  # PACKET_OUTGOING
_VLAN_ID, _FRAGMENT_OFFSET = 0x0FFF, 0x1FFF
_IPV4, _ARP, _UDP = 0x0800, 0x0806, 17
_ETHERNET_IPV4, _MAC_AND_ADDRESS = 0x00010800, 0x0604
_ARP_TARGET_ADDRESS = 38
_EVERYTHING = 0xFFFF
_PASS, _DROP = "pass", "drop"

_Test = tuple[int, int, str]
_Line = tuple[int, int] | _Test


def udp_filter(port: int, *, ip_at: int, destination: IPv4Address | None = None) -> bytes:
    """Lets whole or first fragments of IPv4 UDP to ``port`` pass, untagged ones that come in.

    ``ip_at`` is where the IP header starts: 14 behind Ethernet, 0 on a SOCK_DGRAM socket. A VLAN's
    packets show up on its parent, too, with the tag beside the packet: they are another link's.
    """
    lines: list[_Line] = [
        (_LDH_ABS, _PROTOCOL),
        (_JEQ, _IPV4, _PASS),
        (_LDB_ABS, _KIND),
        (_JEQ, _OUTGOING, _DROP),
        (_LDH_ABS, _VLAN_TAG),
        (_JSET, _VLAN_ID, _DROP),
        (_LDB_ABS, ip_at + 9),
        (_JEQ, _UDP, _PASS),
        (_LDH_ABS, ip_at + 6),
        (_JSET, _FRAGMENT_OFFSET, _DROP),
    ]
    if destination is not None:
        lines += [(_LD_ABS, ip_at + 16), (_JEQ, int(destination), _PASS)]
    lines += [(_LDX_MSH, ip_at), (_LDH_IND, ip_at + 2), (_JEQ, port, _PASS)]
    return _assemble(lines)


def arp_filter() -> bytes:
    """Lets whole ARP frames for IPv4 over Ethernet pass, untagged ones only."""
    return _assemble(
        [
            (_LDH_ABS, _PROTOCOL),
            (_JEQ, _ARP, _PASS),
            (_LDH_ABS, _VLAN_TAG),
            (_JSET, _VLAN_ID, _DROP),
            (_LD_ABS, 14),
            (_JEQ, _ETHERNET_IPV4, _PASS),
            (_LDH_ABS, 18),
            (_JEQ, _MAC_AND_ADDRESS, _PASS),
            # To load beyond a frame's end is to drop it.
            (_LD_ABS, _ARP_TARGET_ADDRESS),
        ]
    )


def attach(sock: socket.socket, program: bytes) -> None:
    """Have the kernel drop for this socket what the program refuses. Raises OSError."""
    instructions = ctypes.create_string_buffer(program, len(program))
    count = len(program) // struct.calcsize("HBBI")
    header = struct.pack("HP", count, ctypes.addressof(instructions))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, header)


def _assemble(lines: list[_Line]) -> bytes:
    """Behind the lines stand `accept` and `drop`; a test goes on, or jumps to `drop`."""
    drop_at = len(lines) + 1
    program = []
    for at, line in enumerate(lines):
        to_drop = drop_at - at - 1
        if len(line) == 2:  # noqa: PLR2004 - a load: code and operand
            program.append(struct.pack("HBBI", line[0], 0, 0, line[1]))
        elif line[2] == _PASS:
            program.append(struct.pack("HBBI", line[0], 0, to_drop, line[1]))
        else:
            program.append(struct.pack("HBBI", line[0], to_drop, 0, line[1]))
    accept, drop = (struct.pack("HBBI", _RET, 0, 0, much) for much in (_EVERYTHING, 0))
    return b"".join((*program, accept, drop))
