// Addresses as numbers: BigInt, as IPv6 is larger than what a double holds exactly.

const BLOCK = 8n; // bits of a block on the map: a /24 of IPv4, a /120 of IPv6

const cache = new Map();

/** An address as a number. */
export function number(text) {
  let value = cache.get(text);
  if (value === undefined) {
    value = text.includes(":") ? parse6(text) : parse4(text);
    if (cache.size > 50000) cache.clear();
    cache.set(text, value);
  }
  return value;
}

function parse4(text) {
  return BigInt(text.split(".").reduce((sum, octet) => sum * 256 + Number(octet), 0));
}

function parse6(text) {
  const [head, tail] = text.split("::").map((half) => (half ? half.split(":") : []));
  const groups = tail === undefined
    ? head
    : [...head, ...Array(8 - head.length - tail.length).fill("0"), ...tail];
  return groups.reduce((sum, group) => (sum << 16n) + BigInt(`0x${group}`), 0n);
}

/** A number as an address. */
export function print(value, version) {
  if (version === 4) {
    return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 255n).join(".");
  }
  const groups = [];
  for (let shift = 112n; shift >= 0n; shift -= 16n) {
    groups.push(((value >> shift) & 0xffffn).toString(16));
  }
  return shorten(groups);
}

/** RFC 5952: the longest run of two zero groups or more becomes "::", the first of equals. */
function shorten(groups) {
  let best = { start: 0, length: 1 };
  groups.forEach((group, start) => {
    let length = 0;
    while (groups[start + length] === "0") length += 1;
    if (length > best.length) best = { start, length };
  });
  if (best.length < 2) return groups.join(":");
  const { start, length } = best;
  return `${groups.slice(0, start).join(":")}::${groups.slice(start + length).join(":")}`;
}

/** A network such as 10.77.0.0/16: its first and last address, and whether it has another within. */
export class Network {
  constructor(text) {
    const [address, length] = text.split("/");
    this.text = text;
    this.version = address.includes(":") ? 6 : 4;
    this.width = this.version === 4 ? 32 : 128;
    this.length = Number(length);
    const hostBits = BigInt(this.width - this.length);
    this.first = (number(address) >> hostBits) << hostBits;
    this.last = this.first + (1n << hostBits) - 1n;
  }

  has(value) {
    return this.first <= value && value <= this.last;
  }

  /** Whether no host may have this address. */
  isEdge(value) {
    if (this.width - this.length < 2) return false;
    return value === this.first || (this.version === 4 && value === this.last);
  }

  /** The number of blocks that the map shows it in. */
  get blocks() {
    return 1n + blockOf(this.last) - blockOf(this.first);
  }
}

export const blockOf = (value) => value >> BLOCK;
export const firstOf = (block) => block << BLOCK;
export const BLOCK_SIZE = 1n << BLOCK;

/** A block as a network in print. */
export function printBlock(block, version) {
  return `${print(firstOf(block), version)}/${(version === 4 ? 32 : 128) - Number(BLOCK)}`;
}
